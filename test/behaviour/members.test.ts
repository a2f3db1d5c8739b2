import { describe, expect, test } from 'vitest'
import { openTest } from '../../src/testing/index.ts'
import { doneBy, lasting, openApp, running, runsOf, sendAll, sendTo } from './app.ts'
import { eventsOf, virtualQueue } from './queue.ts'

describe('members of a group', () => {
  test('share the partitions; each message goes to one of them', async () => {
    await using t = await openApp({ partitions: 4 })
    const rebalanced = eventsOf(t.mq, 'group:rebalanced')
    const members = [t.wired.subscription, await t.resolve(t.wired.join()), await t.resolve(t.wired.join())]
    await sendAll(t, ...Array.from({ length: 200 }, (_, i) => `k${i}:${i}`))
    await t.drain()
    t.assert.delivered('g', {}, { times: 200, effects: 200 })
    const owners = new Set(t.group('g').delivered.map(({ partition, member }) => `${partition} ${member}`))
    expect([...owners].map((owner) => owner.slice(2)).toSorted()).toEqual(['g#1', 'g#1', 'g#2', 'g#3'])
    expect(members.map((member) => member.assignments().length)).toEqual([2, 1, 1])
    expect([t.mq.group('g').members().length, t.group('g').generation]).toEqual([3, 3])
    expect(rebalanced.at(-1)).toMatchObject({ group: 'g', members: 3 })
    t.assert.drained()
  })

  test('a member that joins gets a partition when what runs there has ended, and nothing of it before', async () => {
    await using t = await openApp({ partitions: 2, handler: lasting({ 'a:1': 30, 'b:1': 20 }) })
    t.faults.join('g', { key: 'b', nth: 1 })
    await sendTo(t, 0, 'a:1', 'a:2')
    await sendTo(t, 1, 'b:1', 'b:2')
    await t.drain()
    expect(t.timeline({ level: 'commits' })).toMatchInlineSnapshot(`
      "+0s     join     g g#1 t
              grant    g g#1 t[0] from @0
              grant    g g#1 t[1] from @0
              send     t[0]@0 a                   'a:1'
              start    g t[0]@0 a #1
              send     t[0]@1 a                   'a:2'
              send     t[1]@0 b                   'b:1'
              fault    join: another member joins g
              join     g g#2 t
              start    g t[1]@0 b #1
              send     t[1]@1 b                   'b:2'
      +20ms   done     g t[1]@0 b #1
              commit   g t[1] -> 1
              release  g g#1 t[1]
              grant    g g#2 t[1] from @1
              start    g t[1]@1 b #1
      +30ms   done     g t[0]@0 a #1
              start    g t[0]@1 a #1
              done     g t[1]@1 b #1
              commit   g t[0] -> 1
              commit   g t[1] -> 2
      +40ms   done     g t[0]@1 a #1
              commit   g t[0] -> 2
      idle    empty after 40ms virtual"
    `)
  })

  test('a member that leaves hands over in order what it had not begun', async () => {
    await using t = await openApp({ handler: lasting() })
    await t.resolve(t.wired.join())
    t.faults.leave('g', { key: 'a', nth: 2 })
    await sendAll(t, 'a:1', 'a:2', 'a:3', 'b:1')
    await t.drain()
    expect([doneBy(t, 'g#1'), doneBy(t, 'g#2'), runsOf(t)]).toEqual([
      ['a:1', 'b:1', 'a:2'],
      ['a:3'],
      ['a:1 0-10', 'b:1 0-10', 'a:2 10-20', 'a:3 20-30'],
    ])
  })

  test.each([1, 2, 3])(
    'ORDER-53: while members come and go, messages of a key run one at a time and in order; drawn by seed %i',
    async (seed) => {
      const busy = new Set<string>()
      await using t = await openApp({
        partitions: 6,
        concurrency: 8,
        backoff: { delayMs: 5 },
        handler: async ({ key, value }, _context, clock) => {
          expect(busy.has(key!), `${value} beside another of its key`).toBe(false)
          busy.add(key!)
          await clock.sleep((Number(value.split(':')[1]) * 13) % 20)
          busy.delete(key!)
        },
      })
      t.faults.interleave({ seed })
      // Two join for one that leaves, so that the group never ends.
      for (let nth = 5; nth < 600; nth += 15) {
        t.faults.join('g', { nth })
        if (nth % 2 === 0) t.faults.leave('g', { nth: nth + 4 })
      }
      t.handler('g').failTimes(30, undefined, { where: ({ offset, attempt }) => offset % 7 === seed && attempt === 1 })
      const names = Array.from({ length: 600 }, (_, i) => `${(i * 7) % 29}:${i}`)
      for (let i = 0; i < names.length; i += 20) {
        await sendAll(t, ...names.slice(i, i + 20))
        await t.advance((i * 7) % 15)
      }
      const { running: left } = await t.drain()
      expect([left, t.history.of('error').length]).toEqual([[], 30])
      for (let key = 0; key < 29; key++) {
        const isOfKey = (name: unknown): boolean => String(name).startsWith(`${key}:`)
        expect(doneBy(t).filter(isOfKey)).toEqual(names.filter(isOfKey))
      }
      expect(t.history.of('left').length).toBeGreaterThan(10)
      t.assert.delivered('g', {}, { effects: 600 })
      t.assert.drained()
    },
  )

  test('FENCE-45: after an abandoned member ends late, its partition is still handed out by one member only', async () => {
    await using t = await openApp({ partitions: 2, handler: lasting({ a0: 100, b0: 200, b1: 300 }) })
    await sendTo(t, 0, 'a0')
    await sendTo(t, 1, 'b0', 'b1')
    const second = await t.resolve(t.wired.join())
    await t.advance(50)
    expect(doneBy(t)).toEqual([])
    expect(t.group('g').delivered.map(({ member }) => member)).toEqual(['g#1', 'g#1', 'g#1'])
    await t.resolve(t.wired.subscription.close({ timeoutMs: 0, abandon: true }))
    await t.settle()
    expect(running(t)).toEqual(['a0', 'b0', 'b1', 'a0', 'b0', 'b1'])
    // The old calls end at 100 to 300, the new ones 50 later.
    await t.advance(251)
    expect([doneBy(t, 'g#1'), doneBy(t, 'g#2'), second.lag().count]).toEqual([['a0', 'b0', 'b1'], ['a0', 'b0'], 1])
    await t.drain()
    t.assert.delivered('g', { member: 'g#2' }, { times: 3, effects: 3 })
    t.assert.committed('g', { t: [1, 2] })
  })

  test('what a member was retrying goes to the new owner, with its attempts and its time', async () => {
    await using t = await openApp({ backoff: { delayMs: 60_000, jitter: 0 } })
    t.handler('g').failTimes(1)
    await sendAll(t, 'a:1', 'a:2')
    await t.settle()
    t.assert.pending('retry', { key: 'a', attempt: 2 }, { times: 1 })
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.wired.join())
    await t.advance(59_999)
    expect(t.group('g').delivered).toHaveLength(1)
    await t.drain()
    expect(t.group('g').delivered.map(({ member, offset, attempt }) => [member, offset, attempt])).toEqual([
      ['g#1', 0, 1],
      ['g#2', 0, 2],
      ['g#2', 1, 1],
    ])
  })

  test('ORDER-55: a batch that fails while one of its partitions is given back keeps the order of the others', async () => {
    const calls: string[] = []
    await using t = await openTest({
      wire: async (mq, { clock }) => {
        const topic = await mq.topic<string>('t', { partitions: 2 })
        const join = (name: string): Promise<unknown> =>
          topic.subscribe(
            'g',
            async (batch) => {
              calls.push(`${name}: ${batch.map(({ value }) => value).join(' ')}`)
              await clock.sleep(100)
              if (calls.length === 1) throw new Error('together')
            },
            { from: 'earliest', batch: { max: 10, maxWaitMs: 50 } },
          )
        await join('old')
        return join
      },
    })
    const send = (value: string, partition: number): Promise<unknown> => t.send('t', { key: 'k', value, partition })
    await send('gone', 1)
    await send('1', 0)
    await send('2', 0)
    await t.advance(50)
    await send('3', 0)
    await t.resolve(t.wired('young'))
    await t.drain()
    expect(calls).toEqual(['old: gone 1 2', 'old: 1 2 3', 'young: gone'])
    t.assert.committed('g', { t: [3, 1] })
  })

  test('have to consume the same topics', async () => {
    const { mq, run } = await virtualQueue()
    const t = await run(mq.topic<string>('t'))
    const u = await run(mq.topic<string>('u'))
    await run(t.subscribe('g', () => {}, { from: 'earliest' }))
    await expect(run(u.subscribe('g', () => {}, { from: 'earliest' }))).rejects.toMatchObject({
      code: 'GROUP_CONFLICT',
    })
    await expect(run(mq.group('g').delete())).rejects.toMatchObject({ code: 'GROUP_CONFLICT' })
  })

  test('a group that is deleted while it is joined stays one group', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run((await run(topic.subscribe('g', () => {}, { from: 'earliest' }))).close())
    const joined = topic.subscribe('g', () => {}, { from: 'earliest' })
    const [join] = await run(Promise.allSettled([joined, mq.group('g').delete()]))
    expect(mq.groups()).toEqual(join.status === 'fulfilled' ? ['g'] : [])
    const other = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    const owned = join.status === 'fulfilled' ? join.value.assignments().length : 0
    expect(owned + other.assignments().length).toBe(1)
  })
})
