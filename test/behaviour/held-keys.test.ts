import { describe, expect, test } from 'vitest'
import { doneBy, openApp, sendAll } from './app.ts'

function numbered<T>(count: number, of: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => of(i))
}

const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0 } as const

describe('keys that wait for a retry', () => {
  test('ORDER-91: they are listed, and one that is released goes on at once, in order', async () => {
    await using t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(1, undefined, { offset: 0 })
    t.handler('g').failTimes(1, undefined, { offset: 2 })
    const startedAt = t.clock.now()
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.advance('400ms')
    const { subscription } = t.wired
    const place = { topic: 't', partition: 0, attempts: 1, dueAt: startedAt + 1_000 }
    const blocked = [
      { ...place, offset: 0, key: 'a' },
      { ...place, offset: 2, key: 'b' },
    ]
    expect(subscription.blockedKeys()).toEqual(blocked)
    expect(t.mq.group('g').blockedKeys({ limit: 1 })).toEqual(blocked.slice(0, 1))
    expect(subscription.parkedKeys()).toEqual([])
    expect([subscription.release('other'), subscription.release('a')]).toEqual([0, 1])
    await t.settle()
    expect(doneBy(t)).toEqual(['a:1', 'a:2'])
    expect(
      t.history
        .of('start')
        .map(({ at, attempt, offset }) => [at, attempt, offset])
        .slice(2),
    ).toEqual([
      [400, 2, 0],
      [400, 1, 1],
    ])
    expect(subscription.blockedKeys()).toEqual(blocked.slice(1))
    expect(t.mq.group('g').release()).toBe(1)
    await t.drain()
    expect(subscription.blockedKeys()).toEqual([])
    t.assert.empty('g')
  })

  test('PROGRESS-87: what was released stays so over a crash, with its attempts', async () => {
    await using t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff, concurrency: 1 })
    t.handler('g').failTimes(2, undefined, { key: 'a' })
    await sendAll(t, 'a:1')
    await t.settle()
    t.wired.subscription.pause()
    expect(t.wired.subscription.release('a')).toBe(1)
    await t.settle()
    t.crash('power')
    await t.restart()
    await t.settle()
    expect(t.history.of('deliver').map(({ at, attempt }) => [at, attempt])).toEqual([
      [0, 1],
      [0, 2],
    ])
    await t.drain()
  })

  test('releasing again and again keeps nothing', async () => {
    let failing = true
    await using t = await openApp({
      attempts: Infinity,
      backoff: [80_000_000],
      handler: () => {
        if (failing) throw new Error('again')
      },
    })
    await sendAll(t, 'a:1')
    for (let i = 0; i < 500; i++) {
      t.wired.subscription.release()
      await t.settle()
    }
    failing = false
    t.wired.subscription.release()
    expect(await t.drain()).toMatchObject({ idle: 'empty' })
    t.assert.empty('g')
  })
})

describe('bounds', () => {
  test.each(['retry', 'park-key'] as const)(
    'BOUND-90: a backlog in which everything fails waits in the log beyond the limit: %s',
    async (mode) => {
      let failing = true
      await using t = await openApp({
        attempts: mode === 'retry' ? Infinity : 1,
        onExhausted: 'park-key',
        backoff,
        concurrency: 4,
        maxBufferedMessages: 20,
        maxDeferredMessages: 30,
        handler: () => {
          if (failing) throw new Error('fails')
        },
      })
      await sendAll(t, ...numbered(500, (i) => `k${i}:1`))
      if (mode === 'retry') await t.advance('5s')
      else await t.settle()
      const { subscription } = t.wired
      const held = mode === 'retry' ? subscription.blockedKeys() : subscription.parkedKeys()
      expect(held).toHaveLength(50)
      // Nothing more could be handed out.
      await t.resolve(subscription.idle())
      expect(new Set(t.history.of('deliver').map(({ offset }) => offset)).size).toBe(50)
      failing = false
      subscription.release()
      await t.drain({ allowDead: 50 })
      expect(subscription.lag().count).toBe(0)
    },
  )

  test('BOUND-91: lists of keys have a limit', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'park-key' })
    t.faults.poison('g', {})
    await sendAll(t, ...numbered(1_100, (i) => `k${i}:1`))
    await t.settle()
    const { subscription } = t.wired
    const group = t.mq.group('g')
    expect(subscription.parkedKeys()).toHaveLength(1_000)
    expect(group.parkedKeys({ limit: 1_050 }).map(({ offset }) => offset)).toEqual(numbered(1_050, (i) => i))
    for (const limit of [0, 1.5, 1_000_001])
      expect(() => subscription.blockedKeys({ limit })).toThrow(expect.objectContaining({ option: 'limit' }))
    await t.drain({ allowDead: 1_100 })
  })
})
