import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('seek', () => {
  test('ORDER-51: a seek waits for what runs there, then goes on from the new place in order', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'a:2', 'b:2', 'a:3')))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await settle()
    let isOver = false
    const seek = subscription.seek({ offset: 1 }).then(() => (isOver = true))
    await settle()
    calls.end('a:1')
    await settle()
    // Nothing new starts meanwhile, and the seek is not over while anything runs.
    expect([isOver, calls.running]).toEqual([false, ['b:1']])
    calls.end('b:1')
    await run(seek)
    await settle()
    expect(calls.running.toSorted()).toEqual(['a:2', 'b:1'])
    expect(subscription.lag().count).toBe(4)
    calls.endAll()
    await settle()
    expect(calls.running.toSorted()).toEqual(['a:3', 'b:2'])
  })

  test('a seek by time begins at the first message from then on', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const times: number[] = []
    for (const value of ['1', '2', '3']) {
      await runtime.advance(1_000)
      times.push((await run(topic.send({ value }))).timestamp)
    }
    const seen: string[] = []
    const subscription = await run(topic.subscribe('g', ({ value }) => void seen.push(value), { from: 'latest' }))
    for (const [timestamp, expected] of [
      [times[1]!, '2 3'],
      [times[1]! + 1, '3'],
      [0, '1 2 3'],
      [times[2]! + 1, ''],
    ] as const) {
      seen.length = 0
      await run(subscription.seek({ timestamp }))
      await run(subscription.drain())
      expect(seen.join(' ')).toBe(expected)
    }
    expect(await run(topic.offsetsAt(times[2]!))).toEqual([2])
  })

  test('a seek of one partition leaves the others alone, and forgets retries and stopped keys there', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    for (const partition of [0, 1]) {
      for (const i of [0, 1]) await run(topic.send({ key: `k${partition}`, value: `${partition}.${i}`, partition }))
    }
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', attempts: 1 }))
    await runtime.settle()
    calls.fail('0.0')
    calls.fail('1.0')
    await runtime.settle()
    expect(subscription.stopped()).toHaveLength(2)
    await run(subscription.seek('latest', { partition: 0 }))
    await runtime.settle()
    expect(subscription.stopped().map(({ partition }) => partition)).toEqual([1])
    expect(subscription.lag().count).toBe(2)
    subscription.retry()
    await runtime.settle()
    expect(calls.running).toEqual(['1.0'])
  })

  test('a place that does not exist is refused, and nothing moves', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2')))
    const subscription = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    await settle()
    await expect(run(subscription.seek({ offset: 3 }))).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    await expect(run(subscription.seek('latest', { partition: 1 }))).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    })
    for (const wrong of ['now', { offset: -1 }, { offset: 1.5 }, {}, { offset: 0, timestamp: 0 }, null]) {
      await expect(run(subscription.seek(wrong as never))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
    expect(subscription.lag().count).toBe(0)
  })

  test('a group without subscriptions is moved by its name', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2')))
    await run((await run(topic.subscribe('g', () => {}, { from: 'latest' }))).close())
    const group = mq.group('g')
    await run(group.seek('earliest'))
    expect([group.lag().count, group.members()]).toEqual([2, []])
    expect(() => mq.group('nobody')).toThrow(expect.objectContaining({ code: 'GROUP_NOT_FOUND' }))
    await run(group.delete())
    expect(mq.groups()).toEqual([])
  })
})
