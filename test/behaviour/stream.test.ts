import { describe, expect, test } from 'vitest'
import type { PulledMessage } from '../../src/index.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('messages that are pulled', () => {
  test('ack finishes a message, nack has it tried again; a second word about it is ignored', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const stream = await run(topic.subscribe('g', { from: 'earliest', backoff: { delayMs: 100, jitter: 0 } }))
    const seen: string[] = []
    const loop = (async () => {
      for await (const message of stream) {
        seen.push(`${message.value}#${message.attempt}`)
        if (message.value === 'a:1' && message.attempt === 1) void message.nack(new Error('later'))
        void message.ack()
        void message.nack()
        if (seen.length === 4) break
      }
    })()
    await runtime.advance(1_000)
    await run(loop)
    expect(seen).toEqual(['a:1#1', 'b:1#1', 'a:1#2', 'a:2#1'])
    expect(mq.group('g').lag().count).toBe(0)
  })

  test('ORDER-52: at most concurrency messages are out, one of a key, and order holds', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'c:1', 'd:1')))
    const stream = await run(topic.subscribe('g', { from: 'earliest', concurrency: 2 }))
    const out: PulledMessage<string>[] = []
    const loop = (async () => {
      for await (const message of stream) out.push(message)
    })()
    await settle()
    expect(out.map(({ value }) => value)).toEqual(['a:1', 'b:1'])
    void out[0]!.ack()
    await settle()
    void out[1]!.ack()
    await settle()
    expect(out).toHaveLength(4)
    expect(new Set(out.slice(2).map(({ key }) => key)).size).toBe(2)
    await run(stream.close({ timeoutMs: 0 }))
    await run(loop)
  })

  test('PROGRESS-49: leaving the loop gives back what was not acknowledged, and nobody is told that it failed', async () => {
    const { mq, run } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const parked = eventsOf(mq, 'key:parked')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'c:1')))
    const stream = await run(topic.subscribe('g', { from: 'earliest', attempts: 1 }))
    const leave = async (): Promise<void> => {
      for await (const message of stream) {
        if (message.value === 'b:1') break
        void message.ack()
      }
    }
    await run(leave())
    expect([failed, parked]).toEqual([[], []])
    const again = await run(topic.subscribe('g'))
    const seen: string[] = []
    const read = async (): Promise<void> => {
      for await (const message of again) {
        seen.push(`${message.value}#${message.attempt}`)
        void message.ack()
        if (seen.length === 2) break
      }
    }
    await run(read())
    expect(seen).toEqual(['b:1#1', 'c:1#1'])
  })

  test('an acknowledgement after the loop was left counts for nothing', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: '1' }))
    const stream = await run(topic.subscribe('g', { from: 'earliest' }))
    const iterator = stream[Symbol.asyncIterator]()
    const { value } = await run(iterator.next())
    await run(stream.close({ timeoutMs: 0 }))
    void value!.ack()
    await settle()
    expect(mq.group('g').lag().count).toBe(1)
    expect(await run(iterator.next())).toEqual({ done: true, value: undefined })
  })

  test('two loops share one stream, and both end when it is closed', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const stream = await run(topic.subscribe('g', { from: 'earliest' }))
    const seen: string[] = []
    const loop = async (name: string): Promise<void> => {
      for await (const message of stream) {
        seen.push(`${name} ${message.value}`)
        void message.ack()
      }
    }
    const loops = Promise.all([loop('x'), loop('y')])
    await settle()
    await run(topic.sendBatch(messagesOf('1', '2', '3', '4')))
    await settle()
    expect(new Set(seen.map((line) => line[0]))).toEqual(new Set(['x', 'y']))
    expect(seen.map((line) => line.slice(2)).toSorted()).toEqual(['1', '2', '3', '4'])
    await run(stream.close())
    await run(loops)
  })

  test('a loop ends with the error when its subscription ends by itself', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const stream = await run(topic.subscribe('g', { from: 'earliest' }))
    const loop = (async () => {
      for await (const message of stream) void message.ack()
    })()
    const outcome = loop.catch((error: unknown) => error)
    await settle()
    await run(mq.deleteTopic('t'))
    expect(await run(outcome)).toMatchObject({ code: 'TOPIC_DELETED' })
  })

  test('closing the queue ends the loop', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const stream = await run(topic.subscribe('g', { from: 'earliest' }))
    const loop = (async () => {
      for await (const message of stream) void message.ack()
    })()
    await settle()
    await run(mq.close())
    await run(loop)
  })
})
