import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('retries', () => {
  test('TIME-40: the wait doubles from attempt to attempt up to its maximum, and is never shorter', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: 'v', key: 'k' }))
    const starts: number[] = []
    const attempts: number[] = []
    await run(
      topic.subscribe(
        'g',
        ({ attempt }, context) => {
          starts.push(runtime.monotonic())
          attempts.push(attempt)
          expect(context.attempt).toBe(attempt)
          throw new Error('again')
        },
        { from: 'earliest', attempts: 7, backoff: { delayMs: 10, maxDelayMs: 100, jitter: 0 } },
      ),
    )
    await runtime.advance(100_000)
    const waits = starts.slice(1).map((at, i) => at - starts[i]!)
    expect(waits).toEqual([10, 20, 40, 80, 100, 100])
    expect(attempts).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  test('a fixed wait stays as it is', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: 'v' }))
    const fail = (): never => {
      throw new Error('again')
    }
    await run(
      topic.subscribe('g', fail, { from: 'earliest', attempts: 4, backoff: { type: 'fixed', delayMs: 70, jitter: 0 } }),
    )
    await runtime.advance(1_000)
    expect(failed.map(({ retryInMs }) => retryInMs)).toEqual([70, 70, 70, undefined])
  })

  test('jitter spreads the wait over its share on both sides, and the same seed draws the same', async () => {
    const waits = async (seed: number): Promise<(number | undefined)[]> => {
      const { mq, run, runtime } = await virtualQueue({}, seed)
      const failed = eventsOf(mq, 'message:failed')
      const topic = await run(mq.topic<string>('t'))
      await run(topic.sendBatch(messagesOf(...Array.from({ length: 100 }, (_, i) => `${i}`))))
      const fail = (): never => {
        throw new Error('again')
      }
      const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0.5 } as const
      await run(topic.subscribe('g', fail, { from: 'earliest', attempts: 2, backoff }))
      await runtime.settle()
      return failed.map(({ retryInMs }) => retryInMs)
    }
    const drawn = (await waits(1)) as number[]
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(500)
    expect(Math.max(...drawn)).toBeLessThanOrEqual(1_500)
    expect(Math.max(...drawn) - Math.min(...drawn)).toBeGreaterThan(500)
    expect(await waits(1)).toEqual(drawn)
    expect(await waits(2)).not.toEqual(drawn)
  })

  test('BOUND-43: maxDelayMs is the longest wait, jitter included', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: 'v' }))
    const fail = (): never => {
      throw new Error('again')
    }
    await run(topic.subscribe('g', fail, { from: 'earliest', attempts: 50, backoff: { maxDelayMs: 100, jitter: 1 } }))
    await runtime.advance(100_000)
    expect(failed).toHaveLength(50)
    expect(Math.max(...failed.map(({ retryInMs = 0 }) => retryInMs))).toBeLessThanOrEqual(100)
  })

  test('ORDER-48: a message that waits for its retry holds back its own key only, and takes up no handler', async () => {
    const { mq, run, runtime, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'b:2')))
    const calls = new HeldCalls()
    const subscription = await run(
      topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 1, backoff: { delayMs: 100, jitter: 0 } }),
    )
    await settle()
    calls.fail('a:1')
    await settle()
    expect(calls.running).toEqual(['b:1'])
    await run(topic.sendBatch(messagesOf('a:3', 'c:1')))
    for (const name of ['b:1', 'c:1', 'b:2']) {
      if (calls.running[0] !== name) calls.end(calls.running[0]!)
      else calls.end(name)
      await settle()
    }
    expect(calls.started.filter((name) => name.startsWith('a'))).toEqual(['a:1'])
    await runtime.advance(100)
    for (const name of ['a:1', 'a:2', 'a:3']) {
      expect(calls.running).toEqual([name])
      calls.end(name)
      await settle()
    }
    expect(subscription.lag().count).toBe(0)
  })

  test('LOSS-43: a message that used up its attempts stops its key, which says so and waits to be told to go on', async () => {
    const { mq, run, runtime, settle } = await virtualQueue()
    const stopped = eventsOf(mq, 'key:stopped')
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const calls = new HeldCalls()
    const subscription = await run(
      topic.subscribe('g', calls.handler, { from: 'earliest', attempts: 2, backoff: { delayMs: 10, jitter: 0 } }),
    )
    await settle()
    const cause = new Error('broken')
    calls.fail('a:1', cause)
    calls.end('b:1')
    await runtime.advance(10)
    calls.fail('a:1', cause)
    await runtime.advance(100_000)
    const place = { topic: 't', key: 'a', offset: 0 }
    expect(subscription.stopped()).toMatchObject([{ ...place, attempts: 2 }])
    expect(stopped).toMatchObject([{ ...place, group: 'g', error: { code: 'HANDLER_FAILED', cause, key: 'a' } }])
    expect(calls.running).toEqual([])
    expect(subscription.lag().count).toBe(2)
    expect(mq.stats().subscriptions[0]).toMatchObject({ stoppedKeys: 1, failed: 2 })
    expect(await run(subscription.drain())).toEqual({ left: 2 })
    expect(subscription.retry('other')).toBe(0)
    expect(subscription.retry('a')).toBe(1)
    await settle()
    expect(calls.attempts.at(-1)).toBe(1)
    expect(subscription.stopped()).toEqual([])
    calls.fail('a:1')
    await runtime.advance(10)
    calls.end('a:1')
    await settle()
    calls.end('a:2')
    await run(subscription.idle())
    expect(subscription.lag().count).toBe(0)
  })

  test('a stopped key is tried again by the next subscription; nothing of it was lost', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'a:2', 'free')))
    let isBroken = true
    const seen: string[] = []
    const handler = ({ value, key }: { value: string; key: string | undefined }): void => {
      if (isBroken && key !== 'b') throw new Error('broken')
      seen.push(value)
    }
    const first = await run(topic.subscribe('g', handler, { from: 'earliest', attempts: 1 }))
    await runtime.advance(1_000)
    expect(first.stopped().map(({ key, offset }) => [key, offset])).toEqual([
      ['a', 0],
      [undefined, 3],
    ])
    await run(first.close())
    isBroken = false
    const second = await run(topic.subscribe('g', handler))
    await run(second.drain())
    expect(seen).toEqual(['b:1', 'a:1', 'a:2', 'free'])
  })

  test('LOSS-44: a value that the codec cannot read is reported and retried like any failure, and stops its key', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const stopped = eventsOf(mq, 'key:stopped')
    const codec = {
      contentType: 'application/x-test',
      format: 'text' as const,
      shared: false,
      encode: (value: string) => value,
      decode: (text: string) => {
        if (text === 'a:bad') throw new Error('nonsense')
        return text
      },
    }
    const topic = await run(mq.topic<string>('t', { codec: codec as never }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:bad', 'a:3', 'b:1')))
    const seen: string[] = []
    const subscription = await run(
      topic.subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest', attempts: 2 }),
    )
    await runtime.advance(10_000)
    expect(seen).toEqual(['a:1', 'b:1'])
    expect(failed.map(({ error }) => error)).toMatchObject([{ code: 'DECODING_FAILED' }, { code: 'DECODING_FAILED' }])
    expect(stopped).toMatchObject([{ offset: 1, key: 'a', error: { cause: { code: 'DECODING_FAILED' } } }])
    expect(subscription.lag().count).toBe(2)
  })

  test('a value that a schema refuses on receipt is not handed out', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const stopped = eventsOf(mq, 'key:stopped')
    const topic = await run(mq.topic<number>('t'))
    await run(topic.sendBatch([{ value: 1 }, { value: -1 }]))
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) =>
          (value as number) > 0 ? { value: value as number } : { issues: [{ message: 'not positive' }] },
      },
    }
    const strict = await run(mq.topic<number>('t', { schema, validate: 'send-and-receive' }))
    await expect(run(strict.send({ value: -2 }))).rejects.toMatchObject({ code: 'VALIDATION_FAILED' })
    const seen: number[] = []
    await run(strict.subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest', attempts: 1 }))
    await runtime.advance(1_000)
    expect(seen).toEqual([1])
    expect(stopped).toMatchObject([{ offset: 1, error: { cause: { code: 'VALIDATION_FAILED' } } }])
  })

  test('PROGRESS-44: attempts without end and without delay go on until the handler succeeds', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: 'v', key: 'k' }))
    let calls = 0
    const subscription = await run(
      topic.subscribe(
        'g',
        () => {
          if (++calls < 1_500) throw new Error('again')
        },
        { from: 'earliest', attempts: Infinity, backoff: { delayMs: 0 } },
      ),
    )
    await runtime.advance(1_000)
    expect([calls, subscription.lag().count]).toEqual([1_500, 0])
  })
})
