import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { EmbeddedTopic } from '../../src/embedded/embedded-topic.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

/** A broker beyond this process answers a fetch later. Everything above the contract has to take that as it comes. */
describe('a broker whose fetches take time', () => {
  /** While set, no fetch is answered. */
  let held: Promise<void> | undefined
  let release: () => void
  /** The look at a store after a restart reads it through the same door, and does not wait. */
  let isAtOnce = false

  beforeEach(() => {
    held = undefined
    const fetch = EmbeddedTopic.prototype.fetch
    vi.spyOn(EmbeddedTopic.prototype, 'fetch').mockImplementation(function (this: EmbeddedTopic, partition, offset) {
      if (isAtOnce) return fetch.call(this, partition, offset)
      return Promise.resolve(held).then(() => fetch.call(this, partition, offset)) as never
    })
  })
  afterEach(() => {
    vi.restoreAllMocks()
  })

  test('ORDER-70: messages are handed out in order per key, retries and deferred ones included', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    const values = Array.from({ length: 300 }, (_, i) => `${'abc'[i % 3]}:${i}`)
    for (const value of values) void topic.send(messagesOf(value)[0]!)
    const handled = new Map<string, string[]>()
    const failing = new Set(['a:30', 'b:31', 'c:32'])
    const subscription = await run(
      topic.subscribe(
        'g',
        async ({ key, value }) => {
          await Promise.resolve()
          if (failing.delete(value)) throw new Error('once')
          handled.set(key!, [...(handled.get(key!) ?? []), value])
        },
        { from: 'earliest', concurrency: 2, maxBufferedMessages: 4 },
      ),
    )
    expect(await run(subscription.drain())).toEqual({ left: 0 })
    for (const key of 'abc') expect(handled.get(key)).toEqual(values.filter((value) => value.startsWith(key)))
  })

  test('LOSS-70: a seek, new messages at the end and a restart lose nothing', async () => {
    const queue = await virtualQueue()
    const topic = await queue.run(queue.mq.topic<string>('t'))
    await queue.run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const handled: string[] = []
    const handler = ({ value }: { value: string }): void => void handled.push(value)
    const subscription = await queue.run(topic.subscribe('g', handler, { from: 'latest' }))
    await queue.run(topic.send({ key: 'a', value: 'a:3' }))
    await queue.run(subscription.idle())
    expect(handled).toEqual(['a:3'])
    await queue.run(subscription.seek('earliest'))
    await queue.run(subscription.idle())
    expect(handled).toEqual(['a:3', 'a:1', 'a:2', 'b:1', 'a:3'])
    isAtOnce = true
    const mq = await queue.crash('power')
    isAtOnce = false
    const again = await queue.run((await queue.run(mq.topic<string>('t'))).subscribe('g', handler))
    await queue.run(again.idle())
    expect(handled).toHaveLength(5)
  })

  test('ORDER-71: a partition that goes while a message of it is read again does not block its key', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'a:3', 'a:4')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 2, maxBufferedMessages: 1 }))
    await settle()
    calls.end('a:1')
    await settle()
    // The next one is only known by its offset: it is being read again when the group moves.
    held = new Promise((resolve) => (release = resolve))
    calls.end('a:2')
    await settle()
    const seeking = mq.group('g').seek('earliest')
    await settle()
    release()
    held = undefined
    await run(seeking)
    await settle()
    expect(calls.running).toEqual(['a:1'])
  })

  test('a gap is seen, and skipped when that was asked for', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'a:3')))
    const stopped = await run(topic.subscribe('g', () => {}, { from: 'earliest', onGap: 'skip' }))
    await run(stopped.close())
    await run(mq.group('g').seek('earliest'))
    await run(topic.trim(0, 2))
    const gaps = eventsOf(mq, 'group:gap')
    const handled: string[] = []
    const subscription = await run(topic.subscribe('g', ({ value }) => void handled.push(value), { onGap: 'skip' }))
    await run(subscription.idle())
    expect(handled).toEqual(['a:3'])
    expect(gaps).toEqual([{ group: 'g', topic: 't', partition: 0, from: 0, to: 2, count: 2 }])
  })
})
