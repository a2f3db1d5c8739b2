import { describe, expect, test } from 'vitest'
import type { BackoffFunction, Message, SubscribeOptions } from '../../src/index.ts'
import { doneBy, openApp, sendAll } from './app.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('retries', () => {
  test('TIME-40: the wait doubles from attempt to attempt up to its maximum, and is never shorter', async () => {
    const contexts: number[] = []
    await using t = await openApp({
      attempts: 7,
      onExhausted: 'park-key',
      backoff: { delayMs: 10, maxDelayMs: 100, jitter: 0 },
      handler: ({ attempt }, context) => {
        contexts.push(context.attempt)
        throw new Error(`again, ${attempt}`)
      },
    })
    await sendAll(t, 'k:1')
    const { errors } = await t.drain({ allowDead: 1 })
    const starts = t.history.of('start')
    expect(starts.slice(1).map(({ at }, i) => at - starts[i]!.at)).toEqual([10, 20, 40, 80, 100, 100])
    expect(contexts).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(errors.map((error) => (error as Error).message)).toEqual(contexts.map((attempt) => `again, ${attempt}`))
    t.assert.dead('g', { key: 'k', attempts: 7 })
  })

  test('a fixed wait stays as it is', async () => {
    await using t = await openApp({
      attempts: 4,
      onExhausted: 'park-key',
      backoff: { type: 'fixed', delayMs: 70, jitter: 0 },
    })
    t.faults.poison('g', {})
    await sendAll(t, 'v')
    await t.drain({ allowDead: 1 })
    expect(t.history.of('failed').map(({ retryInMs }) => retryInMs)).toEqual([70, 70, 70, undefined])
  })

  test('a list of waits is taken in turn; a function chooses them, and one that can not is reported', async () => {
    const waits = async (backoff: NonNullable<SubscribeOptions['backoff']>): Promise<unknown[]> => {
      await using t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff })
      t.faults.poison('g', {})
      await sendAll(t, 'k:1')
      await t.drain({ allowDead: 1 })
      const starts = t.history.of('start').map(({ at }) => at)
      const errors = t.history.of('failed').map(({ error }) => (error as { code?: string }).code)
      return starts.slice(1).map((at, i) => [at - starts[i]!, errors[i]])
    }
    expect(await waits([5, 0, 70_000])).toEqual([5, 0, 70_000, 70_000].map((ms) => [ms, undefined]))
    const choose: BackoffFunction = (error, attempt, { group, key, offset }) => {
      if (attempt === 3) throw new Error('inside')
      return error instanceof Error && `${group}${key}${offset}` === 'gk0' ? 10 * attempt : NaN
    }
    const [, , third] = await waits(choose)
    expect(third).toEqual([expect.any(Number), 'INVALID_OPTION'])
    expect((await waits(choose)).toSpliced(2, 1)).toEqual([10, 20, 40].map((ms) => [ms, undefined]))
  })

  test('jitter spreads the wait over its share on both sides, and the same seed draws the same', async () => {
    const waits = async (seed: number): Promise<number[]> => {
      const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0.5 } as const
      await using t = await openApp({ attempts: 2, onExhausted: 'park-key', backoff, test: { seed } })
      t.faults.poison('g', {})
      await sendAll(t, ...Array.from({ length: 100 }, (_, i) => `${i}`))
      await t.settle()
      return t.pending().map(({ inMs }) => inMs)
    }
    const drawn = await waits(1)
    expect(drawn).toHaveLength(100)
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(500)
    expect(Math.max(...drawn)).toBeLessThanOrEqual(1_500)
    expect(Math.max(...drawn) - Math.min(...drawn)).toBeGreaterThan(500)
    expect(await waits(1)).toEqual(drawn)
    expect(await waits(2)).not.toEqual(drawn)
  })

  test('BOUND-43: maxDelayMs is the longest wait, jitter included', async () => {
    await using t = await openApp({ attempts: 50, onExhausted: 'park-key', backoff: { maxDelayMs: 100, jitter: 1 } })
    t.faults.poison('g', {})
    await sendAll(t, 'v')
    await t.drain({ allowDead: 1 })
    const waits = t.history.of('failed').map(({ retryInMs = 0 }) => retryInMs)
    expect(waits).toHaveLength(50)
    expect(Math.max(...waits)).toBeLessThanOrEqual(100)
  })

  test.each(['sync', 'async'])(
    'ORDER-48: a message that waits for its retry holds back its own key only, and takes up no handler: %s',
    async (mode) => {
      const handle = ({ value, attempt }: Message<string>): void => {
        if (value === 'a:1' && attempt === 1) throw new Error('once')
      }
      await using t = await openApp({
        concurrency: 1,
        backoff: { delayMs: 100, jitter: 0 },
        handler: mode === 'sync' ? handle : async (message) => Promise.resolve(message).then(handle),
      })
      await sendAll(t, 'a:1', 'a:2', 'b:1', 'b:2')
      await t.settle()
      await sendAll(t, 'a:3', 'c:1')
      expect((await t.advance(99)).idle).toBe('waiting')
      expect(doneBy(t)).toEqual(['b:1', 'b:2', 'c:1'])
      t.assert.pending('retry', { key: 'a', attempt: 2, in: '1ms' }, { times: 1 })
      t.assert.delivered('g', { key: 'a' }, { times: 1 })
      expect(await t.next()).toMatchObject({ kind: 'retry', elapsedMs: 1 })
      expect(doneBy(t).slice(3)).toEqual(['a:1', 'a:2', 'a:3'])
      await t.drain()
      t.assert.drained()
    },
  )

  test('LOSS-43: a message that used up its attempts parks its key, which says so and waits to be told to go on', async () => {
    await using t = await openApp({
      attempts: 2,
      onExhausted: 'park-key',
      backoff: { delayMs: 10, jitter: 0 },
      partitions: 2,
    })
    const { subscription } = t.wired
    const cause = new Error('broken')
    t.handler('g').failTimes(3, () => cause, { key: 'a', offset: 0 })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    expect(await t.drain({ allowDead: 1 })).toMatchObject({ idle: 'parked', dead: 1, elapsedMs: 10 })
    const place = { topic: 't', key: 'a', offset: 0 }
    expect(subscription.parkedKeys()).toMatchObject([{ ...place, attempts: 2 }])
    const error = { code: 'HANDLER_FAILED', cause, key: 'a' }
    expect(t.history.of('parked')).toMatchObject([{ ...place, group: 'g', error }])
    expect([doneBy(t), subscription.lag().count]).toEqual([['b:1'], 2])
    expect(t.mq.stats().subscriptions[0]).toMatchObject({ parkedKeys: 1, failed: 2 })
    expect(await t.resolve(subscription.drain())).toEqual({ left: 2 })
    expect([subscription.release('other'), subscription.release('a')]).toEqual([0, 1])
    await t.settle()
    expect([t.group('g').delivered.at(-1)!.attempt, subscription.parkedKeys()]).toEqual([1, []])
    expect((await t.drain()).idle).toBe('empty')
    expect(doneBy(t)).toEqual(['b:1', 'a:1', 'a:2'])
    expect(subscription.lag().count).toBe(0)
  })

  test('a parked key stays parked for the next subscription, until it is told to go on', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'park-key' })
    const { subscription, join } = t.wired
    t.handler('g').failTimes(2, undefined, { where: ({ key }) => key !== 'b' })
    await sendAll(t, 'a:1', 'b:1', 'a:2', 'free')
    await t.drain({ allowDead: 2 })
    expect(t.dead().map(({ key, offset }) => [key, offset])).toEqual([
      ['a', 0],
      [undefined, 3],
    ])
    const parked = subscription.parkedKeys()
    expect(parked).toHaveLength(2)
    await t.resolve(subscription.close())
    const next = await t.resolve(join())
    expect((await t.drain()).idle).toBe('parked')
    expect([doneBy(t), next.parkedKeys()]).toEqual([['b:1'], parked])
    expect([next.release('a'), next.release()]).toEqual([1, 1])
    await t.drain()
    expect(doneBy(t).toSorted()).toEqual(['a:1', 'a:2', 'b:1', 'free'])
  })

  test('LOSS-44: a value that the codec cannot read is reported and retried like any failure, and parks its key', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const parked = eventsOf(mq, 'key:parked')
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
      topic.subscribe('g', ({ value }) => void seen.push(value), {
        from: 'earliest',
        attempts: 2,
        onExhausted: 'park-key',
      }),
    )
    await runtime.advance(10_000)
    expect(seen).toEqual(['a:1', 'b:1'])
    expect(failed.map(({ error }) => error)).toMatchObject([{ code: 'DECODING_FAILED' }, { code: 'DECODING_FAILED' }])
    expect(parked).toMatchObject([{ offset: 1, key: 'a', error: { cause: { code: 'DECODING_FAILED' } } }])
    expect(subscription.lag().count).toBe(2)
  })

  test('a value that a schema refuses on receipt is not handed out', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const parked = eventsOf(mq, 'key:parked')
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
    await run(
      strict.subscribe('g', ({ value }) => void seen.push(value), {
        from: 'earliest',
        attempts: 1,
        onExhausted: 'park-key',
      }),
    )
    await runtime.advance(1_000)
    expect(seen).toEqual([1])
    expect(parked).toMatchObject([{ offset: 1, error: { cause: { code: 'VALIDATION_FAILED' } } }])
  })

  test('PROGRESS-44: attempts without end and without delay go on until the handler succeeds', async () => {
    await using t = await openApp({ attempts: Infinity, backoff: { delayMs: 0 } })
    t.handler('g').failTimes(1_499)
    await sendAll(t, 'k:1')
    const { elapsedMs, retried } = await t.drain()
    expect([elapsedMs, retried]).toEqual([0, 1_499])
    t.assert.drained()
  })
})
