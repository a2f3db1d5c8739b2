import { expect, test } from 'vitest'
import { openTest, type Wire } from '../../src/testing/index.ts'
import { order, refusal, wireShop } from './shop.ts'

test('TEST-40: drain jumps from due time to due time until nothing is left', async () => {
  await using t = await openTest({
    wire: wireShop((message, _context, { clock }) => (message.key === 'd' ? clock.sleep('3d') : undefined)),
  })
  t.handler('billing').failTimes(2, undefined, { key: 'a' })
  for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
  const end = await t.drain()
  expect(end).toMatchObject({ idle: 'empty', attempts: 5, retried: 2, dead: 0, elapsedMs: 3 * 86_400_000, running: [] })
  t.assert.drained()
  t.assert.committed('billing', { orders: [2, 1] })
})

test('TEST-41: recurring and background timers do not keep drain busy; they are counted', async () => {
  let ticks = 0
  await using t = await openTest({
    queue: {},
    wire: async (mq, context) => {
      context.clock.every('1s', 'report', () => ticks++)
      const stop = context.clock.every('1s', 'ended', () => {})
      stop()
      const logs = await mq.topic('logs', { retention: { maxAgeMs: 1_000 } })
      await logs.subscribe('audit', () => {}, { from: 'earliest' })
      await wireShop()(mq, context)
    },
  })
  t.handler('billing').failTimes(1)
  await t.send('orders', order('a'))
  await t.send('logs', { value: 1 })
  const end = await t.drain()
  expect(end).toMatchObject({ idle: 'empty', recurring: 1, elapsedMs: 1_000 })
  expect(ticks).toBe(1)
  expect((await t.drain()).elapsedMs).toBe(0)
})

/** Each message is sent again a day later, as a reminder that plans the next one. */
const reminders: Wire = async (mq, { clock }) => {
  const topic = await mq.topic<number>('reminders')
  await topic.subscribe(
    'reminder',
    async (message) => {
      await clock.sleep('1d')
      void topic.send({ value: message.value + 1 })
    },
    { from: 'earliest' },
  )
}

/** Two topics that send each other messages without end, in no time. */
const pingPong: Wire = async (mq) => {
  const topics = [await mq.topic('ping'), await mq.topic('pong')]
  for (const [i, topic] of topics.entries()) {
    const other = topics[1 - i]!
    await topic.subscribe(`to ${other.name}`, async () => void (await other.send({ value: 1 })), { from: 'earliest' })
  }
}

test('TEST-42: work without end stops at the horizon, and the cycle is named', async () => {
  const t = await openTest({ wire: reminders })
  await t.send('reminders', { value: 1 })
  const { message } = await refusal('ENDLESS', () => t.drain())
  expect(message).toContain('30d')
  expect(message).toMatch(/reminder reminders\[0] -> reminder reminders\[0] every 1d, \d+ times/)
  const short = await refusal('ENDLESS', () => t.drain({ horizon: '5d' }))
  expect(short.message).toContain('5d')
  await refusal('LEFT_RUNNING', () => t.dispose())
})

test('TEST-43: a cycle in no time stops after so many deliveries, and is named', { timeout: 20_000 }, async () => {
  const t = await openTest({ wire: pingPong })
  await t.send('ping', { value: 1 })
  const { message } = await refusal('ENDLESS', () => t.drain({ maxDeliveries: 50 }))
  expect(message).toContain('50 deliveries')
  expect(message).toMatch(/to pong ping\[0] -> to ping pong\[0]|to ping pong\[0] -> to pong ping\[0]/)
})

test('TEST-44: drain ends as soon as `until` holds', async () => {
  await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1m')) })
  for (let i = 0; i < 10; i++) await t.send('orders', order('a'))
  const { elapsedMs } = await t.drain({ until: () => t.topic('orders').published.length === 10 })
  expect(elapsedMs).toBe(0)
  const done = (): number => t.group('billing').delivered.filter(({ outcome }) => outcome === 'done').length
  expect((await t.drain({ until: () => done() >= 3 })).elapsedMs).toBe(180_000)
  expect(done()).toBe(3)
  expect((await t.drain()).idle).toBe('empty')
})

test('TEST-45: messages given up make drain throw, with their places and what was thrown', async () => {
  const t = await openTest({ wire: wireShop() })
  t.faults.poison('billing', { key: 'a' }, () => new Error('card declined'))
  t.faults.poison('billing', { key: 'd' }, () => new Error('no stock'))
  const sent = ['a', 'd', 'b'].map((key) => t.send('orders', order(key)))
  const error = await refusal('UNEXPECTED_FAILURES', () => t.drain({ allowDead: 1 }))
  expect(error.message).toContain('2 messages were given up, allowDead is 1')
  expect(error.message).toContain('billing gave up orders[0]@0 (key a) after 3 attempts: Error: card declined')
  expect(error.message).toContain('billing gave up orders[1]@0 (key d) after 3 attempts: Error: no stock')
  expect(error.cause).toBeInstanceOf(AggregateError)
  expect((error.cause as AggregateError).errors).toHaveLength(6)
  await Promise.all(sent)
  // What was told is not told again.
  expect((await t.drain()).idle).toBe('parked')
  await t.dispose()
})

test('TEST-45: as many as are allowed are no error', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.poison('billing', { key: 'a' })
  await t.send('orders', order('a'))
  expect(await t.drain({ allowDead: 1 })).toMatchObject({ idle: 'parked', dead: 1, elapsedMs: 2_000 })
})

test('TEST-46: a drain that meets a crash ends there and says so', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crash({ at: 'handler:start', nth: 2 })
  t.handler('billing').failTimes(1)
  await t.send('orders', order('a'))
  await t.drain()
  t.assert.crashed()
  // Time passes also while nothing runs.
  expect(await t.advance('1h')).toMatchObject({ idle: 'parked', attempts: 0, elapsedMs: 3_600_000 })
  await refusal('CRASHED', () => t.send('orders', order('a')))
  const { message } = await refusal('CRASHED', () => t.mq)
  expect(message).toContain('handler:start billing orders[0]@0')
  await t.restart()
  await t.drain()
  t.assert.drained()
  await refusal('CRASHED', () => t.restart())
})

test.for([{ horizon: 'soon' }, { horizon: -1 }])('TEST-47: drain refuses %o', async (options) => {
  await using t = await openTest()
  await refusal('INVALID_OPTION', () => t.drain(options as object))
})

test('TEST-47: drain refuses other limits that make no sense, and unknown ones', async () => {
  await using t = await openTest()
  for (const options of [{ maxDeliveries: -1 }, { allowDead: -1 }, { allowDeath: 1 }]) {
    await refusal('INVALID_OPTION', () => t.drain(options as object))
  }
})

test('TEST-48: resolve awaits a promise of the queue, letting time pass', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.handler('billing').failTimes(2)
  await t.send('orders', order('a'))
  expect(await t.resolve(t.wired.billing.drain())).toEqual({ left: 0 })
  expect(t.clock.now() - Date.parse('2030-01-01T00:00:00Z')).toBeGreaterThanOrEqual(2_000)
  await expect(t.resolve(Promise.reject(new Error('mine')))).rejects.toThrow('mine')
})
