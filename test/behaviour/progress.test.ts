import { describe, expect, test } from 'vitest'
import { openTest } from '../../src/testing/index.ts'
import { doneBy, lasting, openApp, sendAll } from './app.ts'

describe('progress and lag', () => {
  test('PROGRESS-45: lag counts exactly what is unfinished, finished messages above the position left out', async () => {
    const ends = { a: 6_000, b: 3_500, c: 2_500, d: 4_000 }
    await using t = await openApp({ partitions: 2, handler: lasting(ends) })
    const { subscription } = t.wired
    const none = { count: 0, bytes: 0, oldestAgeMs: 0 }
    expect(subscription.lag()).toEqual(none)
    for (const [value, partition] of [
      ['a', 0],
      ['b', 0],
      ['c', 0],
      ['d', 1],
    ] as const) {
      await t.send('t', { key: value, value, partition })
      await t.advance('1s')
    }
    expect(subscription.lag()).toMatchObject({ count: 4, oldestAgeMs: 4_000 })
    const all = subscription.lag().bytes
    await t.advance('1s')
    expect(doneBy(t).toSorted()).toEqual(['b', 'c'])
    expect(subscription.lag()).toEqual({ count: 2, bytes: all, oldestAgeMs: 5_000 })
    expect(t.mq.group('g').positions()).toMatchObject([
      { position: 0, finishedAbove: 2, backlog: { count: 1 } },
      { position: 0, finishedAbove: 0, backlog: { count: 1 } },
    ])
    await t.advance('1s')
    const after = subscription.lag()
    expect([after, t.group('g').lag]).toMatchObject([{ count: 1, oldestAgeMs: 3_000 }, 1])
    expect(after.bytes).toBeLessThan(all)
    expect(after.bytes).toBeGreaterThan(0)
    expect(t.mq.group('g').lag()).toEqual(after)
    expect(t.mq.stats().groups['g']).toMatchObject({ count: 1, members: 1 })
    await t.drain()
    expect(subscription.lag()).toEqual(none)
    t.assert.committed('g', { t: [3, 1] })
  })

  test('PROGRESS-46: lag stays exact when messages below finished ones are trimmed', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'park-key' })
    t.faults.poison('g', { key: '0' })
    await sendAll(t, ...Array.from({ length: 10 }, (_, i) => `${i}:v`))
    await t.drain({ allowDead: 1 })
    t.assert.committed('g', { t: [0] })
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.wired.topic.trim(0, 5))
    expect([t.mq.group('g').lag(), t.group('g').lag]).toEqual([{ count: 0, bytes: 0, oldestAgeMs: 0 }, 0])
    await sendAll(t, ...Array.from({ length: 10 }, (_, i) => `${i}:w`))
    expect([t.mq.group('g').lag().count, t.group('g').lag]).toEqual([10, 10])
  })

  test.each(['process', 'power'] as const)(
    'PROGRESS-47: after a crash exactly what was not finished is handed out again, in every partition: %s',
    async (kind) => {
      const isHeld = (i: number): boolean => i % 7 === 3
      const values = Array.from({ length: 3_000 }, (_, i) => `k${i}:${i}`)
      const held = values.filter((_, i) => isHeld(i))
      let crashes = 0
      await using t = await openApp({
        partitions: 3,
        concurrency: 10_000,
        handler: ({ value }, _context, clock) =>
          isHeld(Number(value.split(':')[1])) && crashes === 0 ? clock.sleep('1d') : undefined,
      })
      await sendAll(t, ...values)
      await t.settle()
      expect(t.wired.subscription.lag().count).toBe(held.length)
      t.crash(kind)
      crashes++
      await t.restart()
      await t.drain()
      const again = t.group('g').delivered.filter(({ life }) => life === 2)
      expect(again.map(({ value }) => String(value)).toSorted()).toEqual(held.toSorted())
      t.assert.drained()
    },
  )

  test.each([
    ['settle:before', 'process', [0, 1, 1]],
    ['settle:applied', 'process', [0, 0, 1]],
    ['settle:applied', 'power', [0, 1, 1]],
    ['settle:flushed', 'power', [0, 0, 1]],
  ] as const)(
    'PROGRESS-47: a crash at %s (%s) leaves what its commit had, no more and no less',
    async (at, kind, [first, second, third]) => {
      await using t = await openApp({ handler: lasting() })
      await sendAll(t, 'a:1')
      await t.drain()
      await sendAll(t, 'a:2', 'a:3')
      t.faults.crash({ at, kind })
      await t.drain()
      t.assert.crashed()
      await t.restart()
      await t.drain()
      const again = [0, 1, 2].map((offset) => t.group('g').delivered.filter((m) => m.life === 2 && m.offset === offset))
      expect(again.map((list) => list.length)).toEqual([first, second, third])
      t.assert.drained()
    },
  )

  test('PROGRESS-48: where a subscription begins is kept before it hands out anything', async () => {
    await using t = await openTest({
      wire: async (mq, { life }) => {
        const topic = await mq.topic<string>('t', { partitions: 2 })
        if (life === 1) await topic.send({ value: 'old', partition: 0 })
        await topic.subscribe('g', () => {}, { from: life === 1 ? 'latest' : 'earliest' })
      },
    })
    t.faults.crash({ at: 'deliver', kind: 'power' })
    await t.send('t', { value: 'new', partition: 1 }).catch(() => {})
    await t.settle()
    await t.restart()
    await t.drain()
    t.assert.delivered('g', { partition: 1, offset: 0 }, { times: 2, effects: 1 })
    t.assert.none.delivered('g', { partition: 0 })
  })

  test('idle() after a subscribe to what is there already waits for all of it', async () => {
    await using t = await openTest({
      wire: async (mq, { clock }) => {
        const topic = await mq.topic<string>('t')
        await topic.sendBatch(['1', '2', '3'].map((value) => ({ value })))
        return topic.subscribe('g', () => clock.sleep(10), { from: 'earliest', concurrency: 1 })
      },
    })
    await t.resolve(t.wired.idle())
    expect([doneBy(t), (await t.settle()).elapsedMs]).toEqual([['1', '2', '3'], 30])
    t.assert.committed('g', { t: [3] })
  })

  test('several groups get all messages, each at its own place', async () => {
    const thrown: unknown[] = []
    await using t = await openTest({
      wire: async (mq) => {
        const topic = await mq.topic<{ n: number }>('t')
        await topic.send({ value: { n: 1 } })
        for (const group of ['a', 'b', 'c']) {
          await topic.subscribe(group, () => {}, { from: group === 'c' ? 'latest' : 'earliest' })
        }
        const changes = ({ value }: { value: { n: number } }): void => {
          try {
            value.n = 9
          } catch (error) {
            thrown.push(error)
          }
        }
        await topic.subscribe('d', changes, { from: 'earliest' })
      },
    })
    t.faults.slow('b', '1m')
    await t.send('t', { value: { n: 2 } })
    await t.advance('1s')
    const seen = ['a', 'b', 'c', 'd'].map((group) => t.group(group).delivered.map(({ offset }) => offset))
    expect([seen, t.group('b').lag]).toEqual([[[0, 1], [0, 1], [1], [0, 1]], 1])
    t.assert.committed('a', { t: [2] })
    await t.drain()
    for (const group of ['a', 'b', 'c', 'd']) t.assert.committed(group, { t: [2] })
    // A value that groups share cannot be changed by one of them.
    expect(thrown).toEqual([expect.any(TypeError), expect.any(TypeError)])
  })
})
