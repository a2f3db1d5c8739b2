import { describe, expect, test } from 'vitest'
import type { RetentionOptions, SubscribeOptions, Topic } from '../../src/index.ts'
import { openTest, type TestQueue, type Wire } from '../../src/testing/index.ts'
import { doneBy, openApp, sendAll } from './app.ts'
import { eventsOf } from './queue.ts'

const value = 'x'.repeat(1_000)

interface Log {
  readonly topic: Topic<string>
  /** Tells of what is removed and of what is missed. */
  readonly told: { readonly trimmed: unknown[]; readonly gaps: unknown[] }
}

/** A topic `t` that keeps its messages so long, looked at every 100 ms; groups are the test's. */
function openLog(retention: RetentionOptions, { partitions = 1 } = {}): Promise<TestQueue<Log>> {
  const wire: Wire<Log> = async (mq) => {
    const told = { trimmed: eventsOf(mq, 'topic:trimmed'), gaps: eventsOf(mq, 'group:gap') }
    return { topic: await mq.topic<string>('t', { partitions, retention }), told }
  }
  return openTest({ wire, queue: { retentionCheckMs: 100 } })
}

function startOf({ wired }: TestQueue<Log>): number {
  return wired.topic.offsets()[0]!.start
}

describe('retention', () => {
  test('TIME-41: by age: messages go when they are older than that, and not before', async () => {
    await using t = await openLog({ maxAgeMs: 10_000 })
    for (let i = 0; i < 5; i++) {
      await t.send('t', { value: `${i}` })
      await t.advance('1s')
    }
    expect([(await t.advance('4999ms')).idle, startOf(t)]).toEqual(['empty', 0])
    const starts: number[] = []
    for (let i = 0; i < 4; i++) {
      await t.advance(i === 0 ? 101 : '1s')
      starts.push(startOf(t))
    }
    expect(starts).toEqual([1, 2, 3, 4])
    expect(t.wired.told.trimmed).toMatchObject(starts.map((start) => ({ topic: 't', partition: 0, start })))
    await t.resolve(t.wired.topic.configure({ retention: {} }))
    await t.advance('100s')
    expect(startOf(t)).toBe(4)
  })

  test('TIME-42: a wall clock that jumps back removes nothing early, and times never decrease', async () => {
    await using t = await openLog({ maxAgeMs: 10_000 })
    const first = await t.send('t', { value: '1' })
    t.faults.wallClock('-60s')
    const second = await t.send('t', { value: '2' })
    expect(second.timestamp).toBe(first.timestamp)
    await t.advance('15s')
    expect(t.wired.topic.offsets()).toEqual([{ start: 0, end: 2 }])
    const subscription = await t.resolve(t.wired.topic.subscribe('g', () => {}, { from: 'earliest', concurrency: 1 }))
    subscription.pause()
    expect(subscription.lag().oldestAgeMs).toBe(0)
    await t.advance('60s')
    expect(t.wired.topic.offsets()).toEqual([{ start: 2, end: 2 }])
  })

  test('by size: the oldest go while a partition holds more than that', async () => {
    await using t = await openLog({ maxBytes: 20_000 }, { partitions: 2 })
    for (let i = 0; i < 50; i++) await t.send('t', { value, partition: 0 })
    for (let i = 0; i < 5; i++) await t.send('t', { value, partition: 1 })
    await t.advance(200)
    const [first, second] = t.wired.topic.offsets()
    // Whole batches only, so it may hold one more than the limit says.
    expect(first!.end - first!.start).toBeGreaterThan(15)
    expect(first!.end - first!.start).toBeLessThanOrEqual(20)
    expect(second).toEqual({ start: 0, end: 5 })
  })

  test('LOSS-45: consumedBy keeps messages until all of these groups have finished them, then removes them', async () => {
    await using t = await openLog({ consumedBy: ['a', 'b'], maxAgeMs: 1 })
    for (let i = 0; i < 10; i++) await t.send('t', { value })
    await t.advance('1s')
    expect(startOf(t)).toBe(0)
    await t.resolve(t.wired.topic.subscribe('a', () => {}, { from: 'earliest' }))
    await t.advance('1s')
    t.assert.committed('a', { t: [10] })
    // The other group does not even exist yet.
    expect(startOf(t)).toBe(0)
    const slow = { from: 'earliest', concurrency: 1 } as const
    await t.resolve(t.wired.topic.subscribe('b', () => t.clock.sleep('1s'), slow))
    t.faults.stuck('b', { offset: 6 })
    await t.advance('4500ms')
    expect([startOf(t), t.group('b').lag]).toEqual([4, 6])
    await t.drain()
    await t.advance('100s')
    expect([startOf(t), t.group('b').lag]).toEqual([6, 4])
    await t.faults.lift()
    await t.drain()
    await t.advance('1s')
    expect(startOf(t)).toBe(10)
  })

  test('LOSS-45: what a group of consumedBy has only finished in memory is kept through a loss of power', async () => {
    await using t = await openTest({
      wire: async (mq) => {
        const topic = await mq.topic<string>('t', { retention: { consumedBy: ['g'] } })
        await topic.subscribe('g', () => {}, { from: 'earliest' })
        return topic
      },
      queue: { retentionCheckMs: 100 },
    })
    t.faults.crash({ at: 'settle:applied', group: 'g', kind: 'power' })
    await t.send('t', { key: 'k', value: '1' })
    await t.advance('1s')
    t.assert.crashed()
    await t.restart()
    expect(t.wired.offsets()).toEqual([{ start: 0, end: 1 }])
    await t.advance('1s')
    t.assert.delivered('g', { offset: 0 }, { times: 2 })
    expect(t.wired.offsets()).toEqual([{ start: 1, end: 1 }])
  })

  test('LOSS-46: beyond hardMaxBytes even unfinished messages go, and the group is told exactly which', async () => {
    await using t = await openLog({ consumedBy: ['g'], hardMaxBytes: 15_000 })
    const { topic, told } = t.wired
    await t.resolve((await t.resolve(topic.subscribe('g', () => {}, { from: 'earliest' }))).close())
    for (let i = 0; i < 40; i++) await t.send('t', { value })
    await t.advance('1s')
    const start = startOf(t)
    expect(start).toBeGreaterThan(20)
    await t.resolve(topic.subscribe('g', () => {}, { onGap: 'skip' }))
    await t.drain()
    expect(told.gaps).toEqual([{ group: 'g', topic: 't', partition: 0, from: 0, to: start, count: start }])
    expect(t.group('g').delivered.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 40 - start }, (_, i) => start + i),
    )
    t.assert.drained()
  })

  test('LOSS-47: by default a gap stops the subscription with GAP; a seek goes on behind it', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'park-key' })
    const { subscription, topic, join } = t.wired
    const ended = eventsOf(t.mq, 'subscription:ended')
    t.handler('g').failTimes(5, undefined, { where: ({ offset }) => offset !== 2 })
    await sendAll(t, ...Array.from({ length: 6 }, (_, i) => `k${i}:${i}`))
    await t.drain({ allowDead: 5 })
    await t.resolve(subscription.close())
    await t.resolve(topic.trim(0, 4))
    const second = await t.resolve(join())
    await t.drain()
    expect(t.timeline({ level: 'commits', last: 10 })).toMatchInlineSnapshot(`
      "idle    parked after 0s virtual, 5 left
              release  g g#1 t[0]
              leave    g g#1
              trim     t[0] below @4
              join     g g#2 t
              grant    g g#2 t[0] from @0
              gap      g t[0] @0..@3, 3 unfinished
              lost     g g#2 GAP
              release  g g#2 t[0]
      idle    empty after 0s virtual"
    `)
    // Offset 2 was finished, so three of the four are missed.
    const facts = { code: 'GAP', group: 'g', topic: 't', partition: 0, from: 0, to: 4, count: 3 }
    expect(second.failure).toMatchObject(facts)
    expect(ended).toMatchObject([{ group: 'g', error: facts }])
    await expect(t.resolve(second.idle())).rejects.toMatchObject({ code: 'GAP' })
    expect(doneBy(t)).toEqual(['k2:2'])
    await t.resolve(t.mq.group('g').seek('earliest'))
    await t.resolve(join())
    await t.drain()
    expect(doneBy(t)).toEqual(['k2:2', 'k4:4', 'k5:5'])
  })

  test('a gap over finished messages only is none', async () => {
    await using t = await openApp()
    const { subscription, topic } = t.wired
    const gaps = eventsOf(t.mq, 'group:gap')
    await sendAll(t, '0', '1', '2', '3')
    await t.drain()
    await t.resolve(topic.trim(0, 3))
    await sendAll(t, '4')
    await t.drain()
    expect([gaps, subscription.failure, subscription.lag().count]).toEqual([[], undefined, 0])
    expect(doneBy(t)).toEqual(['0', '1', '2', '3', '4'])
  })

  test.each<[string, SubscribeOptions['onGap']]>([
    ['skipped', 'skip'],
    ['the end of the subscription', 'error'],
  ])(
    'a message that is trimmed away while it waits for its retry or its turn is a gap: %s',
    async (_, onGap = 'error') => {
      await using t = await openApp({ onGap, backoff: { delayMs: 100, jitter: 0 } })
      const gaps = eventsOf(t.mq, 'group:gap')
      t.handler('g').failTimes(1, undefined, { offset: 0 })
      await sendAll(t, 'k:0', 'k:1', 'k:2', 'k:3')
      await t.settle()
      t.assert.pending('retry', { offset: 0, in: 100 }, { times: 1 })
      await t.resolve(t.wired.topic.trim(0, 2))
      await t.drain()
      if (onGap === 'skip') {
        expect(doneBy(t)).toEqual(['k:2', 'k:3'])
        expect(gaps.reduce((sum, { count }) => sum + count, 0)).toBe(2)
        t.assert.drained()
      } else {
        expect(doneBy(t)).toEqual([])
        expect(t.wired.subscription.failure).toMatchObject({ code: 'GAP', from: 0 })
        expect(t.mq.group('g').lag().count).toBe(2)
      }
    },
  )

  test('a trim outside the log is refused', async () => {
    await using t = await openLog({})
    const { topic } = t.wired
    await t.send('t', { value })
    for (const before of [2, -1, 0.5]) {
      await expect(t.resolve(topic.trim(0, before))).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    }
    await expect(t.resolve(topic.trim(1, 0))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await t.resolve(topic.trim(0, 1))
    expect((await t.send('t', { value })).offset).toBe(1)
  })
})
