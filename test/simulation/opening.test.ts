import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { openTest, type Wire } from '../../src/testing/index.ts'
import { order, refusal, settings, wireShop, type Shop } from './shop.ts'

const realTmp = process.env['TMPDIR']
const base = tmpdir()
const places: string[] = []

/** A place of its own for the directories that a test makes. */
function ownPlace(): string {
  const place = mkdtempSync(join(base, 'lanemq-kit-'))
  places.push(place)
  return (process.env['TMPDIR'] = place)
}

afterEach(() => {
  delete process.env['LANEMQ_TEST_STORE']
  if (realTmp === undefined) delete process.env['TMPDIR']
  else process.env['TMPDIR'] = realTmp
  for (const place of places.splice(0)) rmSync(place, { recursive: true, force: true })
})

test('TEST-1: two that are open at once share no message, no time, no fault and no crash', async () => {
  const first = await openTest({ wire: wireShop(), start: '2031-01-01T00:00:00Z' })
  const second = await openTest({ wire: wireShop(), start: '2032-01-01T00:00:00Z' })
  first.handler('billing').failTimes(1)
  await Promise.all([
    first.send('orders', order('a', 1)),
    second.send('orders', order('a', 2)),
    second.send('orders', order('a', 3)),
  ])
  await Promise.all([first.settle(), second.advance('1h')])
  expect(first.topic('orders').published.map(({ value }) => value)).toEqual([{ total: 1 }])
  expect(second.topic('orders').published.map(({ value }) => value)).toEqual([{ total: 2 }, { total: 3 }])
  first.assert.pending('retry', { key: 'a', in: '1s' })
  expect(second.pending()).toEqual([])
  expect(new Date(first.clock.now()).toISOString()).toBe('2031-01-01T00:00:00.000Z')
  expect(new Date(second.clock.now()).toISOString()).toBe('2032-01-01T01:00:00.000Z')
  second.crash()
  await first.drain()
  first.assert.drained()
  await Promise.all([first.dispose(), second.dispose()])
})

describe.concurrent('tests at the same time', () => {
  test.for([1, 2, 3, 4])('TEST-2: each has the trace that it has alone (%i)', async (fails) => {
    const traces = await Promise.all([retried(fails), retried(fails + 1), retried(fails)])
    expect(traces[0]).toBe(traces[2])
    expect(traces[0]).toBe(await retried(fails))
  })
})

test('TEST-2: a handler that sleeps in virtual time costs no real time, whatever the process holds', async () => {
  const alone = await flow(1)
  // Real time that it may not have; it would go beyond the limit of the test.
  await using t = await openTest({ wire: sleeping(1), externalWaitMs: 3_600_000 })
  const other = setInterval(() => {}, 1_000_000)
  try {
    for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
    await t.drain()
    expect(t.impure).toEqual([])
    expect(t.timeline({ level: 'all' })).toBe(alone)
  } finally {
    clearInterval(other)
  }
})

async function retried(fails: number): Promise<string> {
  await using t = await openTest({ wire: wireShop(() => {}, { attempts: 10 }) })
  t.handler('billing').failTimes(fails)
  for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
  expect((await t.drain()).retried).toBe(fails)
  return t.timeline({ level: 'all' })
}

function sleeping(minutes: number): Wire<Shop> {
  return wireShop(async (message, context, { clock }) => {
    await clock.sleep(`${minutes}m`)
    if (context.attempt === 1 && message.key === 'a') throw new Error('no')
  })
}

async function flow(minutes: number): Promise<string> {
  await using t = await openTest({ wire: sleeping(minutes) })
  for (const key of ['a', 'd', 'a']) await t.send('orders', order(key))
  const { elapsedMs } = await t.drain()
  // Each message of the key a twice, with a second of back-off between.
  expect(elapsedMs).toBe(minutes * 60_000 * 4 + 2_000)
  return t.timeline({ level: 'all' })
}

test('TEST-3: the wiring runs once in each life, with the queue, the clock and the number of that life', async () => {
  const lives: { life: number; now: number; mq: unknown }[] = []
  const wire: Wire<string> = async (mq, context) => {
    lives.push({ life: context.life, now: context.clock.now(), mq })
    await mq.topic('orders')
    return `life ${context.life}`
  }
  await using t = await openTest({ wire, start: 1_000 })
  expect(t.wired).toBe('life 1')
  expect(lives).toEqual([{ life: 1, now: 1_000, mq: t.mq }])
  await t.advance('5s')
  t.crash()
  expect(lives).toHaveLength(1)
  await t.restart()
  expect(t.wired).toBe('life 2')
  expect(lives[1]).toEqual({ life: 2, now: 6_000, mq: t.mq })
  expect(lives[1]!.mq).not.toBe(lives[0]!.mq)
})

test.for([
  [undefined, '2030-01-01T00:00:00.000Z'],
  ['2040-02-03T04:05:06Z', '2040-02-03T04:05:06.000Z'],
  [new Date('1999-12-31T23:59:59Z'), '1999-12-31T23:59:59.000Z'],
  [0, '1970-01-01T00:00:00.000Z'],
] as const)('TEST-4: time begins where the test says, and stands still (%s)', async ([start, seen]) => {
  await using t = await openTest({ wire: wireShop(), ...(start === undefined ? {} : { start }) })
  expect(new Date(t.clock.now()).toISOString()).toBe(seen)
  const { timestamp } = await t.send('orders', order('a'))
  await new Promise((resolve) => setTimeout(resolve, 20))
  await t.settle()
  expect(new Date(timestamp).toISOString()).toBe(seen)
  expect(new Date(t.clock.now()).toISOString()).toBe(seen)
})

test.for(['yesterday', -1, 1.5, Number.NaN, new Date('no')])('TEST-4: a start like %s is refused', async (start) => {
  const { message } = await refusal('INVALID_OPTION', () => openTest({ start }))
  expect(message).toContain('start is')
})

test('TEST-5: the same seed gives the same chance, another one another', async () => {
  const wait = async (seed: number): Promise<string> => {
    const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0.5 } as const
    await using t = await openTest({ wire: wireShop(() => {}, { ...settings, backoff }), seed })
    t.handler('billing').failTimes(2)
    await t.send('orders', order('a'))
    await t.drain()
    return t.timeline({ level: 'all' })
  }
  expect(await wait(7)).toBe(await wait(7))
  expect(await wait(7)).not.toBe(await wait(8))
})

test('TEST-6: the environment chooses the store where the test does not', async () => {
  const place = ownPlace()
  const inside = (): string[] => readdirSync(place)
  process.env['LANEMQ_TEST_STORE'] = 'lmdb-tmp'
  const disk = await openTest()
  expect(inside()).toHaveLength(1)
  expect(existsSync(join(place, inside()[0]!))).toBe(true)
  const memory = await openTest({ store: 'memory' })
  expect(inside()).toHaveLength(1)
  await disk.dispose()
  await memory.dispose()
  expect(inside()).toEqual([])
  process.env['LANEMQ_TEST_STORE'] = 'disk'
  await refusal('INVALID_OPTION', () => openTest())
})

test('TEST-7: what the wiring throws comes out of openTest, and nothing is left', async () => {
  const place = ownPlace()
  for (const store of ['memory', 'lmdb-tmp'] as const) {
    const boom = new Error('no database')
    const wire: Wire<Shop> = async (mq, context) => {
      await wireShop()(mq, context)
      throw boom
    }
    await expect(openTest({ wire, store })).rejects.toBe(boom)
    expect(readdirSync(place)).toEqual([])
  }
})

test('TEST-7: a wiring that waits for what never comes is told of', { timeout: 5_000 }, async () => {
  await refusal('WOULD_HANG', () => openTest({ wire: () => new Promise(() => {}) }))
})

test('TEST-8: a queue option reaches the queue', async () => {
  await expect(openTest({ queue: { maxInFlightMessages: -1 } as object })).rejects.toMatchObject({
    code: 'INVALID_OPTION',
  })
})

test('TEST-9: opening and disposing is cheap', async () => {
  const median = async (store: 'memory' | 'lmdb-tmp', runs: number): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < runs; i++) {
      const from = performance.now()
      const t = await openTest({ wire: wireShop(), store })
      await t.dispose()
      times.push(performance.now() - from)
    }
    return times.toSorted((a, b) => a - b)[Math.floor(runs / 2)]!
  }
  const memory = await median('memory', 100)
  const disk = await median('lmdb-tmp', 20)
  process.stdout.write(`open and dispose: ${memory.toFixed(2)} ms in memory, ${disk.toFixed(2)} ms on disk (median)\n`)
  // Times are printed, not judged; but memory must not be as slow as a disk.
  expect(memory).toBeLessThan(disk)
})
