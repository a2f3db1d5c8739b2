import { describe, expect, test } from 'vitest'
import type { Message, SubscribeOptions } from '../../src/index.ts'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('ordering', () => {
  test('ORDER-42: messages of one key run one at a time in offset order, those of other keys beside them', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 3 }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'a:3', 'c:1', 'b:2', 'free', 'free too')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await settle()
    expect(calls.running.toSorted()).toEqual(['a:1', 'b:1', 'c:1', 'free', 'free too'])
    calls.end('b:1', 'a:1')
    await settle()
    expect(calls.running.toSorted()).toEqual(['a:2', 'b:2', 'c:1', 'free', 'free too'])
    calls.end('a:2')
    await settle()
    expect(calls.running).toContain('a:3')
  })

  test("ORDER-43: with ordering 'partition' a partition is one queue, whatever the keys", async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    for (const [value, partition] of [
      ['0:1', 0],
      ['x:2', 0],
      ['1:1', 1],
      ['0:3', 0],
      ['free', 1],
    ] as const) {
      await run(topic.send({ ...messagesOf(value)[0]!, partition }))
    }
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', ordering: 'partition' }))
    await settle()
    expect(calls.running.toSorted()).toEqual(['0:1', '1:1'])
    calls.end('0:1')
    await settle()
    expect(calls.running.toSorted()).toEqual(['1:1', 'x:2'])
    calls.end('1:1', 'x:2')
    await settle()
    expect(calls.running.toSorted()).toEqual(['0:3', 'free'])
    calls.endAll()
    await run(subscription.idle())
    expect(subscription.lag().count).toBe(0)
  })

  test("with ordering 'unordered' messages of one key run beside each other", async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'a:3', 'a:4')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', ordering: 'unordered', concurrency: 3 }))
    await settle()
    expect(calls.running).toEqual(['a:1', 'a:2', 'a:3'])
    calls.end('a:2')
    await settle()
    expect(calls.running).toEqual(['a:1', 'a:3', 'a:4'])
  })

  test('ORDER-44: order per key holds while the concurrency changes', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 4 }))
    const names = Array.from({ length: 400 }, (_, i) => `${(i * 7) % 11}:${i}`)
    await run(topic.sendBatch(messagesOf(...names)))
    const seen = new Map<string, string[]>()
    const busy = new Set<string>()
    const handler = async ({ key, value }: Message<string>): Promise<void> => {
      expect(busy.has(key!)).toBe(false)
      busy.add(key!)
      seen.set(key!, [...(seen.get(key!) ?? []), value])
      await new Promise<void>((resolve) => runtime.timer(runtime.random('work') * 10, 'work', resolve))
      busy.delete(key!)
    }
    const subscription = await run(topic.subscribe('g', handler, { from: 'earliest', concurrency: 1 }))
    for (let i = 0; i < 200 && subscription.lag().count > 0; i++) {
      subscription.setConcurrency([1, 30, 2, 7][i % 4]!)
      await runtime.advance(5)
    }
    await run(subscription.drain())
    for (const [key, values] of seen) expect(values).toEqual(names.filter((name) => name.startsWith(`${key}:`)))
    expect(seen.size).toBe(11)
  })

  test('one key in several topics: order holds in each topic, and the topics do not wait for each other', async () => {
    const { mq, run, settle } = await virtualQueue()
    const t = await run(mq.topic<string>('t'))
    const u = await run(mq.topic<string>('u'))
    await run(t.sendBatch(messagesOf('k:t1', 'k:t2')))
    await run(u.sendBatch(messagesOf('k:u1', 'k:u2')))
    const calls = new HeldCalls()
    const options: SubscribeOptions & { batch?: undefined } = { from: 'earliest' }
    const subscription = await run(mq.subscribe([t, u], 'g', calls.handler, options))
    await settle()
    expect(calls.running.toSorted()).toEqual(['k:t1', 'k:u1'])
    calls.end('k:u1')
    await settle()
    expect(calls.running.toSorted()).toEqual(['k:t1', 'k:u2'])
    calls.endAll()
    await settle()
    calls.endAll()
    await run(subscription.idle())
    expect(subscription.assignments().map(({ topic }) => topic)).toEqual(['t', 'u'])
    expect(subscription.lag().count).toBe(0)
  })

  test('ORDER-45: messages of a key that is far ahead of its turn keep their order, and other keys overtake it', async () => {
    const { mq, run, settle } = await virtualQueue({ tailBytes: 65_536 })
    const topic = await run(mq.topic<string>('t'))
    const hot = Array.from({ length: 3_000 }, (_, i) => `hot:${i}`)
    for (let i = 0; i < hot.length; i += 500) await run(topic.sendBatch(messagesOf(...hot.slice(i, i + 500))))
    await run(topic.sendBatch(messagesOf('cold:1', 'cold:2')))
    const seen: string[] = []
    let first = (): void => {}
    const subscription = await run(
      topic.subscribe(
        'g',
        ({ value }) => {
          seen.push(value)
          return value === 'hot:0' ? new Promise<void>((resolve) => (first = resolve)) : undefined
        },
        { from: 'earliest', maxBufferedMessages: 64, maxBufferedBytes: 65_536 },
      ),
    )
    await settle()
    expect(seen).toEqual(['hot:0', 'cold:1', 'cold:2'])
    const [figures] = mq.stats().subscriptions
    expect(figures!.deferred).toBeGreaterThan(2_900)
    expect(figures!.buffered).toBeLessThanOrEqual(64)
    first()
    await run(subscription.idle())
    expect(seen.filter((value) => value.startsWith('hot'))).toEqual(hot)
    expect(subscription.lag().count).toBe(0)
  })

  test('ORDER-46: a restart goes on in order and hands out only what was not finished', async () => {
    const queue = await virtualQueue()
    const { run, settle } = queue
    let topic = await run(queue.mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'b:2', 'c:1', 'a:3')))
    const before = new HeldCalls()
    await run(topic.subscribe('g', before.handler, { from: 'earliest' }))
    await settle()
    before.end('a:1', 'c:1')
    await settle()
    before.end('a:2')
    await settle()
    expect(before.running.toSorted()).toEqual(['a:3', 'b:1'])
    const mq = await queue.crash('power')
    topic = await run(mq.topic<string>('t'))
    const after = new HeldCalls()
    await run(topic.subscribe('g', after.handler))
    await settle()
    expect(after.running.toSorted()).toEqual(['a:3', 'b:1'])
    after.endAll()
    await settle()
    expect(after.running).toEqual(['b:2'])
  })
})
