import { describe, expect, test } from 'vitest'
import { eventsOf, virtualQueue } from './queue.ts'

const value = 'x'.repeat(1_000)

describe('retention', () => {
  test('TIME-41: by age: messages go when they are older than that, and not before', async () => {
    const { mq, run, runtime } = await virtualQueue({ retentionCheckMs: 100 })
    const trimmed = eventsOf(mq, 'topic:trimmed')
    const topic = await run(mq.topic<string>('t', { retention: { maxAgeMs: 10_000 } }))
    for (let i = 0; i < 5; i++) {
      await run(topic.send({ value: `${i}` }))
      await runtime.advance(1_000)
    }
    await runtime.advance(4_900)
    expect(topic.offsets()[0]!.start).toBe(0)
    await runtime.advance(1_300)
    expect(topic.offsets()[0]!.start).toBe(2)
    expect(trimmed.at(-1)).toMatchObject({ topic: 't', partition: 0, start: 2 })
    await run(topic.configure({ retention: {} }))
    await runtime.advance(100_000)
    expect(topic.offsets()[0]!.start).toBe(2)
  })

  test('TIME-42: a wall clock that jumps back removes nothing early, and times never decrease', async () => {
    const { mq, run, runtime } = await virtualQueue({ retentionCheckMs: 100 })
    const topic = await run(mq.topic<string>('t', { retention: { maxAgeMs: 10_000 } }))
    const first = await run(topic.send({ value: '1' }))
    runtime.jumpWallClock(-3_600_000)
    const second = await run(topic.send({ value: '2' }))
    expect(second.timestamp).toBe(first.timestamp)
    await runtime.advance(15_000)
    expect(topic.offsets()).toEqual([{ start: 0, end: 2 }])
    const subscription = await run(topic.subscribe('g', () => new Promise(() => {}), { from: 'earliest' }))
    expect(subscription.lag().oldestAgeMs).toBe(0)
  })

  test('by size: the oldest go while a partition holds more than that', async () => {
    const { mq, run, runtime } = await virtualQueue({ retentionCheckMs: 100 })
    const topic = await run(mq.topic<string>('t', { partitions: 2, retention: { maxBytes: 20_000 } }))
    for (let i = 0; i < 50; i++) await run(topic.send({ value, partition: 0 }))
    for (let i = 0; i < 5; i++) await run(topic.send({ value, partition: 1 }))
    await runtime.advance(200)
    const [first, second] = topic.offsets()
    // Whole batches only, so it may hold one more than the limit says.
    expect(first!.end - first!.start).toBeGreaterThan(15)
    expect(first!.end - first!.start).toBeLessThanOrEqual(20)
    expect(second).toEqual({ start: 0, end: 5 })
  })

  test('LOSS-45: consumedBy keeps messages until all of these groups have finished them, then removes them', async () => {
    const { mq, run, runtime } = await virtualQueue({ retentionCheckMs: 100 })
    const topic = await run(mq.topic<string>('t', { retention: { consumedBy: ['a', 'b'], maxAgeMs: 1 } }))
    for (let i = 0; i < 10; i++) await run(topic.send({ value }))
    await runtime.advance(1_000)
    expect(topic.offsets()[0]!.start).toBe(0)
    const a = await run(topic.subscribe('a', () => {}, { from: 'earliest' }))
    await run(a.drain())
    await runtime.advance(1_000)
    // The other group does not even exist yet.
    expect(topic.offsets()[0]!.start).toBe(0)
    const stuck = ({ offset }: { offset: number }): unknown => (offset === 4 ? new Promise(() => {}) : undefined)
    await run(topic.subscribe('b', stuck, { from: 'earliest' }))
    await runtime.advance(1_000)
    expect(topic.offsets()[0]!.start).toBe(4)
  })

  test('LOSS-46: beyond hardMaxBytes even unfinished messages go, and the group is told exactly which', async () => {
    const { mq, run, runtime } = await virtualQueue({ retentionCheckMs: 100 })
    const gaps = eventsOf(mq, 'group:gap')
    const topic = await run(mq.topic<string>('t', { retention: { consumedBy: ['g'], hardMaxBytes: 15_000 } }))
    const subscribed = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    await run(subscribed.close())
    for (let i = 0; i < 40; i++) await run(topic.send({ value }))
    await runtime.advance(1_000)
    const { start } = topic.offsets()[0]!
    expect(start).toBeGreaterThan(20)
    const seen: number[] = []
    const subscription = await run(topic.subscribe('g', ({ offset }) => void seen.push(offset), { onGap: 'skip' }))
    await run(subscription.drain())
    expect(gaps).toEqual([{ group: 'g', topic: 't', partition: 0, from: 0, to: start, count: start }])
    expect(seen).toEqual(Array.from({ length: 40 - start }, (_, i) => start + i))
    expect(subscription.lag().count).toBe(0)
  })

  test('LOSS-47: by default a gap stops the subscription with GAP; a seek goes on behind it', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const ended = eventsOf(mq, 'subscription:ended')
    const topic = await run(mq.topic<string>('t'))
    for (let i = 0; i < 6; i++) await run(topic.send({ key: `k${i}`, value: `${i}` }))
    const options = { from: 'earliest', attempts: 1 } as const
    const first = await run(
      topic.subscribe(
        'g',
        ({ offset }) => {
          if (offset !== 2) throw new Error('unfinished')
        },
        options,
      ),
    )
    await runtime.settle()
    await run(first.close())
    await run(topic.trim(0, 4))
    const seen: string[] = []
    const second = await run(topic.subscribe('g', ({ value }) => void seen.push(value)))
    await runtime.settle()
    // Offset 2 was finished, so three of the four are missed.
    const facts = { code: 'GAP', group: 'g', topic: 't', partition: 0, from: 0, to: 4, count: 3 }
    expect(second.failure).toMatchObject(facts)
    expect(ended).toMatchObject([{ group: 'g', error: facts }])
    await expect(run(second.idle())).rejects.toMatchObject({ code: 'GAP' })
    expect(seen).toEqual([])
    await run(mq.group('g').seek('earliest'))
    const third = await run(topic.subscribe('g', ({ value }) => void seen.push(value)))
    await run(third.drain())
    expect(seen).toEqual(['4', '5'])
  })

  test('a gap over finished messages only is none', async () => {
    const { mq, run } = await virtualQueue()
    const gaps = eventsOf(mq, 'group:gap')
    const topic = await run(mq.topic<string>('t'))
    for (let i = 0; i < 4; i++) await run(topic.send({ value: `${i}` }))
    const subscription = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    await run(subscription.drain())
    await run(topic.trim(0, 3))
    await run(topic.send({ value: '4' }))
    await run(subscription.drain())
    expect([gaps, subscription.failure, subscription.lag().count]).toEqual([[], undefined, 0])
  })

  test('a message that is trimmed away while it waits for its retry or its turn is a gap', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const gaps = eventsOf(mq, 'group:gap')
    const topic = await run(mq.topic<string>('t'))
    for (let i = 0; i < 4; i++) await run(topic.send({ key: 'k', value: `${i}` }))
    const seen: string[] = []
    const subscription = await run(
      topic.subscribe(
        'g',
        ({ value: of, attempt }) => {
          seen.push(of)
          if (of === '0' && attempt === 1) throw new Error('once')
        },
        { from: 'earliest', onGap: 'skip', backoff: { delayMs: 100, jitter: 0 } },
      ),
    )
    await runtime.settle()
    await run(topic.trim(0, 2))
    await runtime.advance(100)
    await run(subscription.drain())
    expect(seen).toEqual(['0', '2', '3'])
    expect(gaps.reduce((sum, { count }) => sum + count, 0)).toBe(2)
    expect(subscription.lag().count).toBe(0)
  })

  test('a trim outside the log is refused', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value }))
    for (const before of [2, -1, 0.5]) {
      await expect(run(topic.trim(0, before))).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    }
    await expect(run(topic.trim(1, 0))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await run(topic.trim(0, 1))
    expect((await run(topic.send({ value }))).offset).toBe(1)
  })
})
