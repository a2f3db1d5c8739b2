import { describe, expect, test } from 'vitest'
import type { HandlerContext } from '../../src/index.ts'
import type { Clock } from '../../src/testing/index.ts'
import { lasting, openApp, running, runsOf, sendAll, sendTo } from './app.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

const backoff = { type: 'fixed', delayMs: 100, jitter: 0 } as const
const stubborn = { handlerTimeoutMs: 1_000, backoff, attempts: 3, onExhausted: 'park-key' } as const

describe('a handler that is too slow', () => {
  test('FENCE-30: its signal is aborted, and what it returns afterwards finishes nothing', async () => {
    const signals: AbortSignal[] = []
    await using t = await openApp({
      ...stubborn,
      handler: ({ attempt, value }, { signal }, clock) => {
        signals.push(signal)
        return attempt === 1 && value === 'a:1' ? clock.sleep(1_500) : undefined
      },
    })
    const timeouts = eventsOf(t.mq, 'message:timed-out')
    const failures = eventsOf(t.mq, 'message:failed')
    await sendAll(t, 'a:1', 'a:2')
    await t.advance(999)
    expect(signals[0]!.aborted).toBe(false)
    await t.advance(1)
    expect(signals[0]!.reason).toMatchObject({ code: 'HANDLER_TIMEOUT', retriable: true, group: 'g', offset: 0 })
    const place = { group: 'g', topic: 't', partition: 0, offset: 0, key: 'a', attempt: 1 }
    expect(timeouts).toEqual([{ ...place, error: signals[0]!.reason as unknown, isAbandoned: false }])
    expect(failures).toEqual([])
    await t.drain()
    expect(failures).toEqual([{ ...place, error: signals[0]!.reason as unknown, retryInMs: 100 }])
    expect(runsOf(t)).toEqual(['a:1 0-1500', 'a:1 1600-1600', 'a:2 1600-1600'])
  })

  test('what it sends or stores after its time is refused, and what it did before is dropped', async () => {
    const refused: unknown[] = []
    await using t = await openApp({
      ...stubborn,
      handler: async ({ attempt }, context, clock) => {
        context.store('s').put(`attempt ${attempt}`, true)
        if (attempt > 1) return
        await clock.sleep(1_500)
        refused.push(thrownBy(() => context.store('s')))
        refused.push(thrownBy(() => context.send({} as never, { value: 1 })))
      },
    })
    await sendAll(t, 'a:1')
    await t.drain()
    expect(refused).toMatchObject([{ code: 'FENCED', cause: { code: 'HANDLER_TIMEOUT' } }, { code: 'FENCED' }])
    const store = await t.resolve(t.mq.store('s'))
    expect(store.range().map(({ key }) => key)).toEqual(['attempt 2'])
  })

  test('FENCE-33: it keeps its key and its place until it ends; other keys go on', async () => {
    await using t = await openApp({ ...stubborn, concurrency: 2, handler: lasting({ 'a:1': 5_000, 'b:1': 10 }) })
    await sendAll(t, 'a:1', 'a:2', 'b:1', 'c:1', 'd:1')
    await t.advance('4s')
    expect(running(t)).toEqual(['a:1'])
    expect(runsOf(t)).toEqual(['a:1 0-', 'b:1 0-10', 'c:1 10-20', 'd:1 20-30'])
    await t.advance('1s')
    expect(t.history.of('failed')).toMatchObject([{ at: 5_000, offset: 0 }])
    await t.drain({ allowDead: 1 })
  })

  test('the same holds when it throws in the end, whatever it throws', async () => {
    await using t = await openApp({
      ...stubborn,
      handler: ({ attempt }, { signal }) =>
        attempt > 1
          ? undefined
          : new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('its own')))),
    })
    const failures = eventsOf(t.mq, 'message:failed')
    await sendAll(t, 'a:1')
    await t.drain()
    expect(failures).toMatchObject([{ attempt: 1, error: { code: 'HANDLER_TIMEOUT' } }])
    expect(runsOf(t)).toEqual(['a:1 0-1000', 'a:1 1100-1100'])
  })

  test('uses up its attempts, and its key is parked with the timeout as the cause', async () => {
    await using t = await openApp({
      ...stubborn,
      attempts: 2,
      onExhausted: 'park-key',
      handler: (_, { signal }) => aborted(signal),
    })
    const parked = eventsOf(t.mq, 'key:parked')
    await sendAll(t, 'a:1')
    await t.drain({ allowDead: 1 })
    expect(parked).toMatchObject([{ error: { code: 'HANDLER_FAILED', cause: { code: 'HANDLER_TIMEOUT' } } }])
  })

  test('a handler that is done in time is never late, nor is one that returns without a promise', async () => {
    await using t = await openApp({
      ...stubborn,
      concurrency: 100,
      handler: ({ value }, _, clock) => (value === 'x' ? undefined : clock.sleep(Number(value))),
    })
    const timeouts = eventsOf(t.mq, 'message:timed-out')
    await sendAll(t, 'x', ...Array.from({ length: 50 }, (_, i) => String(((i * 37) % 50) * 20)))
    await t.drain()
    expect(timeouts).toEqual([])
    expect(t.history.of('drained')).toMatchObject([{ at: 980 }])
    t.assert.committed('g', { t: [51] })
  })

  test('each call has its own deadline', async () => {
    await using t = await openApp({
      ...stubborn,
      attempts: 1,
      onExhausted: 'park-key',
      handler: (_, { signal }) => aborted(signal),
    })
    for (const value of ['a:1', 'b:1', 'c:1']) {
      await sendAll(t, value)
      await t.advance(300)
    }
    await t.drain({ allowDead: 3 })
    expect(t.history.of('timed-out').map(({ at }) => at)).toEqual([1_000, 1_300, 1_600])
  })
})

describe(`onTimeout: 'abandon'`, () => {
  test('FENCE-31: frees the key and the place at the deadline; what the old call does later changes nothing', async () => {
    await using t = await openApp({
      ...stubborn,
      concurrency: 1,
      onTimeout: 'abandon',
      handler: ({ attempt, value }, _, clock) => clock.sleep(value === 'a:1' && attempt === 1 ? 5_000 : 10),
    })
    const timeouts = eventsOf(t.mq, 'message:timed-out')
    const failures = eventsOf(t.mq, 'message:failed')
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.advance(1_000)
    expect(timeouts).toMatchObject([{ offset: 0, isAbandoned: true }])
    expect(failures).toMatchObject([{ offset: 0, attempt: 1, error: { code: 'HANDLER_TIMEOUT' }, retryInMs: 100 }])
    await t.drain()
    expect(t.mq.stats().subscriptions).toMatchObject([{ running: 0 }])
    await t.advance('10s')
    expect(runsOf(t)).toEqual(['a:1 0-1000', 'b:1 1000-1010', 'a:1 1100-1110', 'a:2 1110-1120'])
    expect(t.history.of('late')).toMatchObject([{ at: 5_000, offset: 0 }])
    t.assert.committed('g', { t: [3] })
  })

  test('FENCE-32: one that ends while the next attempt runs takes nothing from it', async () => {
    const { mq, run, settle, runtime } = await virtualQueue()
    const calls = new HeldCalls()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const options = { from: 'earliest', ...stubborn, onTimeout: 'abandon', concurrency: 1 } as const
    const subscription = await run(topic.subscribe('g', calls.handler as never, options))
    await runtime.advance(1_000)
    calls.end('b:1')
    await runtime.advance(100)
    // Two calls of a:1: the first was abandoned.
    expect(calls.running).toEqual(['a:1', 'a:1'])
    calls.end('a:1')
    await settle()
    expect([calls.running, mq.stats().subscriptions[0]!.running]).toEqual([['a:1'], 1])
    calls.end('a:1')
    await settle()
    expect(calls.running).toEqual(['a:2'])
    calls.endAll()
    await run(subscription.drain())
  })

  test('a partition is given away although the abandoned call still runs', async () => {
    await using t = await openApp({
      ...stubborn,
      partitions: 2,
      onTimeout: 'abandon',
      handler: () => new Promise(() => {}),
    })
    await sendTo(t, 0, 'a:1')
    await sendTo(t, 1, 'b:1')
    await t.advance('1s')
    const second = await t.resolve(t.wired.join())
    await t.settle()
    expect([t.wired.subscription, second].map((one) => one.assignments().length)).toEqual([1, 1])
  })
})

describe('context.extend', () => {
  test('FENCE-34: moves the deadline to so many milliseconds from then, by default the limit', async () => {
    const extend: Record<string, (context: HandlerContext, clock: Clock) => unknown> = {
      none: () => {},
      again: async (context, clock) => {
        await clock.sleep(900)
        context.extend()
      },
      longer: (context) => context.extend(5_000),
      shorter: async (context, clock) => {
        await clock.sleep(100)
        context.extend(10)
      },
      never: (context) => context.extend(Infinity),
    }
    await using t = await openApp({
      ...stubborn,
      attempts: 1,
      onExhausted: 'park-key',
      handler: async ({ value }, context, clock) => {
        await extend[value]!(context, clock)
        await (value === 'never' ? clock.sleep(20_000) : aborted(context.signal))
      },
    })
    await sendAll(t, ...Object.keys(extend))
    await t.drain({ allowDead: 4 })
    const late = t.history.of('timed-out').map(({ offset, at }) => [Object.keys(extend)[offset], at])
    expect(late).toEqual([
      ['shorter', 110],
      ['none', 1_000],
      ['again', 1_900],
      ['longer', 5_000],
    ])
  })

  test('FENCE-35: is refused when the time is over, and when the call has ended', async () => {
    const refused: unknown[] = []
    const contexts: HandlerContext[] = []
    await using t = await openApp({
      ...stubborn,
      attempts: 1,
      onExhausted: 'park-key',
      handler: async ({ value }, context, clock) => {
        contexts.push(context)
        if (value === 'quick') return clock.sleep(1)
        await clock.sleep(1_000)
        refused.push(thrownBy(() => context.extend()))
      },
    })
    await sendAll(t, 'quick', 'slow')
    await t.drain({ allowDead: 1 })
    refused.push(thrownBy(() => contexts[0]!.extend(5)))
    expect(refused).toMatchObject([{ code: 'FENCED', cause: { code: 'HANDLER_TIMEOUT' } }, { code: 'FENCED' }])
  })

  test('does nothing where no limit is set, and refuses what is no time either way', async () => {
    for (const limit of [{}, { handlerTimeoutMs: 1_000 }]) {
      const refused: unknown[] = []
      await using t = await openApp({
        ...limit,
        handler: (_, context) => {
          context.extend()
          context.extend(5)
          for (const ms of [0, -1, 1.5, NaN, '5']) refused.push(thrownBy(() => context.extend(ms as number)))
        },
      })
      await sendAll(t, '1')
      await t.drain()
      expect(refused).toHaveLength(5)
      for (const error of refused) expect(error).toMatchObject({ code: 'INVALID_OPTION', option: 'ms' })
    }
  })
})

describe('a batch that is too slow', () => {
  const batch = { ...stubborn, from: 'earliest', batch: { max: 10 } } as const

  for (const onTimeout of ['wait', 'abandon'] as const) {
    test(`FENCE-36: fails as a whole, whatever its handler returns (${onTimeout})`, async () => {
      const { mq, run, settle, runtime } = await virtualQueue()
      const calls = new HeldCalls()
      const topic = await run(mq.topic<string>('t'))
      await run(topic.sendBatch(messagesOf('a:1', 'b:1')))
      const timeouts = eventsOf(mq, 'message:timed-out')
      const failures = eventsOf(mq, 'message:failed')
      const subscription = await run(topic.subscribe('g', calls.handler, { ...batch, onTimeout }))
      await runtime.advance(1_000)
      expect(timeouts).toMatchObject([{ offset: 0 }, { offset: 1 }])
      expect(failures).toHaveLength(onTimeout === 'wait' ? 0 : 2)
      if (onTimeout === 'wait') calls.answer('a:1 b:1', [undefined, undefined])
      await runtime.advance(100)
      expect(failures).toMatchObject([{ error: { code: 'HANDLER_TIMEOUT' } }, { error: { code: 'HANDLER_TIMEOUT' } }])
      expect(calls.running).toHaveLength(onTimeout === 'wait' ? 1 : 2)
      calls.endAll()
      await settle()
      expect([mq.group('g').lag().count, calls.running]).toEqual([0, []])
      await run(subscription.close())
    })
  }
})

describe('subscription.cancel', () => {
  test('FENCE-37: aborts the calls with a key or a message, and the handler decides what comes of it', async () => {
    const seen: unknown[] = []
    await using t = await openApp({
      attempts: 2,
      onExhausted: 'park-key',
      backoff,
      handler: ({ value, attempt }, { signal }) => {
        if (attempt > 1 || value.endsWith(':2')) return undefined
        const outcome = aborted(signal).catch((reason: unknown) => {
          seen.push(reason)
          if (value === 'a:1') throw reason
        })
        return outcome
      },
    })
    const { subscription } = t.wired
    await sendAll(t, 'a:1', 'a:2', 'b:1', 'c:1', 'c:2')
    await t.settle()
    expect(subscription.cancel({ key: 'nobody' })).toBe(0)
    expect(subscription.cancel({ partition: 0, offset: 1 })).toBe(0)
    expect(subscription.cancel({ topic: 'other', partition: 0, offset: 0 })).toBe(0)
    expect(subscription.cancel({ key: 'a' }, 'too dear')).toBe(1)
    expect(subscription.cancel({ topic: 't', partition: 0, offset: 2 })).toBe(1)
    await t.settle()
    expect(running(t)).toEqual(['c:1'])
    expect(seen).toMatchObject([
      { code: 'CANCELLED', key: 'a', group: 'g', cause: 'too dear' },
      { code: 'CANCELLED', topic: 't', partition: 0, offset: 2 },
    ])
    expect(t.history.of('failed')).toMatchObject([{ offset: 0, attempt: 1, error: { code: 'CANCELLED' } }])
    subscription.cancel({ partition: 0, offset: 3 })
    await t.drain()
    expect(t.history.of('cancelled').map(({ calls }) => calls)).toEqual([0, 0, 0, 1, 1, 1])
    t.assert.committed('g', { t: [5] })
  })

  test('a batch is cancelled by any of its messages, once', async () => {
    const { mq, run, settle } = await virtualQueue()
    const calls = new HeldCalls()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', batch: { max: 3 } }))
    await settle()
    const { signal } = calls.context('a:1 a:2 b:1')
    expect([subscription.cancel({ key: 'a' }), signal.aborted]).toEqual([1, true])
    calls.endAll()
    await run(subscription.close())
  })

  test('refuses a target that names no key and no place, or both', async () => {
    await using t = await openApp()
    const wrong = [
      undefined,
      {},
      { key: 5 },
      { partition: 0 },
      { offset: 0 },
      { key: 'a', partition: 0, offset: 0 },
      { id: 1 },
    ]
    for (const target of wrong) {
      expect(thrownBy(() => t.wired.subscription.cancel(target as never))).toMatchObject({ code: 'INVALID_OPTION' })
    }
  })
})

describe('closing while the time runs', () => {
  test('QUIET-80: leaves no timer of a limit, whether the calls end in time or are left', async () => {
    for (const timeoutMs of [0, 5_000]) {
      const { mq, run, runtime } = await virtualQueue()
      const calls = new HeldCalls()
      const topic = await run(mq.topic<string>('t'))
      await run(topic.sendBatch(messagesOf('a:1', 'b:1')))
      const options = { from: 'earliest', handlerTimeoutMs: 2_000 } as const
      const subscription = await run(topic.subscribe('g', calls.handler as never, options))
      await runtime.advance(10)
      const { signal } = calls.context('a:1')
      const closing = subscription.close({ timeoutMs })
      if (timeoutMs > 0) calls.endAll()
      const { left } = await run(closing)
      expect(left).toHaveLength(timeoutMs > 0 ? 0 : 2)
      if (timeoutMs === 0) expect(signal.reason).toMatchObject({ code: 'CLOSED' })
      expect(runtime.timers().filter(({ label }) => label.startsWith('time limit'))).toEqual([])
      calls.endAll()
    }
  })

  test('QUIET-81: the time of a call goes on while its subscription closes', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const calls = new HeldCalls()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1')))
    const timeouts = eventsOf(mq, 'message:timed-out')
    const options = { from: 'earliest', handlerTimeoutMs: 2_000, onTimeout: 'abandon' } as const
    const subscription = await run(topic.subscribe('g', calls.handler as never, options))
    await runtime.advance(10)
    const { left } = await run(subscription.close({ timeoutMs: 5_000 }))
    expect([left, timeouts.length]).toEqual([[], 2])
    calls.endAll()
  })
})

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}

function thrownBy(call: () => void): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  return undefined
}
