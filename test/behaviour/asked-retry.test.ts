import { describe, expect, test } from 'vitest'
import type { BatchHandler, HandlerContext, Message, SubscribeOptions } from '../../src/index.ts'
import { eventsOf, messagesOf, virtualQueue, type VirtualQueue } from './queue.ts'

const backoff = { type: 'fixed', delayMs: 100, jitter: 0, maxDelayMs: 100 } as const
const hourMs = 3_600_000

type Handler = (message: Message<string>, context: HandlerContext) => unknown

/** The attempts that a handler was called for, with their times. */
async function handled(
  { mq, run, runtime }: VirtualQueue,
  handler: Handler,
  options: SubscribeOptions<string> = {},
): Promise<[value: string, attempt: number, at: number][]> {
  const calls: [string, number, number][] = []
  const topic = await run(mq.topic<string>('t'))
  const handle: Handler = (message, context) => {
    calls.push([message.value, message.attempt, runtime.now()])
    return handler(message, context)
  }
  await run(topic.subscribe('g', handle, { from: 'earliest', backoff, ...options } as never))
  return calls
}

async function send({ mq, run }: VirtualQueue, ...values: string[]): Promise<void> {
  const topic = await run(mq.topic<string>('t'))
  await run(topic.sendBatch(messagesOf(...values)))
}

describe('another attempt at a time', () => {
  for (const how of ['returns', 'throws', 'resolves', 'rejects'] as const) {
    test(`LOSS-60: comes then, beyond the back-off, when the handler ${how}; the attempt counts, nothing is sent`, async () => {
      const queue = await virtualQueue()
      const at = queue.runtime.now() + hourMs
      const failures = eventsOf(queue.mq, 'message:failed')
      const output = await queue.run(queue.mq.topic<string>('out'))
      const calls = await handled(queue, ({ attempt, value }, context) => {
        if (attempt > 1 || value === 'b:1') return undefined
        context.send(output, { value: 'never' })
        context.retryAt(new Date(at))
        if (how === 'throws') throw new Error('mine')
        if (how === 'rejects') return Promise.reject(new Error('mine'))
        return how === 'resolves' ? Promise.resolve() : undefined
      })
      await send(queue, 'a:1', 'a:2', 'b:1')
      await queue.settle()
      expect(calls.map(([value]) => value)).toEqual(['a:1', 'b:1'])
      await queue.runtime.advance(2 * hourMs)
      expect(calls.slice(2)).toEqual(
        [
          ['a:1', 2, at],
          ['a:2', 1, expect.any(Number)],
          ['a:2', 2, expect.any(Number)],
        ].slice(0, calls.length - 2),
      )
      expect(failures[0]).toMatchObject({ attempt: 1, retryInMs: expect.any(Number) })
      const isOwn = how === 'throws' || how === 'rejects'
      expect(failures[0]!.error).toMatchObject(isOwn ? { message: 'mine' } : { name: 'AskedRetry' })
      expect(output.offsets()[0]!.end).toBe(0)
    })
  }

  for (const kind of ['process', 'power'] as const) {
    test(`LOSS-61: survives a ${kind} crash, and is not bounded by the back-off then`, async () => {
      const queue = await virtualQueue()
      const at = queue.runtime.now() + hourMs
      await handled(queue, (_, context) => context.retryAt(at))
      await send(queue, 'a:1')
      await queue.runtime.advance(1_000)
      await queue.crash(kind)
      const calls = await handled(queue, () => {})
      await queue.runtime.advance(at - queue.runtime.now() - 1)
      expect(calls).toEqual([])
      await queue.runtime.advance(2)
      expect(calls).toEqual([['a:1', 2, at]])
    })
  }

  test('LOSS-62: is never early by the wall clock, which is set back or forward meanwhile', async () => {
    const queue = await virtualQueue()
    const { runtime } = queue
    const at = runtime.now() + hourMs
    const calls = await handled(queue, ({ attempt }, context) => attempt === 1 && context.retryAt(at))
    await send(queue, 'a:1', 'b:1')
    await queue.settle()
    runtime.jumpWallClock(-hourMs)
    await runtime.advance(hourMs + 1)
    expect(calls).toHaveLength(2)
    runtime.jumpWallClock(hourMs)
    await runtime.advance(600_001)
    expect(calls.slice(2).map(([value, attempt]) => [value, attempt])).toEqual([
      ['a:1', 2],
      ['b:1', 2],
    ])
    for (const [, , time] of calls.slice(2)) expect(time).toBeGreaterThanOrEqual(at)
  })

  test('LOSS-63: ends with the attempts, and with an error that is not to be tried again', async () => {
    const queue = await virtualQueue()
    const handler: Handler = ({ key }, context) => {
      context.retryAt(0)
      if (key === 'b') throw new RangeError('no')
    }
    const retryable = (error: unknown): boolean => (error as Error).name === 'none'
    const calls = await handled(queue, handler, { attempts: 3, onExhausted: 'skip', retryable })
    await send(queue, 'a:1', 'b:1')
    await queue.runtime.advance(10)
    expect(calls.filter(([value]) => value === 'a:1')).toHaveLength(3)
    expect(calls.filter(([value]) => value === 'b:1')).toHaveLength(1)
  })

  test('LOSS-64: holds for every message of an array', async () => {
    const queue = await virtualQueue()
    const at = queue.runtime.now() + hourMs
    const seen: [string, number][][] = []
    const handle: BatchHandler<string> = (messages, context) => {
      seen.push(messages.map(({ value, attempt }) => [value, attempt]))
      if (seen.length === 1) context.retryAt(at)
    }
    const topic = await queue.run(queue.mq.topic<string>('t'))
    await queue.run(topic.sendBatch(messagesOf('a:1', 'b:1')))
    await queue.run(topic.subscribe('g', handle, { from: 'earliest', batch: { max: 2 }, backoff }))
    await queue.runtime.advance(hourMs - 1)
    expect(seen).toEqual([
      [
        ['a:1', 1],
        ['b:1', 1],
      ],
    ])
    await queue.runtime.advance(2)
    expect(seen.slice(1)).toEqual([
      [
        ['a:1', 2],
        ['b:1', 2],
      ],
    ])
  })

  test('is refused for what is no time, and once the handler is over', async () => {
    const queue = await virtualQueue()
    let kept: HandlerContext | undefined
    const codes: unknown[] = []
    await handled(queue, (_, context) => {
      kept = context
      for (const wrong of [NaN, Infinity, -1, '5', undefined, new Date(NaN)]) {
        try {
          context.retryAt(wrong as number)
        } catch (error) {
          codes.push((error as { code: string }).code)
        }
      }
    })
    await send(queue, 'a:1')
    await queue.settle()
    expect(codes).toEqual(Array.from({ length: 6 }, () => 'INVALID_OPTION'))
    expect(() => kept!.retryAt(0)).toThrow(expect.objectContaining({ code: 'TRANSACTION_ENDED' }))
    expect(queue.mq.group('g').lag().count).toBe(0)
  })
})
