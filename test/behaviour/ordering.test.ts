import { describe, expect, test } from 'vitest'
import { openTest } from '../../src/testing/index.ts'
import { doneBy, lasting, openApp, running, runsOf, sendAll, sendTo } from './app.ts'

describe('ordering', () => {
  test('ORDER-42: messages of one key run one at a time in offset order, those of other keys beside them', async () => {
    await using t = await openApp({ partitions: 3, handler: lasting({ 'a:1': 20, 'b:1': 15, 'c:1': 50, free: 40 }) })
    await sendAll(t, 'a:1', 'a:2', 'b:1', 'a:3', 'c:1', 'b:2', 'free', 'free too')
    expect(await t.drain()).toMatchObject({ attempts: 8, elapsedMs: 50 })
    expect(runsOf(t).toSorted()).toEqual([
      'a:1 0-20',
      'a:2 20-30',
      'a:3 30-40',
      'b:1 0-15',
      'b:2 15-25',
      'c:1 0-50',
      'free 0-40',
      'free too 0-10',
    ])
  })

  test("ORDER-43: with ordering 'partition' a partition is one queue, whatever the keys", async () => {
    await using t = await openApp({ partitions: 2, ordering: 'partition', handler: lasting({ '1:1': 25 }) })
    await Promise.all([sendTo(t, 0, '0:1', 'x:2', '0:3', 'y:4'), sendTo(t, 1, '1:1', 'free')])
    await t.drain()
    const expected = ['0:1 0-10', '0:3 20-30', '1:1 0-25', 'free 25-35', 'x:2 10-20', 'y:4 30-40']
    expect(runsOf(t).toSorted()).toEqual(expected)
    t.assert.committed('g', { t: [4, 2] })
  })

  test("with ordering 'partition' a message that waits for its retry holds back all that follow it there", async () => {
    const backoff = { delayMs: 100, jitter: 0 }
    await using t = await openApp({ partitions: 2, ordering: 'partition', handler: lasting(), backoff })
    t.handler('g').failTimes(1, undefined, { key: 'a' })
    await Promise.all([sendTo(t, 0, 'a:1', 'b:2'), sendTo(t, 1, 'c:1')])
    await t.drain()
    expect(runsOf(t).toSorted()).toEqual(['a:1 0-0', 'a:1 100-110', 'b:2 110-120', 'c:1 0-10'])
  })

  test("with ordering 'unordered' messages of one key run beside each other", async () => {
    await using t = await openApp({ ordering: 'unordered', concurrency: 3, handler: lasting({ 'a:2': 5 }) })
    await sendAll(t, 'a:1', 'a:2', 'a:3', 'a:4')
    await t.drain()
    expect(runsOf(t)).toEqual(['a:1 0-10', 'a:2 0-5', 'a:3 0-10', 'a:4 5-15'])
  })

  test.each([undefined, 1, 2])(
    'ORDER-44: order per key holds while the concurrency changes; begins and ends drawn by seed %s',
    async (seed) => {
      const busy = new Set<string>()
      await using t = await openApp({
        partitions: 4,
        concurrency: 1,
        handler: async ({ key, value }, _context, clock) => {
          expect(busy.has(key!), value).toBe(false)
          busy.add(key!)
          await clock.sleep((Number(value.split(':')[1]) * 13) % 10)
          busy.delete(key!)
        },
      })
      if (seed !== undefined) t.faults.interleave({ seed })
      const names = Array.from({ length: 400 }, (_, i) => `${(i * 7) % 11}:${i}`)
      await sendAll(t, ...names)
      const { subscription } = t.wired
      for (let i = 0; i < 200 && subscription.lag().count > 0; i++) {
        subscription.setConcurrency([1, 30, 2, 7][i % 4]!)
        await t.advance(5)
      }
      expect((await t.drain()).errors).toEqual([])
      for (let key = 0; key < 11; key++) {
        const isOfKey = (name: unknown): boolean => String(name).startsWith(`${key}:`)
        expect(doneBy(t).filter(isOfKey)).toEqual(names.filter(isOfKey))
      }
      expect(doneBy(t)).toHaveLength(400)
    },
  )

  test('one key in several topics: order holds in each topic, and the topics do not wait for each other', async () => {
    await using t = await openTest({
      wire: async (mq, { clock }) => {
        const topics = [await mq.topic<string>('t'), await mq.topic<string>('u')]
        return mq.subscribe(topics, 'g', ({ value }) => clock.sleep(value === 't1' ? 35 : 10), { from: 'earliest' })
      },
    })
    for (const value of ['t1', 't2', 'u1', 'u2']) await t.send(value[0]!, { key: 'k', value })
    await t.drain()
    expect(runsOf(t).toSorted()).toEqual(['t1 0-35', 't2 35-45', 'u1 0-10', 'u2 10-20'])
    expect(t.wired.assignments().map(({ topic }) => topic)).toEqual(['t', 'u'])
    t.assert.committed('g', { t: [2], u: [2] })
  })

  test('ORDER-45: messages of a key that is far ahead of its turn keep their order, and other keys overtake it', async () => {
    await using t = await openApp({
      maxBufferedMessages: 64,
      maxBufferedBytes: 65_536,
      test: { queue: { tailBytes: 65_536 } },
    })
    t.faults.stuck('g', { offset: 0 })
    const hot = Array.from({ length: 3_000 }, (_, i) => `hot:${i}`)
    await sendAll(t, ...hot, 'cold:1', 'cold:2')
    expect(await t.settle()).toMatchObject({ idle: 'parked', running: ['g t[0]@0'] })
    expect([doneBy(t), running(t)]).toEqual([['cold:1', 'cold:2'], ['hot:0']])
    const [figures] = t.mq.stats().subscriptions
    expect(figures!.deferred).toBeGreaterThan(2_900)
    expect(figures!.buffered).toBeLessThanOrEqual(64)
    await t.faults.lift()
    await t.drain()
    expect(doneBy(t).slice(2)).toEqual(hot)
    t.assert.drained()
  })

  test('ORDER-45: a message that comes while its key is behind waits for those before it, though there is room', async () => {
    await using t = await openApp({ maxBufferedMessages: 64, handler: lasting() })
    const hot = Array.from({ length: 60 }, (_, i) => `hot:${i}`)
    for (let i = 0; i < hot.length; i += 10) {
      await sendAll(t, ...hot.slice(i, i + 10))
      await t.advance(15)
    }
    expect(t.mq.stats().subscriptions[0]!.deferred).toBeGreaterThan(10)
    await t.drain()
    expect(doneBy(t)).toEqual(hot)
    expect(runsOf(t).at(-1)).toBe('hot:59 590-600')
  })

  test.each(['process', 'power'] as const)(
    'ORDER-46: a restart goes on in order and hands out only what was not finished: %s',
    async (kind) => {
      await using t = await openApp({ partitions: 2, handler: lasting({ 'a:1': 5, 'a:2': 5, 'c:1': 5, 'b:1': 100 }) })
      await sendAll(t, 'a:1', 'a:2', 'b:1', 'b:2', 'c:1', 'a:3')
      await t.advance(12)
      expect([doneBy(t), running(t).toSorted()]).toEqual([
        ['a:1', 'c:1', 'a:2'],
        ['a:3', 'b:1'],
      ])
      t.crash(kind)
      const before = runsOf(t).length
      await t.restart()
      await t.drain()
      expect(runsOf(t).slice(before).toSorted()).toEqual(['a:3 122-132', 'b:1 12-112', 'b:2 112-122'])
      t.assert.drained()
    },
  )
})
