import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openTest, type Invariant, type TestStore } from '../../src/testing/index.ts'
import { order, refusal, wireShop } from './shop.ts'

const realTmp = process.env['TMPDIR']
const base = tmpdir()
let place = ''

beforeEach(() => {
  place = mkdtempSync(join(base, 'lanemq-kit-'))
  process.env['TMPDIR'] = place
})

afterEach(() => {
  if (realTmp === undefined) delete process.env['TMPDIR']
  else process.env['TMPDIR'] = realTmp
  rmSync(place, { recursive: true, force: true })
})

const stores: TestStore[] = ['memory', 'lmdb-tmp']

/** What keeps the process alive, but for what the runner has. */
function held(): string[] {
  return process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|MessagePort|Immediate/.test(name))
}

test.for(stores)('TEST-20: `await using` closes the queue and removes the directory (%s)', async (store) => {
  const closed: unknown[] = []
  {
    await using t = await openTest({ wire: wireShop(), store })
    await t.send('orders', order('a'))
    closed.push(t.mq)
    expect(readdirSync(place)).toHaveLength(store === 'memory' ? 0 : 1)
  }
  expect(readdirSync(place)).toEqual([])
  await expect((closed[0] as { topic(name: string): Promise<unknown> }).topic('more')).rejects.toMatchObject({
    code: 'CLOSED',
  })
})

test.for(stores)('TEST-21: disposing leaves no timer, no handle and no file, whatever waits (%s)', async (store) => {
  const before = held()
  for (const end of ['idle', 'retrying', 'parked', 'recurring', 'restarted', 'full'] as const) {
    const t = await openTest({ wire: wireShop(), store })
    if (end === 'recurring') t.clock.every('1s', 'tick', () => {})
    if (end === 'full') t.faults.storeFull()
    if (end === 'retrying') t.handler('billing').failTimes(1)
    if (end === 'parked') t.handler('billing').failTimes(3)
    const sent = t.send('orders', order('a')).catch((error: unknown) => error)
    await t.settle()
    if (end === 'parked') await t.drain({ allowDead: 1 })
    if (end === 'restarted') t.crash('power')
    if (end === 'restarted') await t.restart()
    await t.dispose()
    await sent
  }
  expect(readdirSync(place)).toEqual([])
  await new Promise((resolve) => setImmediate(resolve))
  expect(held().length).toBeLessThanOrEqual(before.length)
})

test('TEST-21: disposing after a crash leaves no file (lmdb-tmp)', () => crashed('lmdb-tmp'))

test('TEST-21: disposing after a crash leaves nothing (memory)', () => crashed('memory'))

async function crashed(store: TestStore): Promise<void> {
  const before = held()
  const t = await openTest({ wire: wireShop(), store })
  await t.send('orders', order('a'))
  t.crash('power')
  await t.dispose()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(readdirSync(place)).toEqual([])
  expect(held().length).toBeLessThanOrEqual(before.length)
}

test('TEST-22: disposing checks the invariants once more', async () => {
  const nothingAtTheEnd: Invariant = {
    name: 'empty-log',
    about: 'At the end every log is empty.',
    begin: () => ({
      snapshot: ({ reason, logs }) =>
        reason === 'end' && logs.some(({ records }) => records.length > 0) ? 'a log is not empty' : undefined,
    }),
  }
  const t = await openTest({ wire: wireShop(), invariants: [nothingAtTheEnd] })
  await t.send('orders', order('a'))
  await t.drain()
  const { message } = await refusal('INVARIANT', () => t.dispose())
  expect(message).toContain('empty-log: a log is not empty')
  expect(message).toContain('done     billing orders[0]@0 a #1')
})

test('TEST-144: the directory goes also when the end fails on its way, and nothing runs on', async () => {
  const before = held()
  const broken: Invariant = {
    name: 'broken',
    about: 'It throws itself.',
    begin: () => ({
      snapshot: () => {
        throw new Error('no invariant at all')
      },
    }),
  }
  const t = await openTest({ wire: wireShop(), store: 'lmdb-tmp', invariants: [broken] })
  await t.send('orders', order('a'))
  await t.settle()
  await expect(t.dispose()).rejects.toThrow('no invariant at all')
  expect(readdirSync(place)).toEqual([])
  // What the native library closes is gone some turns later.
  for (let turns = 0; held().length > before.length && turns < 1_000; turns++) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(held().length).toBeLessThanOrEqual(before.length)
})

test.for(stores)('TEST-23: disposing with work running closes all the same, and says what ran (%s)', async (store) => {
  const t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1h')), store })
  await t.send('orders', order('a'))
  await t.settle()
  const { message } = await refusal('LEFT_RUNNING', () => t.dispose())
  expect(message).toContain('billing orders[0]@0')
  expect(readdirSync(place)).toEqual([])
})

test('TEST-24: disposing again gives the same end; a verb after it is refused', async () => {
  const t = await openTest({ wire: wireShop() })
  const first = t.dispose()
  expect(t.dispose()).toBe(first)
  await first
  await t.dispose()
  for (const verb of ['settle', 'next', 'drain'] as const) await refusal('DISPOSED', () => t[verb]())
  await refusal('DISPOSED', () => t.advance('1s'))
  await refusal('DISPOSED', () => t.advanceTo('2031-01-01T00:00:00Z'))
  // What happened can still be read.
  expect(t.timeline({ level: 'all' })).toContain('wired    life 1')
})

test(
  'TEST-24: a send, a restart and a crash after the end are refused, and do not hang',
  { timeout: 5_000 },
  async () => {
    const t = await openTest({ wire: wireShop() })
    await t.dispose()
    await expect(t.send('orders', order('a'))).rejects.toMatchObject({ code: 'DISPOSED' })
    await refusal('DISPOSED', () => t.restart())
    await refusal('DISPOSED', () => t.crash())
  },
)

test(
  'TEST-25: disposing while a verb is under way waits for it or says so, and ends',
  { timeout: 10_000 },
  async () => {
    const t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1s')) })
    for (let i = 0; i < 50; i++) await t.send('orders', order('a'))
    const drained = t.drain().then(
      () => 'drained',
      (error: { code: string }) => error.code,
    )
    const disposed = t.dispose().then(
      () => 'disposed',
      (error: { code: string }) => error.code,
    )
    expect(['drained', 'DISPOSED']).toContain(await drained)
    expect(['disposed', 'LEFT_RUNNING', 'VERB_RUNNING']).toContain(await disposed)
  },
)

const left: string[] = []

test('TEST-26: with the context of a vitest test it is disposed when the test ends', async (context) => {
  const own = mkdtempSync(join(base, 'lanemq-kit-'))
  process.env['TMPDIR'] = own
  const t = await openTest({ wire: wireShop(), store: 'lmdb-tmp', context })
  await t.send('orders', order('a'))
  await t.settle()
  expect(readdirSync(own)).toHaveLength(1)
  left.push(own)
})

test('TEST-26: the one of the test before is closed by now', () => {
  expect(left).toHaveLength(1)
  expect(readdirSync(left[0]!)).toEqual([])
  rmSync(left[0]!, { recursive: true })
})

test('TEST-26: with the context of a node:test test it is disposed after the test', async () => {
  const after: (() => Promise<void>)[] = []
  const context = { name: 'a test', after: (end: () => Promise<void>) => void after.push(end) }
  const t = await openTest({ wire: wireShop(), store: 'lmdb-tmp', context })
  await t.send('orders', order('a'))
  expect(after).toHaveLength(1)
  expect(readdirSync(place)).toHaveLength(1)
  await after[0]!()
  expect(readdirSync(place)).toEqual([])
})
