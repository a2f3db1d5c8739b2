import { describe, expect, test } from 'vitest'
import { doneBy, lasting, openApp, runsOf, sendAll, sendTo } from './app.ts'

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
    await using t = await openApp({ from: 'latest' })
    const { subscription, topic } = t.wired
    const times: number[] = []
    for (const value of ['1', '2', '3']) {
      await t.advance('1s')
      times.push((await t.send('t', { value })).timestamp)
    }
    await t.drain()
    for (const [timestamp, expected] of [
      [times[1]!, ['2', '3']],
      [times[1]! + 1, ['3']],
      [0, ['1', '2', '3']],
      [times[2]! + 1, []],
    ] as const) {
      const before = doneBy(t).length
      await t.resolve(subscription.seek({ timestamp }))
      await t.drain()
      expect(doneBy(t).slice(before)).toEqual(expected)
    }
    expect(await t.resolve(topic.offsetsAt(times[2]!))).toEqual([2])
  })

  test('ORDER-51: two seeks at a time are done one after the other, and a crash leaves one of them', async () => {
    await using t = await openApp({ handler: lasting() })
    await sendAll(t, 'a:1', 'b:1', 'a:2', 'b:2')
    await t.drain()
    const { subscription } = t.wired
    await t.resolve(Promise.all([subscription.seek({ offset: 3 }), subscription.seek({ offset: 2 })]))
    await t.drain()
    expect(doneBy(t).slice(4).slice(-2).toSorted()).toEqual(['a:2', 'b:2'])
    t.faults.crash({ at: 'commit:applied', kind: 'power' })
    void subscription.seek('earliest')
    await t.settle()
    t.assert.crashed()
    const before = t.group('g').delivered.length
    await t.restart()
    await t.drain()
    expect(t.group('g').delivered).toHaveLength(before)
    t.assert.drained()
  })

  test('ORDER-51: a member that joins during a seek is given nothing before the group was moved', async () => {
    await using t = await openApp({ partitions: 2, handler: lasting({ 'a:1': 50 }) })
    await t.resolve(t.wired.join())
    await sendTo(t, 1, 'x:1', 'x:2')
    await t.drain()
    await sendTo(t, 0, 'a:1')
    const seek = t.wired.subscription.seek('earliest')
    await t.advance(10)
    await t.resolve(t.wired.join())
    expect(await t.advance(29)).toMatchObject({ attempts: 0 })
    await t.drain()
    await seek
    expect(runsOf(t).slice(3).toSorted()).toEqual(['a:1 70-120', 'x:1 70-80', 'x:2 80-90'])
    t.assert.committed('g', { t: [1, 2] })
  })

  test('a seek of one partition leaves the others alone, and forgets retries and parked keys there', async () => {
    await using t = await openApp({ partitions: 2, attempts: 1, onExhausted: 'park-key' })
    const { subscription } = t.wired
    t.handler('g').failTimes(1, undefined, { key: 'k0' })
    t.handler('g').failTimes(1, undefined, { key: 'k1' })
    for (const partition of [0, 1, 0, 1]) await t.send('t', { key: `k${partition}`, value: '', partition })
    await t.drain({ allowDead: 2 })
    expect(subscription.parkedKeys()).toHaveLength(2)
    await t.resolve(subscription.seek('latest', { partition: 0 }))
    expect((await t.drain()).attempts).toBe(0)
    expect(subscription.parkedKeys().map(({ partition }) => partition)).toEqual([1])
    expect(subscription.lag().count).toBe(2)
    subscription.release()
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
    await using t = await openApp()
    const { subscription } = t.wired
    await sendAll(t, '1', '2')
    const refused = async (to: unknown, options?: { partition: number }): Promise<string> =>
      t.resolve(subscription.seek(to as never, options)).then(
        () => 'moved',
        (error: { code: string }) => error.code,
      )
    expect(await refused({ offset: 3 })).toBe('OFFSET_OUT_OF_RANGE')
    expect(await refused('latest', { partition: 1 })).toBe('OFFSET_OUT_OF_RANGE')
    for (const wrong of ['now', { offset: -1 }, { offset: 1.5 }, {}, { offset: 0, timestamp: 0 }, null]) {
      expect(await refused(wrong)).toBe('INVALID_OPTION')
    }
    expect((await t.drain()).attempts).toBe(2)
    t.assert.committed('g', { t: [2] })
    expect(t.history.of('sought')).toEqual([])
  })

  test('a group without subscriptions is moved by its name', async () => {
    await using t = await openApp({ from: 'latest' })
    await t.resolve(t.wired.subscription.close())
    await sendAll(t, '1', '2')
    const group = t.mq.group('g')
    await t.resolve(group.seek({ offset: 2 }))
    expect(group.lag().count).toBe(0)
    await t.resolve(group.seek({ offset: 1 }))
    expect([group.lag().count, group.members()]).toEqual([1, []])
    t.crash('power')
    await t.restart()
    await t.drain()
    expect(doneBy(t)).toEqual(['2'])
    expect(() => t.mq.group('nobody')).toThrow(expect.objectContaining({ code: 'GROUP_NOT_FOUND' }))
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.mq.group('g').delete())
    expect(t.mq.groups()).toEqual([])
  })
})
