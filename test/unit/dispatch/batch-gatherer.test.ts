import { describe, expect, test } from 'vitest'
import { BatchGatherer } from '../../../src/dispatch/batch-gatherer.ts'
import type { HandedMessage } from '../../../src/dispatch/handed-message.ts'
import { Lane } from '../../../src/dispatch/key-lanes.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import { fakeIntake } from './fake-intake.ts'

const message = (offset: number): HandedMessage => ({ offset }) as HandedMessage

function scene(settings: { max: number; maxWaitMs: number }): {
  gatherer: BatchGatherer
  runtime: VirtualRuntime
  due: number[]
} {
  const runtime = new VirtualRuntime()
  const due: number[] = []
  return { gatherer: new BatchGatherer(settings, runtime, () => due.push(runtime.monotonic())), runtime, due }
}

describe('gathering a batch', () => {
  test('without a wait, what is there is due at once', () => {
    const { gatherer, runtime } = scene({ max: 3, maxWaitMs: 0 })
    expect(gatherer.isDue).toBe(false)
    gatherer.add(new Lane(), fakeIntake(), message(0))
    expect([gatherer.isDue, gatherer.isFull, gatherer.size]).toEqual([true, false, 1])
    expect(runtime.timers()).toEqual([])
  })

  test('a batch is due when it is full, and at most so many are in it', () => {
    const { gatherer, runtime } = scene({ max: 2, maxWaitMs: 50 })
    const intake = fakeIntake()
    gatherer.add(new Lane(), intake, message(0))
    expect(gatherer.isDue).toBe(false)
    gatherer.add(new Lane(), intake, message(1))
    expect([gatherer.isDue, gatherer.isFull]).toEqual([true, true])
    const { current } = gatherer
    const taken = gatherer.take()
    expect(taken).toBe(current)
    expect(taken.messages.map(({ offset }) => offset)).toEqual([0, 1])
    expect([gatherer.size, gatherer.current === current, runtime.timers()]).toEqual([0, false, []])
  })

  test('a batch waits from its first message on, no longer than it may', async () => {
    const { gatherer, runtime, due } = scene({ max: 10, maxWaitMs: 50 })
    gatherer.add(new Lane(), fakeIntake(), message(0))
    await runtime.advance(30)
    gatherer.add(new Lane(), fakeIntake(), message(1))
    await runtime.advance(19)
    expect([gatherer.isDue, due]).toEqual([false, []])
    await runtime.advance(1)
    expect([gatherer.isDue, due]).toEqual([true, [50]])
    gatherer.take()
    expect(gatherer.isDue).toBe(false)
    gatherer.add(new Lane(), fakeIntake(), message(2))
    expect(gatherer.isDue, 'the next one waits anew').toBe(false)
    await runtime.advance(50)
    expect(gatherer.isDue).toBe(true)
  })

  test('messages of a partition that goes are taken out, the others stay in order', async () => {
    const { gatherer, runtime } = scene({ max: 10, maxWaitMs: 50 })
    const [gone, stays] = [fakeIntake(), fakeIntake()]
    const lanes = [0, 1, 2, 3].map(() => new Lane())
    const { current } = gatherer
    lanes.forEach((lane, i) => gatherer.add(lane, i % 2 ? stays : gone, message(i)))
    const removed = gatherer.remove((intake) => intake === gone)
    expect(removed.map(({ lane, message }) => [lane, message.offset])).toEqual([
      [lanes[0], 0],
      [lanes[2], 2],
    ])
    expect(gatherer.current, 'lanes know the array by identity').toBe(current)
    expect(lanes.map((lane) => gatherer.holds(lane))).toEqual([false, true, false, true])
    expect(gatherer.remove((intake) => intake === stays).map(({ lane }) => lane)).toEqual([lanes[1], lanes[3]])
    expect(runtime.timers(), 'nothing waits any more').toEqual([])
  })
})
