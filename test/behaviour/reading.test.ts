import { describe, expect, test } from 'vitest'
import type { Message, ReadOptions, Topic } from '../../src/index.ts'
import { messagesOf, virtualQueue } from './queue.ts'

async function valuesOf(messages: AsyncIterable<Message<string>>): Promise<string> {
  const values: string[] = []
  for await (const { value } of messages) values.push(value)
  return values.join(' ')
}

describe('reading without a group', () => {
  test('from the start, an offset, a time or the end, one partition or all', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    let middle = 0
    for (const value of ['a', 'b', 'c', 'd']) {
      await runtime.advance(10)
      const { timestamp } = await run(topic.send({ value, partition: value === 'd' ? 1 : 0 }))
      if (value === 'b') middle = timestamp
    }
    const read = (options?: ReadOptions): Promise<string> => run(valuesOf(topic.read(options)))
    // Partitions take turns.
    expect(await read()).toBe('a d b c')
    expect(await read({ from: { offset: 2 }, partition: 0 })).toBe('c')
    expect(await read({ from: { offset: [1, 0] } })).toBe('b d c')
    expect(await read({ from: { timestamp: middle } })).toBe('b d c')
    expect(await read({ from: 'latest' })).toBe('')
    expect(await read({ partition: 1 })).toBe('d')
    await expect(read({ from: { offset: 4 }, partition: 0 })).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(() => topic.read({ partition: 2 })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    expect(() => topic.read({ from: 'first' as never })).toThrow(expect.objectContaining({ option: 'from' }))
  })

  test('ends at the end of the log as it was when reading began', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2')))
    const messages = topic.read()
    const seen = [(await run(messages.next())).value!.value]
    await run(topic.send({ value: '3' }))
    for await (const { value } of messages) seen.push(value)
    expect(seen).toEqual(['1', '2'])
  })

  test('follows the log when asked, and ends with ABORTED when its signal is', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.send({ value: 'old', partition: 1 }))
    const control = new AbortController()
    const seen: string[] = []
    const reading = follow(topic, seen, control.signal)
    await settle()
    expect(seen).toEqual(['old'])
    await run(topic.send({ value: 'x', partition: 0 }))
    await run(topic.send({ value: 'y', partition: 1 }, { acks: 'buffered' }))
    await settle()
    expect(seen).toEqual(['old', 'x', 'y'])
    control.abort('enough')
    expect(await run(reading)).toMatchObject({ code: 'ABORTED', cause: 'enough' })
    const late = run(valuesOf(topic.read({ signal: control.signal })))
    await expect(late).rejects.toMatchObject({ code: 'ABORTED' })
  })

  test('what is trimmed away while it is read is a GAP with its range', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    for (const value of ['1', '2', '3', '4']) await run(topic.send({ value }))
    const messages = topic.read()
    await run(messages.next())
    await run(topic.trim(0, 3))
    const rest = run(valuesOf(messages))
    await expect(rest).rejects.toMatchObject({ code: 'GAP', topic: 't', partition: 0, from: 1, to: 3, count: 2 })
    expect(await run(valuesOf(topic.read()))).toBe('4')
  })

  test('ids are unique, and the same for readers and handlers', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 3 }))
    await run(topic.sendBatch(messagesOf(...Array.from({ length: 30 }, (_, i) => `k${i}:v`))))
    const read: string[] = []
    for await (const { id } of topic.read()) read.push(id)
    expect(new Set(read).size).toBe(30)
    const handled: string[] = []
    const subscription = await run(topic.subscribe('g', ({ id }) => void handled.push(id), { from: 'earliest' }))
    await run(subscription.drain())
    expect(handled.toSorted()).toEqual(read.toSorted())
  })
})

/** Reads until the signal ends it; resolves to the error. */
async function follow(topic: Topic<string>, seen: string[], signal: AbortSignal): Promise<unknown> {
  try {
    for await (const { value } of topic.read({ follow: true, signal })) seen.push(value)
  } catch (error) {
    return error
  }
  return undefined
}
