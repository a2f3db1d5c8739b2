import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('concurrency', () => {
  test('BOUND-40: never more handlers run than the concurrency allows, also when it changes', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch(messagesOf(...Array.from({ length: 30 }, (_, i) => `k${i}:v${i}`))))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 3 }))
    await settle()
    expect(calls.running).toHaveLength(3)
    subscription.setConcurrency(5)
    await settle()
    expect(calls.running).toHaveLength(5)
    subscription.setConcurrency(2)
    await settle()
    // What runs goes on; nothing new starts above the limit.
    expect(calls.running).toHaveLength(5)
    for (let left = 5; left > 2; left--) {
      calls.end(calls.running[0]!)
      await settle()
      expect(calls.running).toHaveLength(left - 1)
    }
    calls.end(calls.running[0]!)
    await settle()
    expect(calls.running).toHaveLength(2)
    expect(mq.stats().subscriptions[0]).toMatchObject({ running: 2, concurrency: 2 })
    for (const wrong of [0, 1.5, NaN, 100_001, '4' as never]) {
      expect(() => subscription.setConcurrency(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    }
  })

  test('a batch in a handler counts once', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2', '3', '4', '5', '6')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 2, batch: { max: 2 } }))
    await settle()
    expect(calls.running).toEqual(['1 2', '3 4'])
  })

  test('BOUND-41: a busy key takes one handler at a time, however many of its messages wait', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const hot = Array.from({ length: 2_000 }, (_, i) => `hot:${i}`)
    await run(topic.sendBatch(messagesOf(...hot, 'a:1', 'b:1')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 2, maxBufferedMessages: 100 }))
    await settle()
    expect(calls.running).toEqual(['hot:0', 'a:1'])
    calls.end('a:1')
    await settle()
    expect(calls.running).toEqual(['hot:0', 'b:1'])
  })

  test('keys that wait are served in turn', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const names = ['a', 'b', 'c'].flatMap((key) => Array.from({ length: 20 }, (_, i) => `${key}:${i}`))
    await run(topic.sendBatch(messagesOf('first', ...names)))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 3 }))
    await settle()
    calls.end('first')
    await settle()
    for (let i = 0; i < 30; i++) {
      calls.end(calls.running[0]!)
      await settle()
    }
    const counts = ['a', 'b', 'c'].map((key) => calls.started.filter((name) => name.startsWith(`${key}:`)).length)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2)
  })

  test('a partition with a long backlog does not keep the others waiting', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 3 }))
    const backlog = Array.from({ length: 5_000 }, (_, i) => ({ value: `old${i}`, partition: 0 }))
    await run(topic.sendBatch(backlog))
    await run(
      topic.sendBatch([
        { value: 'one', partition: 1 },
        { value: 'two', partition: 2 },
      ]),
    )
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 1 }))
    await settle()
    for (let i = 0; i < 200; i++) {
      calls.end(calls.running[0]!)
      await settle()
    }
    expect(calls.started).toContain('one')
    expect(calls.started).toContain('two')
  })

  test('BOUND-42: when all room for waiting messages is taken the intake waits, and nothing is lost', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const names = Array.from({ length: 5_000 }, (_, i) => `hot:${i}`)
    await run(topic.sendBatch(messagesOf(...names)))
    const calls = new HeldCalls()
    const options = { from: 'earliest', maxDeferredMessages: 100, maxBufferedMessages: 1_000 } as const
    const held = await run(topic.subscribe('held', calls.handler, options))
    await settle()
    const { deferred, buffered } = mq.stats().subscriptions[0]!
    expect(deferred).toBeLessThanOrEqual(100)
    expect(buffered).toBeLessThanOrEqual(1_000)
    await run(held.close({ timeoutMs: 0 }))
    for (const maxDeferredMessages of [0, 1, 100]) {
      const seen: string[] = []
      const group = `g${maxDeferredMessages}`
      const subscription = await run(
        topic.subscribe(
          group,
          async ({ value }) => {
            seen.push(value)
          },
          { from: 'earliest', maxDeferredMessages, maxBufferedMessages: 10 },
        ),
      )
      await run(subscription.drain())
      expect(seen).toEqual(names)
    }
  })

  test('the whole of a backlog is handled by synchronous handlers, in turns that let others run', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<number>('t', { partitions: 4 }))
    const count = 20_000
    const all = Array.from({ length: count }, (_, i) => ({ key: `k${i % 100}`, value: i }))
    await run(topic.sendBatch(all))
    let sum = 0
    const subscription = await run(topic.subscribe('g', ({ value }) => void (sum += value), { from: 'earliest' }))
    expect(await run(subscription.drain())).toEqual({ left: 0 })
    expect(sum).toBe((count * (count - 1)) / 2)
    expect(mq.stats().subscriptions[0]).toMatchObject({ handled: count, failed: 0, unsettled: 0, running: 0 })
  })
})
