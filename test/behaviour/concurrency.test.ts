import { describe, expect, test } from 'vitest'
import { openTest } from '../../src/testing/index.ts'
import { doneBy, lasting, openApp, running, runsOf, sendAll, sendTo } from './app.ts'
import { virtualQueue } from './queue.ts'

describe('concurrency', () => {
  test('BOUND-40: never more handlers run than the concurrency allows, also when it changes', async () => {
    await using t = await openApp({ partitions: 2, concurrency: 3, handler: lasting() })
    const { subscription } = t.wired
    await sendAll(t, ...Array.from({ length: 15 }, (_, i) => `k${i}:v`))
    await t.advance(5)
    subscription.setConcurrency(5)
    await t.advance(2)
    expect(running(t)).toHaveLength(5)
    subscription.setConcurrency(2)
    expect(t.mq.stats().subscriptions[0]).toMatchObject({ running: 5, concurrency: 2 })
    await t.drain()
    // What runs goes on; nothing new starts above the limit, so at 10 three end and nothing begins.
    const begun = t.history.of('deliver').map(({ at }) => at)
    expect(begun).toEqual([0, 0, 0, 5, 5, 15, 15, 25, 25, 35, 35, 45, 45, 55, 55])
    for (const wrong of [0, 1.5, NaN, 100_001, '4' as never]) {
      expect(() => subscription.setConcurrency(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    }
    t.assert.drained()
  })

  test('a batch in a handler counts once', async () => {
    await using t = await openTest({
      wire: async (mq, { clock }) => {
        const topic = await mq.topic<string>('t')
        await topic.sendBatch(Array.from({ length: 6 }, (_, i) => ({ value: `${i}` })))
        await topic.subscribe('g', () => clock.sleep(10), { from: 'earliest', concurrency: 2, batch: { max: 2 } })
      },
    })
    await t.drain()
    expect(runsOf(t)).toEqual(['0 0-10', '1 0-10', '2 0-10', '3 0-10', '4 10-20', '5 10-20'])
    expect(t.group('g').delivered.map(({ call }) => call)).toEqual([0, 0, 1, 1, 2, 2])
  })

  test('BOUND-41: a busy key takes one handler at a time, however many of its messages wait', async () => {
    await using t = await openApp({ concurrency: 2, maxBufferedMessages: 100, handler: lasting() })
    const hot = Array.from({ length: 2_000 }, (_, i) => `hot:${i}`)
    t.faults.slow('g', '40ms', { offset: 0 })
    await sendAll(t, ...hot, 'a:1', 'b:1')
    await t.advance(49)
    expect(runsOf(t)).toEqual(['hot:0 0-', 'a:1 0-10', 'b:1 10-20'])
    expect((await t.drain()).elapsedMs).toBe(2_000 * 10 - 9)
    expect(doneBy(t).slice(2)).toEqual(hot)
  })

  test('a message that is stuck takes up one handler: the others of its lane wait, all else goes on', async () => {
    await using t = await openApp({ partitions: 2, concurrency: 2, handler: lasting() })
    t.faults.stuck('g', { key: 'a' })
    await sendAll(t, 'a:1', 'a:2', 'b:1', 'c:1', 'b:2', 'c:2')
    expect(await t.drain()).toMatchObject({ idle: 'parked', elapsedMs: 40, running: [expect.stringContaining('@0')] })
    expect([running(t), doneBy(t).toSorted()]).toEqual([['a:1'], ['b:1', 'b:2', 'c:1', 'c:2']])
    expect(t.group('g').lag).toBe(2)
    await t.faults.lift()
    await t.drain()
    expect(doneBy(t).slice(4)).toEqual(['a:1', 'a:2'])
    t.assert.drained()
  })

  test('keys that wait are served in turn', async () => {
    await using t = await openApp({ concurrency: 6, handler: lasting() })
    const keys = ['a', 'b', 'c', 'd', 'e']
    await sendAll(t, ...keys.flatMap((key) => Array.from({ length: 12 }, (_, i) => `${key}:${i}`)))
    // A sixth handler has nothing to do, so all is taken in; from here on five keys wait for two handlers.
    await t.settle()
    t.wired.subscription.setConcurrency(2)
    expect((await t.drain()).elapsedMs).toBe(10 + (11 * 5 * 10) / 2 + 5)
    const begun = t.group('g').delivered.map(({ key }) => key!)
    for (let i = 0; i < begun.length; i += 5) expect(begun.slice(i, i + 5).toSorted(), `from ${i}`).toEqual(keys)
    expect(doneBy(t)).toHaveLength(60)
  })

  test('a partition with a long backlog does not keep the others waiting', async () => {
    await using t = await openApp({ partitions: 3, concurrency: 1, handler: lasting() })
    t.wired.subscription.pause()
    await sendTo(t, 0, ...Array.from({ length: 5_000 }, (_, i) => `old${i}`))
    await sendTo(t, 1, 'one')
    await sendTo(t, 2, 'two')
    t.wired.subscription.resume()
    await t.advance('2s')
    expect(doneBy(t)).toHaveLength(200)
    expect(doneBy(t)).toEqual(expect.arrayContaining(['one', 'two']))
    await t.resolve(t.wired.subscription.close())
  })

  test('BOUND-42: when all room for waiting messages is taken the intake waits, and nothing is lost', async () => {
    const names = Array.from({ length: 5_000 }, (_, i) => `hot:${i}`)
    const limits = { maxDeferredMessages: 100, maxBufferedMessages: 1_000 }
    await using held = await openApp(limits)
    held.faults.stuck('g')
    await sendAll(held, ...names)
    await held.settle()
    const { deferred, buffered } = held.mq.stats().subscriptions[0]!
    expect(deferred).toBeLessThanOrEqual(100)
    expect(buffered).toBeLessThanOrEqual(1_000)
    expect(running(held)).toEqual(['hot:0'])
    await held.faults.lift()
    await held.drain()
    expect(doneBy(held)).toEqual(names)
    for (const maxDeferredMessages of [0, 1, 100]) {
      await using t = await openApp({ maxDeferredMessages, maxBufferedMessages: 10, handler: async () => {} })
      t.wired.subscription.pause()
      await sendAll(t, ...names)
      t.wired.subscription.resume()
      await t.drain()
      expect(doneBy(t)).toEqual(names)
      t.assert.committed('g', { t: [5_000] })
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
