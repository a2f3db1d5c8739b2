import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('stats', () => {
  test('a snapshot counts messages, bytes, keys in use and what waits', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'free')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 3 }))
    await settle()
    const { topics, groups, subscriptions, store } = mq.stats()
    expect(topics['t']).toMatchObject({ partitions: 2, count: 4 })
    expect(topics['t']!.bytes).toBeGreaterThan(0)
    expect(groups['g']).toMatchObject({ count: 4, members: 1 })
    expect(subscriptions).toMatchObject([
      { group: 'g', running: 3, concurrency: 3, lanes: 3, handled: 0, unsettled: 0 },
    ])
    expect(store).toMatchObject({ inFlightBytes: 0, waitingSends: 0 })
    calls.end('b:1', 'free')
    await settle()
    expect(mq.stats().subscriptions).toMatchObject([{ running: 1, lanes: 1, buffered: 1, handled: 2 }])
  })

  test('rates are counted from one snapshot to the next', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    mq.stats()
    for (let i = 0; i < 20; i++) await run(topic.send({ value: 'x' }))
    await runtime.advance(2000)
    expect(mq.stats().topics['t']!.appendedPerSecond).toBeCloseTo(10)
    await runtime.advance(1000)
    const { topics, subscriptions } = mq.stats()
    expect([topics['t']!.appendedPerSecond, subscriptions[0]!.handledPerSecond]).toEqual([0, 0])
  })

  test('latency is that of the handlers', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const handler = (): Promise<void> => new Promise((resolve) => runtime.timer(40, 'work', resolve))
    const subscription = await run(topic.subscribe('g', handler, { from: 'earliest' }))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'c:1')))
    await run(subscription.drain())
    const { count, mean, p50, max } = mq.stats().subscriptions[0]!.latency
    expect([count, mean, max]).toEqual([3, 40, 40])
    expect(p50).toBeCloseTo(40, -1)
  })
})
