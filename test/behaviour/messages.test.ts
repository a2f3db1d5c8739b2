import { describe, expect, test } from 'vitest'
import type { OutgoingMessage } from '../../src/index.ts'
import { virtualQueue } from './queue.ts'

describe('messages that are refused', () => {
  test('each with its code, the field, and nothing appended', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic('t', { partitions: 2, maxValueBytes: 100, maxKeyBytes: 10, maxHeadersBytes: 30 }))
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    const cases: [string, string, unknown][] = [
      ['INVALID_MESSAGE', 'message', 'text'],
      ['INVALID_MESSAGE', 'message', undefined],
      ['INVALID_MESSAGE', 'message', [1]],
      ['INVALID_MESSAGE', 'topic', { value: 1, topic: 't' }],
      ['INVALID_MESSAGE', 'key', { value: 1, key: 5 }],
      ['INVALID_MESSAGE', 'key', { value: 1, key: null }],
      ['INVALID_MESSAGE', 'key', { value: 1, key: '\ud800' }],
      ['INVALID_MESSAGE', 'headers', { value: 1, headers: 'a' }],
      ['INVALID_MESSAGE', 'headers.a', { value: 1, headers: { a: 1 } }],
      ['INVALID_MESSAGE', 'partition', { value: 1, partition: 2 }],
      ['INVALID_MESSAGE', 'partition', { value: 1, partition: -1 }],
      ['INVALID_MESSAGE', 'partition', { value: 1, partition: 0.5 }],
      ['MESSAGE_TOO_LARGE', 'key', { value: 1, key: 'é'.repeat(6) }],
      ['MESSAGE_TOO_LARGE', 'value', { value: 'é'.repeat(50) }],
      ['MESSAGE_TOO_LARGE', 'headers', { value: 1, headers: { a: 'x'.repeat(30) } }],
      ['ENCODING_FAILED', 'value', { value: () => {} }],
      ['ENCODING_FAILED', 'value', { value: cycle }],
      ['ENCODING_FAILED', 'value', { value: 1n }],
      ['ENCODING_FAILED', 'value', { value: undefined }],
      ['ENCODING_FAILED', 'value', {}],
      ['ENCODING_FAILED', 'value', { value: Symbol('s') }],
    ]
    for (const [code, option, message] of cases) {
      const expected = { name: 'QueueError', code, option, retriable: false, topic: 't' }
      await expect(run(topic.send(message as OutgoingMessage<unknown>))).rejects.toMatchObject(expected)
      const batch = [{ value: 'fine' }, message] as OutgoingMessage<unknown>[]
      await expect(run(topic.sendBatch(batch))).rejects.toMatchObject({ code })
    }
    expect(topic.offsets().map(({ end }) => end)).toEqual([0, 0])
    // The largest that fits does.
    await run(topic.send({ key: 'é'.repeat(5), value: 'x'.repeat(98), headers: { a: 'x'.repeat(22) } }))
  })

  test('a batch over its limit, one that is no array, and options that are wrong', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { maxBatchBytes: 1_024 }))
    const large = Array.from({ length: 11 }, () => ({ value: 'x'.repeat(100) }))
    await expect(run(topic.sendBatch(large))).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE', option: 'messages' })
    await expect(run(topic.sendBatch('text' as never))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(run(topic.send({ value: '' }, { acks: 'none' as never }))).rejects.toMatchObject({ option: 'acks' })
    await expect(run(topic.send({ value: '' }, { ack: 1 } as never))).rejects.toMatchObject({ option: 'ack' })
    await expect(run(topic.send({ value: '' }, { signal: 1 as never }))).rejects.toMatchObject({ option: 'signal' })
    expect(await run(topic.sendBatch([]))).toEqual([])
    expect(topic.offsets()).toEqual([{ start: 0, end: 0 }])
  })

  test('names that Kafka would refuse', async () => {
    const { mq, run } = await virtualQueue()
    for (const name of ['', '.', '..', 'a b', 'a/b', 'é', 'x'.repeat(250), 'a\n', 5, undefined]) {
      await expect(run(mq.topic(name as string)), String(name)).rejects.toMatchObject({ code: 'INVALID_NAME' })
    }
    const topic = await run(mq.topic('x'.repeat(249)))
    for (const name of ['', 'a\u0000', 'a\u007f', 'x'.repeat(250), '\ud800', 5]) {
      await expect(run(topic.subscribe(name as string, () => {}, { from: 'earliest' }))).rejects.toMatchObject({
        code: 'INVALID_NAME',
      })
    }
    expect(mq.groups()).toEqual([])
  })

  test('a subscription with wrong options is refused, and leaves nothing behind', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic('t'))
    const wrong: [string, object][] = [
      ['from', {}],
      ['from', { from: 'start' }],
      ['ordering', { from: 'earliest', ordering: 'keys' }],
      ['concurrency', { from: 'earliest', concurrency: 0 }],
      ['concurency', { from: 'earliest', concurency: 5 }],
      ['attempts', { from: 'earliest', attempts: 0 }],
      ['delayMs', { from: 'earliest', backoff: { delayMs: -1 } }],
      ['maxDelayMs', { from: 'earliest', backoff: { delayMs: 10, maxDelayMs: 5 } }],
      ['jitter', { from: 'earliest', backoff: { jitter: 2 } }],
      ['max', { from: 'earliest', batch: {} }],
      ['max', { from: 'earliest', batch: { max: 0 } }],
      ['maxWaitMs', { from: 'earliest', batch: { max: 1, maxWaitMs: -1 } }],
      ['onGap', { from: 'earliest', onGap: 'ignore' }],
    ]
    for (const [option, options] of wrong) {
      const subscribe = run(topic.subscribe('g', () => {}, options as never))
      await expect(subscribe, JSON.stringify(options)).rejects.toMatchObject({ code: 'INVALID_OPTION', option })
    }
    const pulled = run(topic.subscribe('g', { from: 'earliest', batch: { max: 5 } } as never))
    await expect(pulled).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'batch' })
    await expect(run(mq.subscribe([], 'g', () => {}))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    expect(mq.groups()).toEqual([])
  })
})
