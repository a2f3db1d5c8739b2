import { describe, expect, test } from 'vitest'
import { isQueueError, UnrecoverableError, type Subscription, type SubscribeOptions } from '../../src/index.ts'
import { doneBy, openApp, sendAll } from './app.ts'

const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0 } as const

/** [offset, attempt] of each delivery. */
function triesOf(t: Awaited<ReturnType<typeof openApp>>): [number, number][] {
  return t.history.of('deliver').map(({ offset, attempt }) => [offset, attempt])
}

describe("onExhausted: 'skip'", () => {
  for (const kind of ['process', 'power'] as const) {
    test(`PROGRESS-84: a skipped message is finished for good, over a ${kind} crash too, and told of`, async () => {
      await using t = await openApp({ attempts: 2, backoff, onExhausted: 'skip' })
      const cause = new Error('broken')
      t.handler('g').failTimes(2, () => cause, { offset: 0 })
      await sendAll(t, 'a:1', 'b:1')
      await t.drain({ allowDead: 1 })
      const place = { topic: 't', partition: 0, offset: 0, key: 'a', group: 'g', attempts: 2 }
      const error = { code: 'HANDLER_FAILED', cause, offset: 0 }
      expect(t.history.of('skipped')).toMatchObject([{ ...place, error, reason: 'attempts' }])
      expect(t.history.of('parked')).toEqual([])
      expect(t.mq.stats().subscriptions[0]).toMatchObject({ skipped: 1, failed: 2, handled: 1, parkedKeys: 0 })
      t.assert.committed('g', { t: [2] })
      t.assert.dead('g', { key: 'a', attempts: 2 }, { times: 1 })
      t.crash(kind)
      await t.restart()
      await t.drain()
      expect(triesOf(t)).toHaveLength(3)
      t.assert.empty('g')
    })
  }

  test('ORDER-90: what is behind a skipped message of its key goes on after it, in order', async () => {
    for (const batch of [undefined, { max: 10 }]) {
      const options: SubscribeOptions = { attempts: 2, backoff, onExhausted: 'skip', ...(batch && { batch }) }
      await using t = await openApp(options)
      t.handler('g').failTimes(2, undefined, { offset: 0 })
      await sendAll(t, 'a:1', 'a:2', 'a:3', 'b:1')
      // An array fails as a whole, and then the first message of each key is given up.
      await t.drain({ allowDead: batch ? 2 : 1 })
      expect(doneBy(t).filter((value) => value !== 'b:1')).toEqual(['a:2', 'a:3'])
      t.assert.empty('g')
    }
  })

  test('a crash before the settlement of a skipped message has it tried again', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'skip' })
    t.handler('g').failTimes(1)
    t.faults.crash({ at: 'settle:before', group: 'g' })
    await sendAll(t, 'a:1').catch(() => {})
    await t.settle()
    t.assert.crashed()
    await t.restart()
    await t.drain({ allowDead: 1 })
    expect(triesOf(t)).toEqual([
      [0, 1],
      [0, 1],
    ])
  })
})

describe("onExhausted: 'stop'", () => {
  test('PROGRESS-83: the subscription ends, and a new one tries the message again, counted anew', async () => {
    await using t = await openApp({ attempts: 2, backoff, onExhausted: 'stop', concurrency: 1 })
    const { subscription, join } = t.wired
    const ended: unknown[] = []
    t.mq.on('subscription:ended', (event) => ended.push(event))
    const cause = new Error('broken')
    t.handler('g').failTimes(2, () => cause, { offset: 0 })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.drain()
    const error = { code: 'HANDLER_FAILED', cause, topic: 't', partition: 0, offset: 0, key: 'a', group: 'g' }
    expect(subscription.failure).toMatchObject(error)
    expect(ended).toMatchObject([{ group: 'g', error }])
    // What was done before stays done; of the message and its key nothing is.
    expect(t.mq.group('g').lag().count).toBe(2)
    const next = await t.resolve(join())
    await t.drain()
    expect(triesOf(t)).toEqual([
      [0, 1],
      [2, 1],
      [0, 2],
      [0, 1],
      [1, 1],
    ])
    expect(next.failure).toBeUndefined()
  })

  test('PROGRESS-83: over a crash too', async () => {
    await using t = await openApp({ attempts: 3, backoff, onExhausted: 'stop' })
    t.handler('g').failTimes(3)
    await sendAll(t, 'a:1')
    await t.drain()
    t.crash('power')
    await t.restart()
    await t.drain()
    expect(triesOf(t).map(([, attempt]) => attempt)).toEqual([1, 2, 3, 1])
  })

  test('handlers that run are aborted, and their messages handed out again', async () => {
    const reasons: unknown[] = []
    await using t = await openApp({
      attempts: 1,
      onExhausted: 'stop',
      handler: ({ value, attempt }, { signal }, clock) => {
        if (value === 'b:1' && attempt === 1 && reasons.length === 0) {
          signal.addEventListener('abort', () => reasons.push(signal.reason))
          return clock.sleep(1_000)
        }
        return undefined
      },
    })
    t.handler('g').failTimes(1, undefined, { key: 'a' })
    await sendAll(t, 'b:1', 'a:1')
    await t.drain()
    expect(reasons).toMatchObject([{ code: 'HANDLER_FAILED' }])
    await t.resolve(t.wired.join())
    await t.drain()
    t.assert.empty('g')
  })
})

describe('errors that end it', () => {
  test('PROGRESS-85: an unrecoverable error, or one that is not retryable, is not tried again', async () => {
    await using t = await openApp({
      attempts: 9,
      onExhausted: 'park-key',
      backoff,
      retryable: (error) => (error as Error).message !== 'no',
    })
    t.handler('g').failTimes(1, () => new UnrecoverableError('never'), { key: 'a' })
    t.handler('g').failTimes(1, () => new Error('no'), { key: 'b' })
    t.handler('g').failTimes(1, () => new Error('later'), { key: 'c' })
    await sendAll(t, 'a:1', 'b:1', 'c:1')
    await t.drain({ allowDead: 2 })
    expect(triesOf(t)).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
      [2, 2],
    ])
    const reasons = t.history.of('parked').map((event) => (event as unknown as { reason: string }).reason)
    expect(reasons).toEqual(['unrecoverable', 'not-retryable'])
  })
})

describe('fewer attempts than in the life before', () => {
  async function resumed(onExhausted: 'park-key' | 'skip' | 'stop'): Promise<{
    t: Awaited<ReturnType<typeof openApp>>
    next: Subscription
    events: unknown[]
  }> {
    const t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(3, undefined, { key: 'a' })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.advance('2s')
    await t.resolve(t.wired.subscription.close())
    const events: unknown[] = []
    for (const name of ['key:parked', 'message:skipped', 'subscription:ended'] as const)
      t.mq.on(name, (event) => events.push([name, event]))
    const topic = await t.mq.topic<string>('t')
    const next = await t.resolve(topic.subscribe('g', () => {}, { attempts: 3, backoff, onExhausted }))
    await t.settle()
    return { t, next, events }
  }
  const failed = { code: 'HANDLER_FAILED', offset: 0, key: 'a' }

  test('PROGRESS-86: a message that has used them up parks its key, and it is told of', async () => {
    const { t, next, events } = await resumed('park-key')
    await using _ = t
    expect(events).toMatchObject([['key:parked', { offset: 0, error: failed, reason: 'attempts' }]])
    expect(next.parkedKeys()).toMatchObject([{ offset: 0, attempts: 3 }])
    t.crash()
    await t.restart()
    expect((await t.drain({ allowDead: 1 })).idle).toBe('parked')
    expect(t.wired.subscription.release('a')).toBe(1)
    await t.drain()
    expect(triesOf(t).slice(-2)).toEqual([
      [0, 1],
      [1, 1],
    ])
  })

  test('PROGRESS-86: or is skipped', async () => {
    const { t, events } = await resumed('skip')
    await using _ = t
    expect(events).toMatchObject([['message:skipped', { offset: 0, attempts: 3, error: failed }]])
    await t.drain({ allowDead: 1 })
    expect(triesOf(t).at(-1)).toEqual([1, 1])
    t.assert.empty('g')
  })

  test('PROGRESS-86: or ends the subscription, and is counted anew', async () => {
    const { t, next, events } = await resumed('stop')
    await using _ = t
    expect(isQueueError(next.failure, 'HANDLER_FAILED')).toBe(true)
    expect(events).toMatchObject([['subscription:ended', { error: failed }]])
    await t.resolve(t.wired.join())
    await t.drain()
    expect(triesOf(t).slice(-2)).toEqual([
      [0, 1],
      [1, 1],
    ])
    t.assert.empty('g')
  })
})
