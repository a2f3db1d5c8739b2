import { describe, expect, test } from 'vitest'
import { doneBy, openApp, sendAll } from './app.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('seek', () => {
  test('ORDER-51: a seek waits for what runs there, then goes on from the new place in order', async () => {
    const ends: Record<string, number> = { 'a:1': 10, 'b:1': 20 }
    await using t = await openApp({ handler: ({ value }, _context, clock) => clock.sleep(ends[value] ?? 100) })
    await sendAll(t, 'a:1', 'b:1', 'a:2', 'b:2', 'a:3')
    let isOver = false
    const seek = t.wired.subscription.seek({ offset: 1 }).then(() => (isOver = true))
    // Nothing new starts meanwhile, and the seek is not over while anything runs.
    expect((await t.advance(19)).running).toEqual(['g t[0]@1'])
    expect([isOver, doneBy(t)]).toEqual([false, ['a:1']])
    const { running } = await t.advance(1)
    await seek
    expect(running).toEqual(['g t[0]@1', 'g t[0]@2'])
    expect(t.wired.subscription.lag().count).toBe(4)
    await t.drain()
    expect(doneBy(t)).toEqual(['a:1', 'b:1', 'b:1', 'a:2', 'b:2', 'a:3'])
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
    await using t = await openApp({ partitions: 2, attempts: 1 })
    const { subscription } = t.wired
    t.handler('g').failTimes(1, undefined, { key: 'k0' })
    t.handler('g').failTimes(1, undefined, { key: 'k1' })
    for (const partition of [0, 1, 0, 1]) await t.send('t', { key: `k${partition}`, value: '', partition })
    await t.drain({ allowDead: 2 })
    expect(subscription.stopped()).toHaveLength(2)
    await t.resolve(subscription.seek('latest', { partition: 0 }))
    expect((await t.drain()).attempts).toBe(0)
    expect(subscription.stopped().map(({ partition }) => partition)).toEqual([1])
    expect(subscription.lag().count).toBe(2)
    subscription.retry()
    await t.drain()
    expect(t.group('g').delivered.map(({ key, offset }) => [key, offset])).toEqual([
      ['k0', 0],
      ['k1', 0],
      ['k1', 0],
      ['k1', 1],
    ])
    t.assert.drained()
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
