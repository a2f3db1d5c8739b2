import { describe, expect, test } from 'vitest'
import type { Message } from '../../src/index.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

const backoff = { delayMs: 100, jitter: 0 }
const valuesOf = (messages: Message<string>[]): string => messages.map(({ value }) => value).join(' ')

describe('batches', () => {
  test('a batch holds at most max messages, from several keys, in order', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'a:2', 'c', 'a:3')))
    const seen: string[] = []
    const subscription = await run(
      topic.subscribe('g', (batch) => void seen.push(valuesOf(batch)), { from: 'earliest', batch: { max: 3 } }),
    )
    await settle()
    expect(seen).toEqual(['a:1 b:1 a:2', 'c a:3'])
    await run(subscription.idle())
    expect(subscription.lag().count).toBe(0)
  })

  test('an array waits until it is full or maxWaitMs have passed since its first message, not shorter', async () => {
    const { mq, run, runtime, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', batch: { max: 3, maxWaitMs: 50 } }))
    await run(topic.send({ value: '1' }))
    await runtime.advance(30)
    await run(topic.send({ value: '2' }))
    await runtime.advance(19)
    expect(calls.started).toEqual([])
    await runtime.advance(1)
    expect(calls.started).toEqual(['1 2'])
    await run(topic.sendBatch(messagesOf('3', '4', '5', '6')))
    await settle()
    expect(calls.started).toEqual(['1 2', '3 4 5'])
    await runtime.advance(50)
    expect(calls.started).toEqual(['1 2', '3 4 5', '6'])
  })

  test('ORDER-47: a failed message takes the later ones of its key back with it; the others are finished', async () => {
    const { mq, run, runtime, settle } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'a:2', 'b:2', 'a:3')))
    const calls = new HeldCalls()
    const subscription = await run(
      topic.subscribe('g', calls.handler, { from: 'earliest', backoff, batch: { max: 10 } }),
    )
    await settle()
    calls.answer('a:1 b:1 a:2 b:2 a:3', [undefined, null, new Error('no'), 'fine', undefined])
    await settle()
    expect(subscription.lag().count).toBe(2)
    expect(failed).toMatchObject([{ offset: 2, key: 'a', attempt: 1, retryInMs: 100, error: { message: 'no' } }])
    await run(topic.send({ key: 'a', value: 'a:4' }))
    await runtime.advance(100)
    // The one that failed comes first; what follows it may share its array.
    expect(calls.started.slice(1).join(' ').split(' ').slice(0, 1)).toEqual(['a:2'])
    while (subscription.lag().count > 0) {
      calls.endAll()
      await settle()
    }
    expect(calls.started.slice(1).join(' ')).toBe('a:2 a:3 a:4')
  })

  test('a batch handler that throws has all of it tried again, synchronous or not', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'a:2')))
    for (const mode of ['sync', 'async']) {
      const seen: string[] = []
      const subscription = await run(
        topic.subscribe(
          mode,
          (batch) => {
            seen.push(...batch.map(({ value, attempt }) => `${value}#${attempt}`))
            if (seen.length > 3) return undefined
            if (mode === 'sync') throw new Error('all')
            return Promise.reject(new Error('all'))
          },
          { from: 'earliest', backoff, batch: { max: 10 } },
        ),
      )
      await runtime.advance(200)
      expect(subscription.lag().count).toBe(0)
      const of = (key: string): string[] => seen.filter((value) => value.startsWith(key))
      expect(of('a')).toEqual(['a:1#1', 'a:2#1', 'a:1#2', expect.stringMatching(/^a:2#/)])
      expect(of('b')).toEqual(['b:1#1', 'b:1#2'])
    }
  })

  test('an answer of another length than the batch counts as a failure of all', async () => {
    const { mq, run, settle } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2')))
    const handler = (): unknown => [undefined]
    const subscription = await run(topic.subscribe('g', handler, { from: 'earliest', batch: { max: 10 } }))
    await settle()
    expect(failed.map(({ error }) => error)).toMatchObject([{ code: 'INVALID_MESSAGE' }, { code: 'INVALID_MESSAGE' }])
    expect(subscription.lag().count).toBe(2)
  })

  test('LOSS-42: an undecodable message behind a failing one of its key is neither lost nor overtaken', async () => {
    const { mq, run, runtime } = await virtualQueue()
    let isDamaged = false
    const codec = {
      contentType: 'application/x-picky',
      format: 'text' as const,
      shared: false,
      encode: (value: string) => value,
      decode: (text: string) => {
        if (text !== 'k:2' || !isDamaged) return text
        isDamaged = false
        throw new Error('undecodable')
      },
    }
    const topic = await run(mq.topic<string>('t', { codec: codec as never }))
    const seen: string[] = []
    await run(topic.sendBatch(messagesOf('k:1', 'k:2', 'k:3')))
    isDamaged = true
    const subscription = await run(
      topic.subscribe(
        'g',
        (batch) => {
          seen.push(...batch.map(({ value }) => value))
          if (seen.length === 1) throw new Error('first')
        },
        { from: 'earliest', batch: { max: 10 }, backoff },
      ),
    )
    await runtime.advance(10_000)
    expect(seen).toEqual(['k:1', 'k:1', 'k:2', 'k:3'])
    expect(subscription.lag().count).toBe(0)
  })

  test('closing gives back what was gathered and not handed out', async () => {
    const queue = await virtualQueue()
    const { run, settle } = queue
    const topic = await run(queue.mq.topic<string>('t'))
    const calls = new HeldCalls()
    const options = { from: 'earliest', batch: { max: 10, maxWaitMs: 1_000 } } as const
    const subscription = await run(topic.subscribe('g', calls.handler, options))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    await settle()
    expect(await run(subscription.close())).toEqual({ left: [] })
    expect(calls.started).toEqual([])
    await run(topic.subscribe('g', calls.handler, { batch: { max: 10 } }))
    await settle()
    expect(calls.started).toEqual(['a:1 a:2'])
  })
})
