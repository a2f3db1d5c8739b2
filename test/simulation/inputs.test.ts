import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { explore, fcSchedule, openTest, runChoices, type ExploreOptions } from '../../src/testing/index.ts'
import type { ArbitraryMaker } from '../../src/testing/index.ts'
import { Ledger, ledgerOptions } from './ledger.ts'
import { order, refusal, wireShop, type Shop } from './shop.ts'

const schedules = fcSchedule(fc as unknown as ArbitraryMaker<unknown>) as fc.Arbitrary<number[]>

type Draw = Parameters<ExploreOptions<Shop>['scenario']>[1]

/** What a scenario draws in each of the first runs. */
async function draws(seed: number, draw: (pick: Draw) => unknown, runs = 8): Promise<unknown[]> {
  const drawn: unknown[] = []
  await explore({
    wire: wireShop(),
    seed,
    fastCheck: fc,
    budget: { runs },
    report: () => {},
    scenario: (_t, pick) => void drawn.push(draw(pick)),
  })
  return drawn
}

const everything = (pick: Draw): unknown => [
  pick.integer(1, 1_000),
  pick.one(['x', 'y', 'z']),
  pick.boolean(0.3),
  pick.list(2, 5, (index) => [index, pick.integer(0, 9)]),
  pick.from(fc.record({ name: fc.string(), total: fc.nat() })),
]

test('TEST-130: the same seed draws the same inputs, another one others', async () => {
  const first = await draws(3, everything)
  expect(await draws(3, everything)).toEqual(first)
  expect(await draws(4, everything)).not.toEqual(first)
})

test('TEST-130: all departures from one plain run have its inputs', async () => {
  const inputs = new Set<string>()
  const report = await explore({
    wire: wireShop(),
    budget: { runs: 25 },
    report: () => {},
    scenario: async (t, pick) => {
      const messages = pick.list(3, 6, () => order(pick.one(['a', 'd', 'b']), pick.integer(1, 100)))
      inputs.add(JSON.stringify(messages))
      await Promise.all(messages.map((message) => t.send('orders', message)))
    },
  })
  expect(report.random).toBe(0)
  expect(inputs.size).toBe(1)
})

test('TEST-131: what is drawn lies within its limits', async () => {
  await draws(
    1,
    (pick) => {
      for (let i = 0; i < 200; i++) {
        expect([2, 3, 4]).toContain(pick.integer(2, 4))
        expect(pick.list(1, 3, () => 0).length).toBeGreaterThanOrEqual(1)
        expect(pick.list(1, 3, () => 0).length).toBeLessThanOrEqual(3)
        expect(['x', 'y']).toContain(pick.one(['x', 'y']))
      }
      expect(pick.boolean(0)).toBe(false)
      expect(pick.boolean(1)).toBe(true)
      expect(() => pick.one([])).toThrow('pick.one')
    },
    5,
  )
})

test('TEST-131: pick.from without fast-check says what is missing', async () => {
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore({ wire: wireShop(), scenario: (_t, pick) => void pick.from(fc.nat()) }),
  )
  expect(message).toContain('pass the module to explore({ fastCheck })')
})

test('TEST-132: fast-check finds, shrinks and replays a failing schedule by its own seed and path', async () => {
  const runs: number[] = []
  const property = fc.asyncProperty(schedules, async (choices) => {
    runs.push(choices.length)
    await runChoices(ledgerOptions(new Ledger(false)), choices)
  })
  const found = await fc.check(property, { seed: 5, numRuns: 200 })
  expect(found.failed).toBe(true)
  expect(found.numShrinks).toBeGreaterThan(0)
  const [choices] = found.counterexample!
  // One departure is enough, so all choices but one are plain.
  expect(choices.filter((choice) => choice !== 0)).toHaveLength(1)
  expect(String(found.errorInstance)).toMatch(/except:\n {4}1\. .*\n {2}charged/)
  runs.length = 0
  const again = await fc.check(property, {
    seed: found.seed,
    path: found.counterexamplePath!,
    numRuns: 1,
    endOnFailure: true,
  })
  expect(again.failed).toBe(true)
  expect(again.counterexample).toEqual(found.counterexample)
  expect(runs).toHaveLength(1)
})

test('TEST-132: what runChoices throws has a token that explore repeats', async () => {
  const options = (): ExploreOptions<Shop> => ledgerOptions(new Ledger(false))
  const found = await fc.check(
    fc.asyncProperty(schedules, (choices) => runChoices(options(), choices)),
    { seed: 6, numRuns: 200 },
  )
  const [, token] = /LANEMQ_REPLAY=(\S+)/.exec(String(found.errorInstance))!
  process.env['LANEMQ_REPLAY'] = token
  try {
    const { message } = await refusal('EXPLORATION_FAILED', () => explore(options()))
    expect(message).toContain('check broken, replayed')
  } finally {
    delete process.env['LANEMQ_REPLAY']
  }
})

test('TEST-132: the right application passes every schedule', async () => {
  await fc.assert(
    fc.asyncProperty(schedules, (choices) => runChoices(ledgerOptions(new Ledger(true)), choices)),
    { numRuns: 300, seed: 1 },
  )
  await runChoices(ledgerOptions(new Ledger(true)), [])
})

test('TEST-133: a plain test and the plain run of an exploration do the same', async () => {
  const order1 = order('a', 3)
  await using t = await openTest({ wire: wireShop() })
  await t.send('orders', order1)
  await t.drain()
  const told = t.timeline()
  let explored = ''
  await explore({
    wire: wireShop(),
    scenario: (one) => one.send('orders', order1),
    check: (one) => void (explored ||= one.timeline()),
    budget: { runs: 1 },
    report: () => {},
  })
  expect(explored).toBe(told)
})
