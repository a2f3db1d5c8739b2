import { expect, test } from 'vitest'
import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import type { HandlerContext, Message } from '../../src/index.ts'
import { InjectedFailure, openTest, type TestQueue } from '../../src/testing/index.ts'
import { order, wireShop, type Order, type Shop } from './shop.ts'

/** Keys of the messages whose handler ran to its end, in that order. */
function done(t: TestQueue<Shop>): (string | undefined)[] {
  return t.history.of('done').map(({ key }) => key)
}

test('TEST-70: failTimes lets the next calls that match fail, and no other', async () => {
  let calls = 0
  await using t = await openTest({ wire: wireShop(() => void calls++) })
  t.handler('billing').failTimes(2, undefined, { key: 'a' })
  for (const key of ['b', 'a', 'd']) await t.send('orders', order(key))
  const { errors, retried } = await t.drain()
  expect(retried).toBe(2)
  expect(errors.every((error) => error instanceof InjectedFailure)).toBe(true)
  expect(calls).toBe(3)
  t.assert.delivered('billing', { key: 'a' }, { times: 3, effects: 1 })
  t.assert.delivered('billing', { key: 'b' }, { times: 1, effects: 1 })
})

test('TEST-71: failWhen lets each call fail whose message is accepted, until the faults are lifted', async () => {
  class NoMoney extends Error {}
  await using t = await openTest({ wire: wireShop() })
  t.handler('billing', 'orders').failWhen(
    { where: ({ value }) => (value as { total: number }).total > 100 },
    () => new NoMoney(),
  )
  await Promise.all([t.send('orders', order('a', 5)), t.send('orders', order('d', 500))])
  await t.drain({ allowDead: 1 })
  t.assert.dead('billing', { key: 'd', attempts: 3 })
  t.assert.none.dead('billing', { key: 'a' })
  await t.faults.lift()
  expect((await t.drain()).idle).toBe('empty')
  t.assert.drained()
  t.assert.none.dead()
})

test('TEST-72: a poison message fails always, and its key waits; a poison key fails for each message', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.poison('billing', { partition: 0, offset: 1 })
  t.faults.poison('billing', { key: 'd' })
  for (const key of ['a', 'a', 'b', 'd', 'd', 'f']) await t.send('orders', order(key))
  await t.drain({ allowDead: 2 })
  expect(t.dead().map(({ key, offset }) => [key, offset])).toEqual([
    ['a', 1],
    ['d', 0],
  ])
  expect(done(t)).toEqual(['a', 'b', 'f'])
  expect(t.group('billing').parked).toEqual(['a', 'd'])
})

test('TEST-73: a stuck handler runs when the faults are lifted, others meanwhile', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.stuck('billing', { key: 'a' })
  for (const key of ['a', 'a', 'b', 'd']) await t.send('orders', order(key))
  expect((await t.settle()).running).toEqual(['billing orders[0]@0'])
  await t.advance('1h')
  expect(new Set(done(t))).toEqual(new Set(['b', 'd']))
  await t.faults.lift()
  await t.drain()
  expect(done(t).slice(2)).toEqual(['a', 'a'])
})

test('TEST-73: drain leaves what a fault holds, and says so', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.stuck('billing', { key: 'a' })
  for (const key of ['a', 'd']) await t.send('orders', order(key))
  expect(await t.drain()).toMatchObject({ idle: 'parked', running: ['billing orders[0]@0'] })
  await t.faults.lift()
  expect((await t.drain()).idle).toBe('empty')
})

test('TEST-73: it is so also when the member that it holds has left', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.stuck('billing', { key: 'a' })
  t.faults.leave('billing', { key: 'd' })
  for (const key of ['a', 'd']) await t.send('orders', order(key))
  expect((await t.drain()).idle).toBe('parked')
  await t.faults.lift()
  await t.drain()
})

test('TEST-74: a slow handler takes so much longer in virtual time, as often as said', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.slow('billing', '30s', { key: 'a', times: 2 })
  t.handler('billing').slow('1m', { key: 'd' })
  for (const key of ['a', 'a', 'a', 'd']) await t.send('orders', order(key))
  await t.advance('29999ms')
  expect(done(t)).toEqual([])
  expect((await t.advance(1)).running).toHaveLength(2)
  expect(done(t)).toEqual(['a'])
  expect((await t.drain()).elapsedMs).toBe(30_000)
  // The key d, for a minute, was there before the second of the key a, for half a minute.
  expect(done(t)).toEqual(['a', 'd', 'a', 'a'])
})

test('TEST-75: a duplicate is one more call of the handler with the same message, and no violation', async () => {
  const seen: string[] = []
  await using t = await openTest({ wire: wireShop(({ key, offset }) => void seen.push(`${key}@${offset}`)) })
  t.faults.duplicate('billing', { key: 'a', nth: 2 })
  for (const key of ['a', 'd', 'a', 'a']) await t.send('orders', order(key))
  await t.drain()
  expect(seen.filter((one) => one.startsWith('a'))).toEqual(['a@0', 'a@1', 'a@1', 'a@2'])
  expect(t.history.of('done').filter(({ isDuplicate }) => isDuplicate)).toMatchObject([{ key: 'a', offset: 1 }])
  expect(t.timeline()).toContain('start    billing orders[0]@1 a #1 duplicate')
  t.assert.committed('billing', { orders: [3, 1] })
})

test('TEST-75: what asked to be tried again is not called once more before that', async () => {
  const attempts: number[] = []
  const handler = ({ attempt }: { attempt: number }, context: HandlerContext): void => {
    attempts.push(attempt)
    if (attempts.length === 1) context.retryAt(60_000 + t.clock.now())
  }
  await using t: TestQueue<Shop> = await openTest({ wire: wireShop(handler) })
  t.faults.duplicate('billing')
  await t.send('orders', order('a'))
  expect((await t.drain()).elapsedMs).toBe(60_000)
  expect(attempts).toEqual([1, 2])
  t.assert.drained()
})

test('TEST-76: a member joins in the middle, and partitions are shared', async () => {
  await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1s')) })
  t.faults.join('billing', { key: 'a', nth: 2 })
  for (const key of ['a', 'd', 'a', 'd', 'a', 'd']) await t.send('orders', order(key))
  await t.drain()
  expect(t.history.of('joined').map(({ member }) => member)).toEqual(['billing#1', 'billing#2'])
  const owners = new Set(t.history.of('deliver').map(({ member }) => member))
  expect([...owners].toSorted()).toEqual(['billing#1', 'billing#2'])
  t.assert.drained()
  t.assert.delivered('billing', {}, { times: 6, effects: 6 })
})

test('TEST-76: a member that joins in the middle asks the idempotency store of the others', async () => {
  await using t = await openTest({
    wire: async (mq, { clock }) => {
      const orders = await mq.topic<Order>('orders', { partitions: 2 })
      const store = openLmdbIdempotencyStore(mq)
      const idempotency = { store, key: ({ value }: Message<Order>) => `${value.total}`, fingerprint: () => 'same' }
      await orders.subscribe('billing', () => clock.sleep('1s'), { from: 'earliest', idempotency })
    },
  })
  t.faults.join('billing', { nth: 2 })
  for (const key of ['a', 'd', 'a', 'd', 'a', 'd']) {
    for (const total of [1, 2, 3]) await t.send('orders', order(key, total))
    await t.drain()
  }
  expect(t.history.of('joined')).toHaveLength(2)
  expect(new Set(t.history.of('granted').map(({ member }) => member)).size).toBe(2)
  expect(t.history.of('done')).toHaveLength(3)
  expect(t.history.of('duplicate')).toHaveLength(15)
})

test('TEST-77: a member leaves in the middle; who is left takes over', async () => {
  await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1s')) })
  t.faults.join('billing')
  t.faults.leave('billing', { nth: 3 })
  for (const key of ['a', 'd', 'a', 'd', 'a', 'd']) await t.send('orders', order(key))
  await t.drain()
  expect(t.history.of('left')).toHaveLength(1)
  t.assert.drained()
  t.assert.delivered('billing', {}, { effects: 6 })
})

test('TEST-77: when the last member has left, messages wait; lifting the faults brings one back', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.leave('billing')
  for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
  await t.drain()
  expect(t.group('billing').lag).toBeGreaterThan(0)
  await t.faults.lift()
  await t.drain()
  t.assert.drained()
})

test('TEST-77: lifting brings one back also for a member that has not quite left', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.slow('billing', '1m', { key: 'a' })
  t.faults.leave('billing', { key: 'd' })
  for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
  await t.settle()
  await t.faults.lift()
  await t.drain()
  t.assert.drained()
})

test('TEST-78: a full store refuses sends, goes on acknowledging, and has room again later', async () => {
  await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('5s')) })
  await t.send('orders', order('a'))
  t.faults.storeFull({ for: '1m' })
  await expect(t.send('orders', order('d'))).rejects.toMatchObject({ code: 'STORE_FULL' })
  await t.advance('5s')
  t.assert.committed('billing', { orders: [1, 0] })
  expect(t.topic('orders').refused).toHaveLength(1)
  await t.advance('54s')
  await expect(t.send('orders', order('d'))).rejects.toMatchObject({ code: 'STORE_FULL' })
  await t.advance('1s')
  await t.send('orders', order('d'))
  await t.drain()
  t.assert.drained()
})

test('TEST-78: it gets full at the n-th commit from now, and stays so over a restart until it is lifted', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.storeFull({ afterCommits: 3 })
  const outcomes: string[] = []
  for (let i = 0; i < 4; i++) {
    await t.send('orders', order('a')).then(
      () => outcomes.push('ok'),
      ({ code }: { code: string }) => outcomes.push(code),
    )
    await t.settle()
  }
  // A send and its settlement are a commit each.
  expect(outcomes).toEqual(['ok', 'ok', 'STORE_FULL', 'STORE_FULL'])
  t.crash()
  await t.restart()
  await expect(t.send('orders', order('a'))).rejects.toMatchObject({ code: 'STORE_FULL' })
  await t.faults.lift()
  await t.send('orders', order('a'))
  await t.drain()
})

test.for(['1d', '-1d'] as const)(
  'TEST-79: a jump of the wall clock by %s fires nothing and delays nothing',
  async (by) => {
    await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('10s')) })
    t.handler('billing').failTimes(1)
    await t.send('orders', order('a'))
    const before = t.clock.now()
    t.faults.wallClock(by)
    expect(t.clock.now() - before).toBe(by === '1d' ? 86_400_000 : -86_400_000)
    const after = await t.settle()
    expect({ attempts: after.attempts, elapsedMs: after.elapsedMs }).toEqual({ attempts: 1, elapsedMs: 0 })
    t.assert.pending('retry', { in: '1s' })
    expect((await t.drain()).elapsedMs).toBe(11_000)
    expect(t.timeline()).toContain('jump     wall clock')
  },
)

const keys = ['a', 'b', 'c', 'd', 'f', 'a', 'b', 'c', 'd', 'f']

async function interleaved(seed: number | undefined): Promise<TestQueue<Shop>> {
  const t = await openTest({ wire: wireShop() })
  if (seed !== undefined) t.faults.interleave({ seed })
  await Promise.all(keys.map((key, i) => t.send('orders', order(key, i))))
  await t.drain()
  await t.dispose()
  return t
}

test('TEST-80: interleave: the same seed gives the same trace, others give others', async () => {
  const traces = new Set<string>()
  for (let seed = 1; seed <= 10; seed++) {
    const t = await interleaved(seed)
    const again = await interleaved(seed)
    expect(again.timeline({ level: 'all' })).toBe(t.timeline({ level: 'all' }))
    traces.add(t.timeline())
  }
  expect(traces.size).toBeGreaterThan(5)
})

test('TEST-80: interleave changes the order between keys, never within one', async () => {
  const plain = (await interleaved(undefined)).history.of('start').map(({ key }) => key)
  let others = 0
  for (let seed = 1; seed <= 10; seed++) {
    const t = await interleaved(seed)
    const starts = t.history.of('start')
    if (starts.map(({ key }) => key).join() !== plain.join()) others++
    for (const key of new Set(keys)) {
      const totals = starts.filter((one) => one.key === key).map(({ value }) => (value as { total: number }).total)
      expect(totals).toEqual(totals.toSorted((a, b) => a - b))
    }
  }
  expect(others).toBeGreaterThan(5)
})
