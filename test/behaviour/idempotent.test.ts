import { describe, expect, test } from 'vitest'
import type {
  IdempotencyOptions,
  Message,
  QueueEvents,
  SubscribeOptions,
  Subscription,
  Topic,
} from '../../src/index.ts'
import { QueueError, UnrecoverableError } from '../../src/errors.ts'
import { openTest, type Clock, type TestQueue } from '../../src/testing/index.ts'
import { byText, Server } from './idempotency-server.ts'
import { virtualQueue } from './queue.ts'

type Handler = (message: Message<string>, clock: Clock) => unknown

interface Given
  extends Omit<SubscribeOptions<string>, 'batch' | 'idempotency'>, Omit<IdempotencyOptions<string>, 'store'> {
  readonly handler?: Handler
}

interface Wired {
  readonly subscription: Subscription
  readonly topic: Topic<string>
}

const told = [
  'message:duplicate',
  'message:deferred',
  'message:failed',
  'idempotency:unavailable',
  'idempotency:available',
] as const

/** One topic, one group with a store, and what was told. */
async function opened(
  server: Server,
  given: Given = {},
): Promise<{ t: TestQueue<Wired>; events: string[]; effects: string[]; results: unknown[] }> {
  const { handler, key, ttlMs, leaseMs, fingerprint, ...options } = given
  const events: string[] = []
  const effects: string[] = []
  const results: unknown[] = []
  const t = await openTest<Wired>({
    wire: async (mq, { clock }) => {
      server.now = () => clock.now()
      const topic = await mq.topic<string>('t')
      for (const name of told)
        mq.on(name, (facts: QueueEvents[typeof name]) => {
          events.push('offset' in facts ? `${name} ${facts.offset}` : name)
          if ('result' in facts) results.push(facts.result)
        })
      const idempotency = { store: server.store, ...definedOf({ key, ttlMs, leaseMs, fingerprint }) }
      const handle = async (message: Message<string>): Promise<unknown> => {
        const result = await handler?.(message, clock)
        effects.push(message.value)
        return result
      }
      const subscription = await topic.subscribe('g', handle, { from: 'earliest', ...options, idempotency })
      return { subscription, topic }
    },
  })
  return { t, events, effects, results }
}

function definedOf<T extends object>(given: T): { [N in keyof T]: Exclude<T[N], undefined> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never
}

describe('a subscription with an idempotency store', () => {
  test('ONCE-1: what was done is not handled again: the message is finished, and the result of the first time is told', async () => {
    const server = new Server()
    const { t, events, effects, results } = await opened(server, {
      key: byText,
      handler: ({ value }) => ({ was: value }),
      fingerprint: () => undefined,
    })
    await using _ = t
    await t.send('t', { value: 'a:1' })
    await t.send('t', { value: 'a:2' })
    await t.send('t', { value: 'b:1' })
    await t.drain()
    expect(effects).toEqual(['a:1', 'b:1'])
    expect(events).toEqual(['message:duplicate 1'])
    expect(results).toEqual([{ was: 'a:1' }])
    t.assert.committed('g', { t: [3] })
  })

  test('a seek hands out again what was done, and nothing runs', async () => {
    const { t, events, effects } = await opened(new Server())
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.drain()
    await t.resolve(t.wired.subscription.seek('earliest'))
    await t.drain()
    expect(effects).toEqual(['a'])
    expect(events).toEqual(['message:duplicate 0'])
  })

  for (const [at, runs] of [
    ['deliver', 1],
    ['handler:done', 2],
    ['settle:before', 1],
  ] as const) {
    test(`ONCE-2: a crash at ${at} leaves ${runs === 1 ? 'one effect' : 'the effect without its mark, and it is repeated when the lease has ended'}`, async () => {
      const server = new Server()
      const { t, effects } = await opened(server, { leaseMs: 5_000 })
      await using _ = t
      t.faults.crash({ at, group: 'g' })
      await t.send('t', { value: 'a' }).catch(() => {})
      await t.settle()
      t.assert.crashed()
      await t.restart()
      await t.drain()
      expect(effects).toHaveLength(runs)
      t.assert.committed('g', { t: [1] })
    })
  }

  test('ONCE-3: of concurrent deliveries under one key one runs; the others wait without a slot and without an attempt', async () => {
    const attempts: number[] = []
    const handler: Handler = async ({ value, attempt }, clock) => {
      attempts.push(attempt)
      if (value.startsWith('a')) await clock.sleep(5_000)
    }
    const { t, events, effects } = await opened(new Server(), {
      key: byText,
      concurrency: 2,
      handler,
      fingerprint: () => undefined,
    })
    await using _ = t
    for (const value of ['a:1', 'a:2', 'a:3', 'b:1', 'c:1', 'd:1']) await t.send('t', { value })
    await t.advance(100)
    expect(effects).toEqual(['b:1', 'c:1', 'd:1'])
    expect(t.history.of('deferred')[0]!.reason).toMatchObject({ code: 'IDEMPOTENCY_BUSY', retriable: true, topic: 't' })
    await t.drain()
    expect(effects).toEqual(['b:1', 'c:1', 'd:1', 'a:1'])
    expect(events.filter((event) => event.startsWith('message:duplicate')).toSorted()).toEqual([
      'message:duplicate 1',
      'message:duplicate 2',
    ])
    expect(new Set(attempts)).toEqual(new Set([1]))
    expect(events.some((event) => event.startsWith('message:failed'))).toBe(false)
  })

  test('a handler that works longer than its lease keeps its key, since the lease is renewed', async () => {
    const server = new Server()
    const { t, effects } = await opened(server, {
      leaseMs: 1_000,
      key: byText,
      handler: (_, clock) => clock.sleep(10_000),
    })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.advance(5_500)
    expect(await server.inner.begin('g/a', { owner: 'other', leaseMs: 1_000 })).toMatchObject({ outcome: 'busy' })
    await t.drain()
    expect(effects).toEqual(['a'])
    expect(await server.inner.begin('g/a', { owner: 'other', leaseMs: 1_000 })).toMatchObject({ outcome: 'done' })
  })

  test('ONCE-4: who lost the lease is told by the signal, and does not mark the work as done', async () => {
    const server = new Server()
    const seen: unknown[] = []
    const t = await openTest({
      wire: async (mq, { clock }) => {
        server.now = () => clock.now()
        const topic = await mq.topic<string>('t')
        const options = { from: 'earliest', backoff: { type: 'fixed', delayMs: 60_000, jitter: 0 } } as const
        const idempotency = { store: server.store, leaseMs: 1_000, key: byText }
        await topic.subscribe(
          'g',
          async ({ attempt }, { signal }) => {
            if (attempt > 1) return
            server.goAway()
            await clock.sleep(2_000)
            server.away = undefined
            const { outcome } = await server.inner.begin('g/a', { owner: 'other', leaseMs: 3_000 })
            expect(outcome).toBe('acquired')
            await clock.sleep(1_000)
            seen.push(signal.aborted, (signal.reason as QueueError).code)
          },
          { ...options, idempotency },
        )
        mq.on('message:failed', ({ error }) => seen.push((error as QueueError).code))
      },
    })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.advance(4_000)
    expect(seen).toEqual([true, 'FENCED', 'FENCED'])
    expect(await server.inner.begin('g/a', { owner: 'third', leaseMs: 1_000 })).toMatchObject({
      outcome: 'busy',
      owner: 'other',
    })
    await t.drain()
    expect(t.group('g').delivered.map(({ attempt }) => attempt)).toEqual([1, 2])
  })

  test('a failed attempt frees the key at once, so that the next one can begin', async () => {
    let left = 2
    const handler: Handler = () => {
      if (left-- > 0) throw new Error('not yet')
    }
    const backoff = { type: 'fixed', delayMs: 10, jitter: 0 } as const
    const { t, events, effects } = await opened(new Server(), { handler, backoff })
    await using _ = t
    await t.send('t', { value: 'a' })
    const { elapsedMs } = await t.drain()
    expect(effects).toEqual(['a'])
    expect(events).toEqual(['message:failed 0', 'message:failed 0'])
    expect(elapsedMs).toBe(20)
  })

  test('another payload under the same key is refused with IDEMPOTENCY_MISMATCH, and is not tried again', async () => {
    const errors: unknown[] = []
    const { t, effects } = await opened(new Server(), { key: byText, onExhausted: 'park-key' })
    await using _ = t
    t.mq.on('message:failed', ({ error, retryInMs }) => errors.push((error as QueueError).code, retryInMs))
    await t.send('t', { value: 'a:1', key: 'k' })
    await t.send('t', { value: 'a:1', key: 'k' })
    await t.send('t', { value: 'a:2', key: 'k' })
    await t.drain({ allowDead: 1 })
    expect(effects).toEqual(['a:1'])
    expect(errors).toEqual(['IDEMPOTENCY_MISMATCH', undefined])
    expect(t.wired.subscription.parkedKeys()).toMatchObject([{ offset: 2, attempts: 1 }])
  })

  for (const [what, error, options, runs] of [
    ['an UnrecoverableError', new UnrecoverableError('no such account'), {}, 1],
    ['an error that is not retryable', new Error('no such account'), { retryable: () => false }, 1],
    [
      'the last attempt of a message that is skipped',
      new Error('no such account'),
      { attempts: 1, onExhausted: 'skip' },
      1,
    ],
    [
      'the last attempt of a message that is parked',
      new Error('no such account'),
      { attempts: 1, onExhausted: 'park-key' },
      2,
    ],
  ] as const) {
    test(`ONCE-9: ${what} ${runs === 1 ? 'is remembered: a repeat fails alike' : 'is not: a repeat is tried'}`, async () => {
      let calls = 0
      const handler: Handler = () => {
        calls++
        throw error
      }
      const failures: unknown[] = []
      const { t } = await opened(new Server(), { handler, key: byText, ...options })
      await using _ = t
      t.mq.on('message:failed', ({ error: seen, retryInMs }) => failures.push(String(seen), retryInMs))
      await t.send('t', { value: 'a' })
      await t.send('t', { value: 'a' })
      await t.drain({ allowDead: 2 })
      expect(calls).toBe(runs)
      expect(failures).toEqual([String(error), undefined, String(error), undefined])
    })
  }

  test('groups that share a store and name their work alike do not take it for each other’s', async () => {
    const server = new Server()
    const seen: string[] = []
    const t = await openTest({
      wire: async (mq, { clock }) => {
        server.now = () => clock.now()
        const topic = await mq.topic<string>('t')
        const options = { from: 'earliest', idempotency: { store: server.store, key: byText } } as const
        for (const group of ['billing', 'mailing']) await topic.subscribe(group, () => void seen.push(group), options)
      },
    })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.drain()
    expect(seen.toSorted()).toEqual(['billing', 'mailing'])
  })
})

describe('an idempotency store that is away', () => {
  test('ONCE-5: its messages wait with no attempt counted and nothing run, few at a time, and go on when it is back', async () => {
    const server = new Server()
    const { t, events, effects } = await opened(server, { concurrency: 2, attempts: 1 })
    await using _ = t
    server.goAway()
    for (let i = 0; i < 20; i++) await t.send('t', { value: `${i}` })
    await t.advance('10m')
    expect(effects).toEqual([])
    expect(events.filter((event) => event === 'idempotency:unavailable')).toHaveLength(1)
    expect(new Set(events)).toEqual(new Set(['idempotency:unavailable', 'message:deferred 0', 'message:deferred 1']))
    // Asked again and again, but not without end: at most each ten seconds, two at a time.
    expect(server.calls).toBeGreaterThan(60)
    expect(server.calls).toBeLessThan(200)
    server.away = undefined
    await t.advance('12s')
    expect(effects.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_one, i) => i))
    expect(events.at(-1)).toBe('idempotency:available')
    expect(events.some((event) => event.startsWith('message:failed'))).toBe(false)
  })

  for (const [what, lastsMs] of [
    ['at once', 0],
    ['after several renewals', 5_000],
  ] as const) {
    test(`ONCE-6: work that is done ${what} is marked when the store is back, however long after the lease, and not done again`, async () => {
      const server = new Server()
      const handler: Handler = (_, clock) => {
        server.goAway()
        return lastsMs === 0 ? undefined : clock.sleep(lastsMs)
      }
      const { t, events, effects } = await opened(server, { leaseMs: 1_000, handler })
      await using _ = t
      await t.send('t', { value: 'a' })
      await t.advance('10m')
      t.assert.committed('g', { t: [0] })
      server.away = undefined
      await t.drain()
      expect(effects).toEqual(['a'])
      expect(events).toEqual(['idempotency:unavailable', 'idempotency:available'])
      t.assert.committed('g', { t: [1] })
    })
  }

  test('a store that forgot the claim in the meantime is told of the work all the same', async () => {
    const server = new Server()
    const forget: Handler = async () => {
      server.goAway()
      for (const fence of [1, 2, 3]) await server.inner.release('g/a', fence)
    }
    const { t, effects } = await opened(server, { key: byText, handler: forget })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.advance('1m')
    server.away = undefined
    await t.drain()
    expect(effects).toEqual(['a'])
    expect(await server.inner.begin('g/a', { owner: 'o', leaseMs: 1_000 })).toMatchObject({ outcome: 'done' })
  })

  test('closing ends the wait, and a pause of the user outlives it', async () => {
    const server = new Server()
    const { t, effects } = await opened(server)
    await using _ = t
    server.goAway()
    await t.send('t', { value: 'a' })
    await t.settle()
    t.wired.subscription.pause()
    server.away = undefined
    await t.advance('1m')
    expect(effects).toEqual([])
    t.wired.subscription.resume()
    await t.settle()
    expect(effects).toEqual(['a'])
    server.goAway()
    await t.send('t', { value: 'b' })
    await t.settle()
    const { left } = await t.resolve(t.wired.subscription.close())
    expect(left).toEqual([])
  })

  test('what is not a matter of time is said as a warning, once', async () => {
    const server = new Server()
    server.away = new QueueError('NOT_A_STORE', 'call setup() once')
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.subscribe('g', () => {}, { from: 'earliest', idempotency: { store: server.store } }))
    await run(topic.send({ value: 'a' }))
    await runtime.advance(60_000)
    expect(runtime.warnings.filter((text) => text.includes('call setup() once'))).toHaveLength(1)
    server.away = undefined
    await runtime.advance(15_000)
  })
})

describe('what the handler returned', () => {
  for (const [what, value] of [
    ['a cycle', cycle()],
    ['a function', () => {}],
    ['a bigint', 1n],
  ] as const) {
    test(`${what} can't be kept: the message is given up at once with ENCODING_FAILED, its effect is not repeated`, async () => {
      const errors: unknown[] = []
      const { t, effects } = await opened(new Server(), { handler: () => value })
      await using _ = t
      t.mq.on('message:failed', ({ error, retryInMs }) => errors.push((error as QueueError).code, retryInMs))
      await t.send('t', { value: 'a' })
      await t.drain({ allowDead: 1 })
      expect(errors).toEqual(['ENCODING_FAILED', undefined])
      expect(effects).toEqual(['a'])
    })
  }
})

test('ONCE-8: a handler that has something commit with its acknowledgement is refused, since the mark would come before', async () => {
  const server = new Server()
  const errors: unknown[] = []
  const t = await openTest({
    wire: async (mq, { clock }) => {
      server.now = () => clock.now()
      const topic = await mq.topic<string>('t')
      const outputs = await mq.topic<string>('outputs')
      const options = { from: 'earliest', idempotency: { store: server.store } } as const
      await topic.subscribe('g', (_, context) => context.send(outputs, { value: 'out' }), options)
      mq.on('message:failed', ({ error, retryInMs }) => errors.push((error as QueueError).code, retryInMs))
    },
  })
  await using _ = t
  await t.send('t', { value: 'a' })
  await t.drain({ allowDead: 1 })
  expect(errors).toEqual(['UNSUPPORTED', undefined])
  expect(t.mq.stats().topics['outputs']!.count).toBe(0)
})

function cycle(): object {
  const self: { self?: object } = {}
  self.self = self
  return self
}

describe('options', () => {
  const store = new Server().store
  for (const [what, idempotency, option] of [
    ['no store', {}, 'store'],
    ['a map as store', { store: new Map() }, 'store'],
    ['half a store', { store: { ...store, begin: () => {} } }, 'store'],
    ['an unknown option', { store, lease: 1 }, 'lease'],
    ['a lease of 0', { store, leaseMs: 0 }, 'leaseMs'],
    ['a time of -1', { store, ttlMs: -1 }, 'ttlMs'],
    ['a key that is text', { store, key: 'id' }, 'key'],
    ['a fingerprint that is true', { store, fingerprint: true }, 'fingerprint'],
    ['no object', true, 'idempotency'],
  ] as const) {
    test(`${what} is refused at the door`, async () => {
      const t = await openTest()
      await using _ = t
      const topic = await t.mq.topic('t')
      const subscribed = topic.subscribe('g', () => {}, { from: 'earliest', idempotency: idempotency as never })
      await expect(t.resolve(subscribed)).rejects.toMatchObject({ code: 'INVALID_OPTION', option })
    })
  }

  test('together with batches they are refused', async () => {
    const t = await openTest()
    await using _ = t
    const topic = await t.mq.topic('t')
    const options = { from: 'earliest', batch: { max: 2 }, idempotency: { store } } as const
    await expect(t.resolve(topic.subscribe('g', () => {}, options))).rejects.toMatchObject({ option: 'idempotency' })
  })

  for (const [what, given] of [
    ['no text', { key: () => 1 as never }],
    ['an empty text', { key: () => '' }],
    ['a text that is too long', { key: () => 'k'.repeat(501) }],
    ['no text as fingerprint', { fingerprint: () => 1 as never }],
  ] as const) {
    test(`a function that returns ${what} fails the message, and the store is not asked`, async () => {
      const server = new Server()
      const { t, effects } = await opened(server, { ...given, attempts: 1 })
      await using _ = t
      await t.send('t', { value: 'a' })
      await t.drain({ allowDead: 1 })
      expect([effects, server.calls]).toEqual([[], 0])
    })
  }

  test('a store that forgets, for messages that are kept, is warned of once', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    for (const group of ['one', 'two']) {
      await run(topic.subscribe(group, () => {}, { from: 'earliest', idempotency: { store } }))
    }
    expect(runtime.warnings.filter((text) => text.includes('is not durable'))).toHaveLength(1)
  })
})

test('ONCE-7: what has expired is removed in the background', async () => {
  const server = new Server()
  const { t } = await opened(server, { ttlMs: 1_000 })
  await using _ = t
  for (let i = 0; i < 10; i++) await t.send('t', { value: `${i}` })
  await t.settle()
  expect(server.inner.stats().marks).toBe(10)
  await t.advance('2m')
  expect(server.inner.stats().marks).toBe(0)
})

describe('together with a time limit', () => {
  test('neither asking the store nor marking the work takes the time of the handler', async () => {
    const server = new Server()
    const { t, events, effects } = await opened(server, { handlerTimeoutMs: 50, handler: () => server.goAway() })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.advance('10m')
    server.away = undefined
    await t.drain()
    expect(effects).toEqual(['a'])
    expect(events).toEqual(['idempotency:unavailable', 'idempotency:available'])
  })

  test('a handler that is late has done its work: it is marked, and the next attempt finds the mark', async () => {
    const { t, events, effects } = await opened(new Server(), {
      handlerTimeoutMs: 50,
      handler: (_, clock) => clock.sleep(500),
    })
    await using _ = t
    await t.send('t', { value: 'a' })
    await t.drain()
    expect(effects).toEqual(['a'])
    expect(events).toEqual(['message:failed 0', 'message:duplicate 0'])
  })
})
