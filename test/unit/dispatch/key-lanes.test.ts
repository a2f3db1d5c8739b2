import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RecordBatch } from '../../../src/contracts/broker.ts'
import {
  blockedBy,
  indexOf,
  KeyLanes,
  type BatchSource,
  type Lane,
  type LaneLimits,
} from '../../../src/dispatch/key-lanes.ts'
import { runs } from '../../runs.ts'

const batchSize = 10

/** One partition of messages in batches of ten, read in order as a dispatcher does. */
class Scene {
  readonly lanes: KeyLanes
  readonly map = new Map<string, Lane>()
  /** Waiting offsets by key, in the order they have to start. */
  readonly waiting = new Map<string, number[]>()
  /** What runs now, by the offset. */
  readonly running = new Map<number, { lane: Lane; key: string }>()
  readonly blocked = new Set<string>()
  idle = 0
  #next = 0
  readonly #sources = new Map<number, BatchSource>()

  constructor(limits: LaneLimits) {
    this.lanes = new KeyLanes(limits, () => void this.idle++)
  }

  /** The next message of the partition: starts at once where nothing of its key is known, or waits in its lane. */
  arrive(key: string): void {
    const offset = this.#next++
    const lane = this.map.get(key)
    if (lane === undefined) {
      const opened = this.lanes.open(key, this.map)
      opened.isBusy = true
      this.running.set(offset, { lane: opened, key })
      return
    }
    const queue = this.waiting.get(key) ?? []
    this.waiting.set(key, [...queue, offset])
    const source = this.#source(offset)
    this.lanes.add(lane, source, indexOf(source.batch, offset))
  }

  /** Starts whatever the lanes say is next; returns its offset. */
  start(): number | undefined {
    const lane = this.lanes.takeReady()
    if (lane === undefined) return undefined
    const offset = this.#take(lane)
    const key = lane.key!
    expect(
      [...this.running.values()].some((entry) => entry.key === key),
      `${key} runs already`,
    ).toBe(false)
    expect(this.blocked.has(key), `${key} is blocked`).toBe(false)
    expect(offset, `first of ${key}`).toBe(this.waiting.get(key)?.[0])
    this.waiting.get(key)!.shift()
    lane.isBusy = true
    this.running.set(offset, { lane, key })
    return offset
  }

  end(offset: number): void {
    const { lane } = this.running.get(offset)!
    this.running.delete(offset)
    lane.isBusy = false
    this.lanes.refresh(lane)
  }

  fail(offset: number): void {
    const { lane, key } = this.running.get(offset)!
    this.running.delete(offset)
    this.waiting.set(key, [offset, ...(this.waiting.get(key) ?? [])])
    this.blocked.add(key)
    lane.isBusy = false
    lane.retry = { intake: 0, offset, key, attempt: 2 }
    this.lanes.deferAll(lane)
    lane.blocked |= blockedBy.retry
    this.lanes.refresh(lane)
  }

  /** The back-off of every failed key is over. */
  retriesDue(): void {
    for (const key of this.blocked) {
      const lane = this.map.get(key)!
      lane.blocked &= ~blockedBy.retry
      this.lanes.refresh(lane)
    }
    this.blocked.clear()
  }

  /** Gives a running message back together with the first one that waits, as a failed batch does. */
  putBack(offset: number): void {
    const { lane, key } = this.running.get(offset)!
    this.running.delete(offset)
    lane.isBusy = false
    this.lanes.deferAll(lane)
    this.lanes.putBack(lane, [{ source: 0, offset }])
    this.waiting.set(key, [offset, ...(this.waiting.get(key) ?? [])])
    this.lanes.refresh(lane)
  }

  /** The partition goes: nothing of it may start any more. */
  purge(): void {
    for (const lane of [...this.map.values()]) this.lanes.purge(lane, 0)
    this.waiting.clear()
    this.blocked.clear()
  }

  get waitingCount(): number {
    return [...this.waiting.values()].reduce((sum, queue) => sum + queue.length, 0)
  }

  /** Messages that wait with a failure behind them; they are kept in their lane, not in the slots or as offsets. */
  get retrying(): number {
    return [...this.map.values()].filter(({ retry }) => retry !== undefined).length
  }

  #take(lane: Lane): number {
    if (lane.retry) {
      const { offset } = lane.retry
      lane.retry = undefined
      return offset
    }
    if (lane.count > 0) {
      const { source, index } = this.lanes.front(lane)
      this.lanes.shift(lane)
      return source.batch.offsetAt(index)
    }
    const { offset } = lane.deferred!
    this.lanes.shiftDeferred(lane)
    this.lanes.holdLoaded(lane, this.#newSource(offset), new Map())
    return offset
  }

  #source(offset: number): BatchSource {
    const number = Math.floor(offset / batchSize)
    let source = this.#sources.get(number)
    if (source === undefined) this.#sources.set(number, (source = this.#newSource(offset)))
    return source
  }

  #newSource(offset: number): BatchSource {
    return { intake: 0, batch: fakeBatch(Math.floor(offset / batchSize) * batchSize), pins: 0 }
  }
}

function fakeBatch(baseOffset: number): RecordBatch {
  return {
    baseOffset,
    count: batchSize,
    nextOffset: baseOffset + batchSize,
    bytes: 1000,
    offsetAt: (index: number) => baseOffset + index,
  } as RecordBatch
}

const wide: LaneLimits = { maxBufferedMessages: 1000, maxBufferedBytes: 1e9, maxDeferredMessages: 1e6 }

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 30, arbitrary: fc.record({ arrive: fc.constantFrom('a', 'b', 'c', 'd', 'e') }) },
  { weight: 25, arbitrary: fc.constant({ start: true as const }) },
  { weight: 20, arbitrary: fc.record({ end: fc.nat() }) },
  { weight: 5, arbitrary: fc.record({ fail: fc.nat() }) },
  { weight: 5, arbitrary: fc.record({ putBack: fc.nat() }) },
  { weight: 5, arbitrary: fc.constant({ due: true as const }) },
  { weight: 1, arbitrary: fc.constant({ purge: true as const }) },
)

type Action = Partial<{
  arrive: string
  start: true
  end: number
  fail: number
  putBack: number
  due: true
  purge: true
}>

function perform(scene: Scene, action: Action): void {
  const pick = (n: number): number | undefined => [...scene.running.keys()][n % Math.max(1, scene.running.size)]
  if (action.arrive !== undefined) scene.arrive(action.arrive)
  else if (action.start) scene.start()
  else if (action.due) scene.retriesDue()
  else if (action.purge) scene.purge()
  else {
    const offset = pick(action.end ?? action.fail ?? action.putBack ?? 0)
    if (offset === undefined) return
    if (action.end !== undefined) scene.end(offset)
    else if (action.fail !== undefined) scene.fail(offset)
    else scene.putBack(offset)
  }
}

describe('key lanes', () => {
  test('ORDER-20: of each key one message at a time starts, in offset order, whatever fails, waits, is put back or deferred', () => {
    const limits = fc.record({
      maxBufferedMessages: fc.constantFrom(1, 3, 16, 64, 1000),
      maxBufferedBytes: fc.constantFrom(1000, 5000, 1e9),
      maxDeferredMessages: fc.constant(1e6),
    })
    fc.assert(
      fc.property(limits, fc.array(action, { maxLength: 300 }), (given, actions) => {
        const scene = new Scene(given)
        for (const action of actions) {
          perform(scene, action)
          expect(scene.lanes.buffered).toBeLessThanOrEqual(given.maxBufferedMessages)
          expect(scene.lanes.bufferedBytes).toBeLessThanOrEqual(given.maxBufferedBytes + 1000)
          expect(scene.lanes.buffered + scene.lanes.deferred + scene.retrying).toBe(scene.waitingCount)
        }
        // All of it comes out in the end, and nothing is left behind.
        for (let round = 0; ; round++) {
          expect(round, 'it never ends').toBeLessThan(1000)
          scene.retriesDue()
          for (const offset of [...scene.running.keys()]) scene.end(offset)
          if (scene.start() === undefined && scene.running.size === 0) break
        }
        expect(scene.waitingCount).toBe(0)
        expect([scene.lanes.buffered, scene.lanes.bufferedBytes, scene.lanes.deferred]).toEqual([0, 0, 0])
        expect(scene.map.size).toBe(0)
        expect(scene.lanes.hasReady).toBe(false)
      }),
      runs(150),
    )
  })

  test('ready lanes take turns: a key with many messages does not hold the others back', () => {
    const scene = new Scene(wide)
    for (const key of ['a', 'b', 'c']) scene.arrive(key)
    for (let i = 0; i < 50; i++) scene.arrive('a')
    for (let i = 0; i < 3; i++) for (const key of ['b', 'c']) scene.arrive(key)
    for (const offset of [...scene.running.keys()]) scene.end(offset)
    const served: string[] = []
    for (let i = 0; i < 9; i++) {
      const offset = scene.start()!
      served.push(scene.running.get(offset)!.key)
      scene.end(offset)
    }
    expect(served.join('')).toBe('abcabcabc')
  })

  test('BOUND-25: a hot key holds its share in memory and the rest as offsets, so the others keep their room', () => {
    const scene = new Scene({ ...wide, maxBufferedMessages: 320 })
    scene.arrive('hot')
    for (let i = 0; i < 10_000; i++) scene.arrive('hot')
    expect(scene.lanes.buffered).toBeLessThanOrEqual(20)
    expect(scene.lanes.deferred).toBeGreaterThanOrEqual(9980)
    expect(scene.lanes.hasRoom).toBe(true)
    scene.arrive('other')
    scene.arrive('other')
    expect(scene.lanes.buffered).toBeLessThanOrEqual(21)
  })

  test('a key that waits for its retry holds nothing in memory', () => {
    const scene = new Scene(wide)
    for (let i = 0; i < 11; i++) scene.arrive('a')
    expect(scene.lanes.buffered).toBe(10)
    scene.fail(0)
    expect([scene.lanes.buffered, scene.lanes.bufferedBytes, scene.lanes.deferred]).toEqual([0, 0, 10])
    expect(scene.start(), 'blocked').toBeUndefined()
    scene.retriesDue()
    expect([scene.start(), scene.lanes.hasReady]).toEqual([0, false])
  })

  test('deferred messages of one batch are taken up together again', () => {
    const scene = new Scene(wide)
    for (let i = 0; i < 30; i++) scene.arrive('a')
    scene.fail(0)
    scene.retriesDue()
    scene.end(scene.start()!)
    expect(scene.lanes.buffered).toBe(0)
    scene.end(scene.start()!)
    expect(scene.lanes.buffered, 'the rest of the batch').toBe(8)
  })

  test('a paused key keeps its lane, so that later messages find it blocked', () => {
    const scene = new Scene(wide)
    scene.arrive('a')
    const lane = scene.map.get('a')!
    lane.blocked |= blockedBy.pausedKey
    scene.end(0)
    expect([scene.map.get('a'), scene.idle]).toEqual([lane, 0])
    scene.arrive('a')
    expect(scene.start()).toBeUndefined()
    lane.blocked &= ~blockedBy.pausedKey
    scene.lanes.refresh(lane)
    expect(scene.start()).toBe(1)
  })

  test('a lane goes out of use when it has nothing left, and is told', () => {
    const scene = new Scene(wide)
    scene.arrive('a')
    scene.end(0)
    expect([scene.map.size, scene.idle]).toEqual([0, 1])
  })

  test('purging one partition leaves the messages of another in the same lane', () => {
    const lanes = new KeyLanes(wide, () => {})
    const map = new Map<string, Lane>()
    const lane = lanes.open('k', map)
    lane.isBusy = true
    const [gone, stays] = [0, 1].map((intake) => ({ intake, batch: fakeBatch(0), pins: 0 }))
    for (const index of [0, 1, 2]) {
      lanes.add(lane, gone!, index)
      lanes.add(lane, stays!, index + 5)
    }
    lanes.purge(lane, 0)
    expect([lanes.buffered, lanes.bufferedBytes, lanes.deferred]).toEqual([0, 0, 3])
    const offsets: number[] = []
    for (; lane.deferred; lanes.shiftDeferred(lane)) {
      expect(lane.deferred.source).toBe(1)
      offsets.push(lane.deferred.offset)
    }
    expect(offsets).toEqual([5, 6, 7])
  })

  test('an offset is found in a batch with gaps', () => {
    const offsets = [3, 4, 9, 12]
    const batch = { count: 4, offsetAt: (index: number) => offsets[index]! }
    expect(offsets.map((offset) => indexOf(batch, offset))).toEqual([0, 1, 2, 3])
  })
})
