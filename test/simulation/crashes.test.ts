import { expect, test } from 'vitest'
import { openTest, type HistoryEvent, type PointName, type TestQueue } from '../../src/testing/index.ts'
import { pointNames } from '../../src/testing/simulation/point.ts'
import { order, refusal, wireShop, type Shop } from './shop.ts'

type Kind = 'process' | 'power'
type Outcome = 'kept' | 'lost'

/** What a crash at each point leaves of the send, of its handling, or of what the point is about. */
const sends: readonly [PointName, Kind, Outcome][] = [
  ['send:before', 'process', 'lost'],
  ['send:before', 'power', 'lost'],
  ['send:applied', 'process', 'kept'],
  ['send:applied', 'power', 'lost'],
  ['send:flushed', 'process', 'kept'],
  ['send:flushed', 'power', 'kept'],
  ['commit:before', 'process', 'lost'],
  ['commit:before', 'power', 'lost'],
  ['commit:applied', 'process', 'kept'],
  ['commit:applied', 'power', 'lost'],
  ['commit:flushed', 'process', 'kept'],
  ['commit:flushed', 'power', 'kept'],
]

/** How often the handler runs in all. */
const handlings: readonly [PointName, Kind, number][] = [
  ['deliver', 'process', 1],
  ['deliver', 'power', 1],
  ['handler:start', 'process', 1],
  ['handler:start', 'power', 1],
  ['handler:done', 'process', 2],
  ['handler:done', 'power', 2],
  ['handler:error', 'process', 2],
  ['handler:error', 'power', 2],
  ['settle:before', 'process', 2],
  ['settle:before', 'power', 2],
  ['settle:applied', 'process', 1],
  ['settle:applied', 'power', 2],
  ['settle:flushed', 'process', 1],
  ['settle:flushed', 'power', 1],
]

/** What is made or removed by the point's own call. */
const others: readonly [PointName, Kind, Outcome][] = [
  ['trim:before', 'process', 'lost'],
  ['trim:before', 'power', 'lost'],
  ['trim:applied', 'process', 'kept'],
  ['trim:applied', 'power', 'lost'],
  ['trim:flushed', 'process', 'kept'],
  ['trim:flushed', 'power', 'kept'],
  ['topic:applied', 'process', 'kept'],
  ['topic:applied', 'power', 'lost'],
  ['topic:flushed', 'process', 'kept'],
  ['topic:flushed', 'power', 'kept'],
  ['group:before', 'process', 'lost'],
  ['group:before', 'power', 'lost'],
  ['group:applied', 'process', 'kept'],
  ['group:applied', 'power', 'lost'],
  ['group:flushed', 'process', 'kept'],
  ['group:flushed', 'power', 'kept'],
]

/** Lets everything happen, if the process lives. */
async function drain(t: TestQueue<Shop>): Promise<void> {
  if (!isDead(t)) await t.drain()
}

function isDead(t: TestQueue<Shop>): boolean {
  return t.history.events.findLast(({ kind }) => kind === 'crash' || kind === 'wired')?.kind === 'crash'
}

/** What the store held after the restart. */
function survived(t: TestQueue): HistoryEvent<'snapshot'> {
  return t.history.of('snapshot').find(({ reason }) => reason === 'restart')!
}

/** Points of effects: test/behaviour has crashes at them, in effects.test.ts and prepared.test.ts. */
const ofEffects = pointNames.filter((at) => /^(state|transaction|decide|prepare|prepared):/.test(at))

test('TEST-60: every point has its place in the tables below', () => {
  const elsewhere = ofEffects.flatMap((at) => [`${at} process`, `${at} power`])
  const named = [...sends, ...handlings, ...others].map(([at, kind]) => `${at} ${kind}`).concat(elsewhere)
  expect(named.toSorted()).toEqual(pointNames.flatMap((at) => [`${at} process`, `${at} power`]).toSorted())
})

test.for(sends)('TEST-60: a crash at %s of the %s: the message being sent is %s', async ([at, kind, outcome]) => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crash({ at, kind })
  await refusal('CRASHED', () => t.send('orders', order('a', 7)))
  t.assert.crashed()
  const point = at === 'send:before' ? 'send:before orders[0]' : `commit:${at.split(':')[1]} (send orders[0])`
  expect(t.history.of('crash')).toMatchObject([{ power: kind === 'power', point }])
  await t.restart()
  const { records } = survived(t).logs.find(({ topic, partition }) => topic === 'orders' && partition === 0)!
  expect(records.map(({ value }) => value)).toEqual(outcome === 'kept' ? [{ total: 7 }] : [])
  await t.drain()
  const effects = outcome === 'kept' ? 1 : 0
  expect(t.group('billing').delivered.filter((one) => one.outcome === 'done')).toHaveLength(effects)
})

test.for(handlings)('TEST-61: a crash at %s of the %s: the handler runs %i times', async ([at, kind, times]) => {
  const calls: number[] = []
  await using t = await openTest({
    wire: wireShop((_message, _context, { life }) => {
      calls.push(life)
      if (at === 'handler:error' && life === 1) throw new Error('declined')
    }),
  })
  t.faults.crash({ at, kind })
  await t.send('orders', order('a')).catch(() => {})
  await drain(t)
  t.assert.crashed()
  const before = calls.length
  await t.restart()
  await t.drain()
  expect(calls).toHaveLength(times)
  t.assert.drained()
  t.assert.committed('billing', { orders: { 0: 1 } })
  // The second life runs the handler once if nothing was settled, and not at all if it was.
  const { position } = survived(t).progress.find(({ partition }) => partition === 0)!
  expect({ after: times - before, position }).toEqual(
    position === 0 ? { after: 1, position } : { after: 0, position: 1 },
  )
})

test.for(others)('TEST-62: a crash at %s of the %s: what was made there is %s', async ([at, kind, outcome]) => {
  const what = at.slice(0, at.indexOf(':')) as 'trim' | 'topic' | 'group'
  await using t = await openTest({ wire: wireShop() })
  await t.send('orders', order('a'))
  await t.send('orders', order('a'))
  await t.drain()
  t.faults.crash({ at, kind })
  void make(what, t)
  await drain(t)
  t.assert.crashed()
  await t.restart()
  const { logs, progress } = survived(t)
  const seen = {
    trim: logs.find(({ topic, partition }) => topic === 'orders' && partition === 0)!.start === 1,
    topic: logs.some(({ topic }) => topic === 'mails'),
    group: progress.some(({ group }) => group === 'archive'),
  }
  expect(seen[what]).toBe(outcome === 'kept')
  await t.drain()
})

async function make(what: 'trim' | 'topic' | 'group', t: TestQueue<Shop>): Promise<void> {
  if (what === 'trim') await t.wired.orders.trim(0, 1)
  if (what === 'topic') await t.mq.topic('mails')
  if (what === 'group') await t.wired.orders.subscribe('archive', () => {}, { from: 'earliest' })
}

test('TEST-63: a buffered send that was acknowledged may go with the power, and is no violation', async () => {
  for (const kind of ['process', 'power'] as const) {
    await using t = await openTest({ wire: wireShop() })
    t.faults.crash({ at: 'commit:applied', kind })
    const { acks } = await t.send('orders', order('a', 7), { acks: 'buffered' })
    expect(acks).toBe('buffered')
    await t.settle()
    t.assert.crashed()
    await t.restart()
    const records = survived(t).logs.flatMap((log) => log.records.map(({ value }) => value))
    expect(records).toEqual(kind === 'process' ? [{ total: 7 }] : [])
    await t.drain()
  }
})

test('TEST-64: crash() ends the process here and now; restart() runs the wiring on what survived', async () => {
  await using t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1s')) })
  for (const key of ['a', 'a', 'd']) await t.send('orders', order(key))
  await t.advance('1s')
  t.crash('power')
  expect(t.timeline({ last: 1 })).toContain('crash    power loss at here')
  await t.restart()
  expect(await t.drain()).toMatchObject({ idle: 'empty', elapsedMs: 1_000 })
  expect(t.timeline()).toContain('restart  life 2')
  t.assert.delivered('billing', {}, { times: 4, effects: 3 })
})

test('TEST-64: a verb on a dead process is no error, whenever it died', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crash({ at: 'handler:done' })
  await t.send('orders', order('a')).catch(() => {})
  await t.settle()
  t.assert.crashed()
  await t.advance('1h')
  expect(await t.next()).toBeUndefined()
  expect((await t.drain()).idle).toBe('parked')
  await t.restart()
  await t.drain()
  t.assert.drained()
})

test('TEST-64: what happens while the next life begins is in the result of the verb after it', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crash({ at: 'handler:done' })
  await t.send('orders', order('a')).catch(() => {})
  await t.settle()
  await t.restart()
  expect((await t.drain()).attempts).toBe(1)
})

test('TEST-65: a crash is for the point that matches, and for the n-th of them', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crash({ at: 'handler:start', group: 'billing', key: 'b', nth: 2 })
  for (const key of ['a', 'b', 'a', 'd']) await t.send('orders', order(key))
  await t.settle()
  await t.send('orders', order('b')).catch(() => {})
  await drain(t)
  t.assert.crashed()
  expect(t.history.of('crash')).toMatchObject([{ point: 'handler:start billing orders[0]@3' }])
  await t.restart()
  t.faults.crash({ at: 'deliver', topic: 'orders', partition: 1, offset: 1 })
  await t.send('orders', order('d')).catch(() => {})
  await drain(t)
  t.assert.crashed()
  await t.restart()
  await t.drain()
})

test('TEST-66: a crash loop ends as many lives, one after the other', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.faults.crashLoop({ at: 'handler:start', key: 'a', times: 3 })
  await t.send('orders', order('a')).catch(() => {})
  await drain(t)
  let restarts = 0
  for (; restarts < 10 && t.history.of('crash').length > restarts; restarts++) {
    await t.restart()
    await drain(t)
  }
  expect(restarts).toBe(3)
  t.assert.delivered('billing', {}, { effects: 1 })
})

test('TEST-67: a process that crashes while its wiring runs is dead again, and the next life can begin', async () => {
  let crash: (() => void) | undefined
  await using t = await openTest({
    wire: async (mq, context) => {
      if (context.life === 2) crash!()
      await wireShop()(mq, context)
    },
  })
  t.crash()
  crash = () => t.faults.crash({ at: 'group:before' })
  await t.restart()
  t.assert.crashed()
  expect(t.history.of('crash')).toHaveLength(2)
  await t.restart()
  await t.send('orders', order('a'))
  await t.drain()
  t.assert.drained()
})

test('TEST-68: what a handler of a dead process still does is noted, and changes nothing', async () => {
  const go: (() => void)[] = []
  await using t = await openTest({
    wire: async (mq, context) => {
      const sent = await mq.topic('sent')
      await wireShop(async (message) => {
        if (context.life > 1) return
        await new Promise<void>((resolve) => go.push(resolve))
        // Whose answer never comes: the process is dead.
        void sent.send({ key: message.key!, value: 'from the grave' })
        if (message.key === 'd') throw new Error('too late')
      })(mq, context)
    },
  })
  await Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))])
  await t.settle()
  t.crash()
  await t.restart()
  await t.drain()
  const before = t.history.events.length
  for (const next of go) next()
  await t.settle()
  const late = t.history.events.slice(before)
  expect(late.map(({ kind }) => kind)).toEqual(['zombie', 'zombie', 'zombie', 'zombie'])
  expect(late.map((event) => (event as HistoryEvent<'zombie'>).text).toSorted()).toEqual([
    'sent to sent',
    'sent to sent',
    'the handler billing orders[0]@0 ended',
    'the handler billing orders[1]@0 failed',
  ])
  t.assert.none.published('sent')
  t.assert.committed('billing', { orders: [1, 1] })
})

test('TEST-68: the clock of a dead process stands still for ever', async () => {
  const woken: number[] = []
  await using t = await openTest({
    wire: wireShop(async (_message, _context, { clock, life }) => {
      await clock.sleep('1s')
      woken.push(life)
    }),
  })
  await t.send('orders', order('a'))
  t.crash()
  await t.restart()
  await t.drain()
  await t.advance('1h')
  expect(woken).toEqual([2])
})
