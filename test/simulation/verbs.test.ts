import { expect, test } from 'vitest'
import { openTest, type Clock } from '../../src/testing/index.ts'
import { order, refusal, wireShop } from './shop.ts'

test('TEST-30: settle runs everything that can run, with all that follows from it; time stands still', async () => {
  const chain: string[] = []
  await using t = await openTest({
    wire: async (mq) => {
      const steps = await Promise.all(['one', 'two', 'three'].map((name) => mq.topic(name)))
      for (const [i, topic] of steps.entries()) {
        await topic.subscribe(
          `after ${topic.name}`,
          async (message) => {
            chain.push(topic.name)
            for (let job = 0; job < 100; job++) await Promise.resolve()
            await new Promise((resolve) => process.nextTick(resolve))
            await steps[i + 1]?.send({ key: message.key!, value: 1 })
          },
          { from: 'earliest' },
        )
      }
    },
  })
  const before = t.clock.now()
  const sent = t.send('one', { key: 'a', value: 0 })
  const { idle, elapsedMs, attempts } = await t.settle()
  expect({ idle, elapsedMs, attempts }).toEqual({ idle: 'empty', elapsedMs: 0, attempts: 3 })
  expect(chain).toEqual(['one', 'two', 'three'])
  expect(t.clock.now()).toBe(before)
  await sent
})

test('TEST-31: settle fires no timer, not even one that is a millisecond away', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.handler('billing').failTimes(1)
  await t.send('orders', order('a'))
  for (let i = 0; i < 5; i++) await t.settle()
  t.assert.delivered('billing', {}, { times: 1, effects: 0 })
  t.assert.pending('retry', { key: 'a', in: '1s' })
  await t.advance(999)
  t.assert.delivered('billing', {}, { times: 1 })
  await t.advance(1)
  t.assert.delivered('billing', {}, { times: 2, effects: 1 })
})

test('TEST-32: advance lets exactly so much time pass, and chained timers fire in it in order', async () => {
  const fired: [string, number][] = []
  const note = (name: string, clock: Clock): void => void fired.push([name, clock.now()])
  await using t = await openTest({
    start: 0,
    wire: wireShop(async (message, _context, { clock }) => {
      if (message.key === 'a') {
        await clock.sleep(10)
        note('a10', clock)
        await clock.sleep(20)
        note('a30', clock)
        await clock.sleep(70)
        note('a100', clock)
        await clock.sleep(1)
        note('a101', clock)
      } else {
        await clock.sleep(30)
        note('d30', clock)
        await clock.sleep(0)
        note('d30 again', clock)
        await clock.sleep(5)
        note('d35', clock)
      }
    }),
  })
  await Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))])
  await t.settle()
  const from = t.clock.now()
  const { elapsedMs, idle, running } = await t.advance(100)
  expect(elapsedMs).toBe(100)
  expect(t.clock.now()).toBe(from + 100)
  expect(fired).toEqual([
    ['a10', from + 10],
    ['d30', from + 30],
    ['a30', from + 30],
    ['d30 again', from + 30],
    ['d35', from + 35],
    ['a100', from + 100],
  ])
  expect({ idle, running }).toEqual({ idle: 'waiting', running: ['billing orders[0]@0'] })
  await t.drain()
})

test.for([
  ['1.5s', 1_500],
  ['250ms', 250],
  ['2m', 120_000],
  ['1d', 86_400_000],
  [0, 0],
  [0.5, 0.5],
] as const)('TEST-33: advance takes a duration like %s', async ([duration, ms]) => {
  await using t = await openTest()
  const before = t.clock.now()
  expect((await t.advance(duration)).elapsedMs).toBe(ms)
  expect(t.clock.now()).toBe(before + ms)
})

test.for(['1 s', 'soon', -1, Number.NaN, Infinity, '-1s', null, {}])(
  'TEST-33: advance refuses %s',
  async (duration) => {
    await using t = await openTest()
    await refusal('INVALID_OPTION', () => t.advance(duration as never))
  },
)

test('TEST-34: advanceTo goes to a time of the wall clock, and refuses the past', async () => {
  await using t = await openTest({ wire: wireShop(), start: '2030-01-01T00:00:00Z' })
  t.handler('billing').failTimes(2)
  await t.send('orders', order('a'))
  await t.settle()
  expect((await t.advanceTo('2030-01-01T00:00:01Z')).retried).toBe(1)
  expect((await t.advanceTo(new Date('2030-01-01T00:00:02Z'))).retried).toBe(1)
  expect((await t.advanceTo(t.clock.now())).elapsedMs).toBe(0)
  await t.advanceTo(Date.parse('2030-06-01T00:00:00Z'))
  expect(new Date(t.clock.now()).toISOString()).toBe('2030-06-01T00:00:00.000Z')
  for (const time of ['2030-01-01T00:00:00Z', 'never', Number.NaN, new Date('no')]) {
    await refusal('INVALID_OPTION', () => t.advanceTo(time))
  }
})

test('TEST-34: advanceTo follows the wall clock after a jump', async () => {
  await using t = await openTest({ wire: wireShop(), start: '2030-01-01T00:00:00Z' })
  t.faults.wallClock('1h')
  expect((await t.advanceTo('2030-01-01T01:00:05Z')).elapsedMs).toBe(5_000)
})

test('TEST-35: next goes to the next retry or sleep and says what it was', async () => {
  await using t = await openTest({
    wire: wireShop((message, _context, { clock }) => (message.key === 'd' ? clock.sleep('1500ms') : undefined)),
  })
  t.handler('billing').failTimes(2, undefined, { key: 'a' })
  await Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))])
  const seen: unknown[] = []
  for (let next = await t.next(); next !== undefined; next = await t.next()) {
    const { kind, label, at, elapsedMs, retried } = next
    seen.push([kind, label, at, elapsedMs, retried])
  }
  expect(seen).toEqual([
    ['retry', 'retry billing', 1_000, 1_000, 1],
    ['sleep', 'sleep', 1_500, 500, 0],
    ['retry', 'retry billing', 2_000, 500, 1],
  ])
  t.assert.drained()
})

test('TEST-36: next passes by what is no message timer, and is undefined when nothing waits', async () => {
  let ticks = 0
  await using t = await openTest({
    wire: async (mq, context) => {
      context.clock.every('100ms', 'tick', () => ticks++)
      await wireShop()(mq, context)
    },
  })
  expect(await t.next()).toBeUndefined()
  expect(ticks).toBe(0)
  t.handler('billing').failTimes(1)
  await t.send('orders', order('a'))
  expect(await t.next()).toMatchObject({ kind: 'retry', at: 1_000, recurring: 1 })
  expect(ticks).toBe(10)
})

test('TEST-37: results count what happened since the verb before', async () => {
  const boom = new Error('declined')
  await using t = await openTest({ wire: wireShop() })
  t.handler('billing').failTimes(3, () => boom, { key: 'a' })
  await Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))])
  const facts = { dead: 0, elapsedMs: 0, recurring: 0, running: [] }
  expect(await t.settle()).toEqual({ ...facts, idle: 'waiting', attempts: 2, retried: 0, errors: [boom] })
  expect(await t.settle()).toEqual({ ...facts, idle: 'waiting', attempts: 0, retried: 0, errors: [] })
  const second = await t.advance('1s')
  expect(second).toEqual({ ...facts, idle: 'waiting', attempts: 1, retried: 1, errors: [boom], elapsedMs: 1_000 })
  const third = await t.drain({ allowDead: 1 })
  const parked = { idle: 'parked', attempts: 1, retried: 1, errors: [boom], elapsedMs: 1_000, dead: 1 }
  expect(third).toEqual({ ...facts, ...parked })
  expect((await t.settle()).errors).toEqual([])
})

test('TEST-38: idle tells apart empty, waiting and parked', async () => {
  await using t = await openTest({ wire: wireShop() })
  expect((await t.settle()).idle).toBe('empty')
  t.wired.billing.pause()
  await t.send('orders', order('a'))
  expect((await t.settle()).idle).toBe('parked')
  expect((await t.drain()).idle).toBe('parked')
  t.handler('billing').failTimes(1)
  t.wired.billing.resume()
  expect((await t.settle()).idle).toBe('waiting')
  expect((await t.drain()).idle).toBe('empty')
  await t.resolve(t.wired.billing.close())
  await t.send('orders', order('a'))
  expect((await t.drain()).idle).toBe('empty')
})
