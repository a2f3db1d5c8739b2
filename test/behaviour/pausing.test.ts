import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('pause and resume', () => {
  test('a paused subscription hands out nothing more, what runs goes on, and resuming goes on from there', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 1 }))
    await settle()
    subscription.pause()
    calls.end('a:1')
    await run(topic.send({ key: 'c', value: 'c:1' }))
    await run(subscription.idle())
    expect([calls.running, subscription.lag().count]).toEqual([[], 3])
    subscription.resume()
    for (const left of [3, 2, 1]) {
      await settle()
      expect(subscription.lag().count).toBe(left)
      calls.endAll()
    }
    await run(subscription.idle())
    expect(calls.started.filter((name) => name.startsWith('a'))).toEqual(['a:1', 'a:2'])
  })

  test('ORDER-49: a paused partition hands out nothing, the others do; order holds when it is resumed', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    const send = (value: string, partition: number): Promise<unknown> =>
      run(topic.send({ key: value.split(':')[0], value, partition }))
    for (const value of ['a:1', 'a:2', 'a:3']) await send(value, 0)
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await settle()
    subscription.pause({ partition: 0 })
    calls.end('a:1')
    await send('b:1', 1)
    await send('a:4', 0)
    await settle()
    expect(calls.running).toEqual(['b:1'])
    subscription.resume({ topic: 't', partition: 0 })
    for (const name of ['a:2', 'a:3', 'a:4']) {
      await settle()
      expect(calls.running).toContain(name)
      calls.end(name)
    }
  })

  test('a paused partition stays paused over a seek', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2')))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'latest' }))
    subscription.pause({ partition: 0 })
    await run(subscription.seek('earliest'))
    await settle()
    expect(calls.started).toEqual([])
    subscription.resume({ partition: 0 })
    await settle()
    expect(calls.started).toEqual(['1', '2'])
  })

  test('ORDER-50: a paused key hands out nothing, also of messages that come later; other keys go on', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await settle()
    subscription.pause({ key: 'a' })
    subscription.pause({ key: 'new' })
    calls.end('a:1')
    await run(topic.sendBatch(messagesOf('a:3', 'b:1', 'new:1')))
    await settle()
    expect(calls.running).toEqual(['b:1'])
    subscription.resume({ key: 'a' })
    await settle()
    expect(calls.running).toEqual(['b:1', 'a:2'])
    subscription.resume({ key: 'new' })
    calls.end('a:2')
    await settle()
    expect(calls.running.toSorted()).toEqual(['a:3', 'b:1', 'new:1'])
  })

  test('what was gathered and not handed out is held back by a pause of its key or partition', async () => {
    for (const target of [{ key: 'k' }, { partition: 0 }]) {
      const { mq, run, runtime } = await virtualQueue()
      const topic = await run(mq.topic<string>('t'))
      const calls = new HeldCalls()
      const subscription = await run(
        topic.subscribe('g', calls.handler, { from: 'latest', batch: { max: 10, maxWaitMs: 50 } }),
      )
      await run(topic.sendBatch(messagesOf('k:1')))
      await runtime.settle()
      subscription.pause(target)
      await run(topic.sendBatch(messagesOf('k:2')))
      await runtime.advance(200)
      expect(calls.started).toEqual([])
      subscription.resume(target)
      await runtime.advance(200)
      expect(calls.started).toEqual(['k:1 k:2'])
    }
  })

  test('a retry that becomes due while its key or partition is paused waits for the resume', async () => {
    for (const target of [{ key: 'k' }, { partition: 0 }, undefined]) {
      const { mq, run, runtime } = await virtualQueue()
      const topic = await run(mq.topic<string>('t'))
      await run(topic.sendBatch(messagesOf('k:1', 'k:2')))
      const calls = new HeldCalls()
      const subscription = await run(
        topic.subscribe('g', calls.handler, { from: 'earliest', backoff: { delayMs: 50, jitter: 0 } }),
      )
      await runtime.settle()
      calls.fail('k:1')
      await runtime.settle()
      subscription.pause(target)
      await runtime.advance(1_000)
      expect(calls.running).toEqual([])
      subscription.resume(target)
      await runtime.settle()
      expect([calls.running, calls.attempts]).toEqual([['k:1'], [1, 2]])
      calls.end('k:1')
      await runtime.settle()
      expect(calls.running).toEqual(['k:2'])
    }
  })

  test('a group pauses and resumes all of its subscriptions', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await run(topic.subscribe('g', calls.handler))
    await settle()
    mq.group('g').pause()
    for (const partition of [0, 1]) await run(topic.send({ value: `v${partition}`, partition }))
    await settle()
    expect(calls.started).toEqual([])
    mq.group('g').resume()
    await settle()
    expect(calls.running.toSorted()).toEqual(['v0', 'v1'])
  })
})
