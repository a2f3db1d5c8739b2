import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { explore, type DeviationKind, type ExploreOptions, type Invariant, type Wire } from '../../src/testing/index.ts'
import { setTimeout as realSleep } from 'node:timers/promises'
import { Ledger, ledgerOptions } from './ledger.ts'
import { order, refusal, wireShop, type Shop } from './shop.ts'

const quiet = { report: (): void => {} }

/** Two messages: small enough for every single departure and many pairs. */
function small(more: Partial<ExploreOptions<Shop>> = {}): ExploreOptions<Shop> {
  return {
    wire: wireShop(),
    scenario: (t) => Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))]),
    ...quiet,
    ...more,
  }
}

test('TEST-90: a passing exploration says what was tried and no more', async () => {
  const told: string[] = []
  const options = small({ budget: { runs: 400 }, name: 'orders', seed: 7, report: (text) => told.push(text) })
  const report = await explore(options)
  expect(told).toEqual([report.guarantee])
  expect(report).toMatchObject({ depth: 1, seed: 7, singles: { isComplete: true }, pairs: { isComplete: false } })
  expect(report.guarantee).toMatch(
    /^orders: no violation within 1 deviation of the plain run; 4\d\d schedules, \d+ distinct histories \(\d+ single deviations, all of them; \d+ pairs; \d+ random\), seed 7, \d+ ms, \d+ schedules\/s$/,
  )
  expect(report.schedules).toBeGreaterThanOrEqual(400)
  // One schedule may be on its way, and each sample is run twice.
  expect(report.schedules).toBeLessThan(440)
  expect(report.distinct).toBeGreaterThan(50)
})

test('TEST-90: with too few runs for every single departure only the plain run is promised', async () => {
  const report = await explore(small({ budget: { runs: 10 } }))
  expect(report.depth).toBe(0)
  expect(report.singles.isComplete).toBe(false)
  expect(report.guarantee).toContain('no violation in the plain run;')
})

test('TEST-90: with few kinds of faults every pair is tried, and random ones after them', async () => {
  const report = await explore(small({ faults: ['power', 'handlerError'], budget: { runs: 700 } }))
  expect(report).toMatchObject({ depth: 2, singles: { isComplete: true }, pairs: { isComplete: true } })
  expect(report.guarantee).toContain('within 2 deviations')
  expect(report.random).toBeGreaterThan(0)
  const { singles, pairs, random, schedules } = report
  expect(singles.done).toBeGreaterThan(4)
  expect(pairs.done).toBeGreaterThan(singles.done)
  expect(singles.done + pairs.done + random).toBeLessThan(schedules)
})

test('TEST-91: the budget is kept, in runs and in time', async () => {
  const byRuns = await explore(small({ budget: { runs: 100 } }))
  expect(byRuns.schedules).toBeLessThan(110)
  const from = performance.now()
  const byTime = await explore(small({ budget: { ms: 300 } }))
  expect(byTime.schedules).toBeGreaterThan(5)
  // Far from the default of three seconds.
  expect(performance.now() - from).toBeLessThan(2_500)
})

test('TEST-147: a budget that would never be spent, or is none, is refused', async () => {
  for (const [budget, text] of [
    [{ ms: Number.NaN }, 'budget.ms is NaN; allowed is a finite number above 0'],
    [{ ms: Infinity }, 'budget.ms is Infinity; allowed is a finite number above 0'],
    [{ ms: 0 }, 'budget.ms is 0; allowed is a finite number above 0'],
    [{ ms: '500' }, 'budget.ms is 500; allowed is a finite number above 0'],
    [{ ms: 100, runs: Number.NaN }, 'budget.runs is NaN; allowed is a whole number from 1'],
    [{ runs: 0 }, 'budget.runs is 0; allowed is a whole number from 1'],
    [{ runs: 1.5 }, 'budget.runs is 1.5; allowed is a whole number from 1'],
    [500, 'budget is 500; allowed is an object with ms or runs'],
    [null, 'budget is null; allowed is an object with ms or runs'],
  ] as const) {
    const { message } = await refusal('INVALID_OPTION', () => explore(small({ budget: budget as { ms: number } })))
    expect(message).toBe(`explore: ${text}`)
  }
  await explore(small({ budget: { ms: undefined, runs: 3 } as { runs: number } }))
})

test('TEST-92: what the wiring shares with the test is reset before each run', async () => {
  const ledger = new Ledger(true)
  let resets = 0
  const reset = (): void => {
    resets++
    ledger.reset()
  }
  const { schedules } = await explore(ledgerOptions(ledger, { reset, budget: { runs: 200 } }))
  expect(resets).toBe(schedules)
})

test('TEST-93: only the kinds of faults that are allowed happen', async () => {
  const kinds: readonly (readonly [DeviationKind, readonly string[]])[] = [
    ['schedule', ['schedule']],
    ['crash', ['crash']],
    ['power', ['crash']],
    ['handlerError', ['error']],
    ['poison', ['error']],
    ['slow', ['slow']],
    ['stuck', ['hang']],
    ['duplicate', ['duplicate']],
    ['rebalance', ['join', 'leave']],
    ['storeFull', ['full']],
    ['wallClock', ['jump']],
  ]
  for (const [kind, landed] of kinds) {
    const report = await explore(small({ faults: [kind], budget: { runs: 100 } }))
    expect(Object.keys(report.landed).toSorted(), kind).toEqual(landed)
  }
  const none = await explore(small({ faults: [], budget: { runs: 20 } }))
  expect(none.landed).toEqual({})
  await refusal('INVALID_OPTION', () => explore(small({ faults: ['crashes' as 'crash'] })))
})

test('TEST-93: a crash of the process is not one of the power', async () => {
  const powers = new Set<boolean>()
  const always = {
    seen: (t: Parameters<NonNullable<ExploreOptions<Shop>['check']>>[0]): void => {
      for (const { power } of t.history.of('crash')) powers.add(power)
    },
  }
  await explore(small({ faults: ['crash'], budget: { runs: 100 }, always }))
  expect([...powers]).toEqual([false])
  powers.clear()
  await explore(small({ faults: ['power'], budget: { runs: 100 }, always }))
  expect([...powers]).toEqual([true])
})

test('TEST-94: what `always` says is checked at every event of every schedule', async () => {
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore(
      small({
        always: { 'no second attempt': (t) => t.history.of('deliver').every(({ attempt }) => attempt === 1) },
      }),
    ),
  )
  expect(message).toMatch(/^explore: always no second attempt broken, found in run \d+, shrunk \d+ -> 1 deviation /)
  expect(message).toContain('the handler fails at "handler:start billing orders[')
})

test('TEST-94: an `always` that throws says what it threw', async () => {
  const always = {
    bound: () => {
      throw new Error('seven is too much')
    },
  }
  const { message } = await refusal('EXPLORATION_FAILED', () => explore(small({ always })))
  expect(message).toContain('always bound broken')
  expect(message).toContain('seven is too much')
  expect(message).toContain('in the plain run')
})

test('TEST-95: what `eventually` says is checked when everything is drained', async () => {
  const everyone = { 'all handled': (t: { group(name: string): { lag: number } }) => t.group('billing').lag === 0 }
  await explore(small({ eventually: everyone, budget: { runs: 100 } }))
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore(small({ eventually: { once: (t) => t.group('billing').delivered.length === 2 } })),
  )
  expect(message).toContain('eventually once broken')
})

test('TEST-96: what `sometimes` says has to hold somewhere', async () => {
  const budget = { runs: 300 }
  await explore(
    small({ budget, sometimes: { retried: (t) => t.history.of('deliver').some((one) => one.attempt > 1) } }),
  )
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore(
      small({
        budget,
        sometimes: { 'a third partition': (t) => t.history.of('send').some((one) => one.partition > 1) },
      }),
    ),
  )
  expect(message).toContain('sometimes a third partition never held')
})

test('TEST-97: invariants of the user are checked beside those of the queue', async () => {
  const noCrash: Invariant = {
    name: 'no-crash',
    about: 'Nothing crashes.',
    begin: () => ({ crash: ({ point }) => `it crashed at ${point}` }),
  }
  const { message } = await refusal('EXPLORATION_FAILED', () => explore(small({ invariants: [noCrash] })))
  expect(message).toContain('no-crash broken')
  expect(message).toContain('it crashed at')
})

test('TEST-98: a handler that decides by chance is found, with the first line that differs', async () => {
  const wire = wireShop(() => {
    if (Math.random() < 0.5) throw new Error('unlucky')
  })
  const { message } = await refusal('NOT_DETERMINISTIC', () => explore(small({ wire, allowDead: 100 })))
  expect(message).toMatch(/line \d+\n {2}first: {2}.+\n {2}second: .+/)
})

test('TEST-98: one that sends chance is found', async () => {
  const wire: Wire<Shop> = async (mq, context) => {
    const mails = await mq.topic('mails')
    return wireShop(async (message) => void (await mails.send({ key: message.key!, value: Math.random() })))(
      mq,
      context,
    )
  }
  await refusal('NOT_DETERMINISTIC', () => explore(small({ wire, budget: { runs: 100 } })))
})

test('TEST-98: one that differs by nothing but the text of its error is found too', async () => {
  const wire = wireShop((_message, context) => {
    if (context.attempt === 1) throw new Error(`unlucky ${Math.random()}`)
  })
  const { message } = await refusal('NOT_DETERMINISTIC', () => explore(small({ wire, budget: { runs: 100 } })))
  expect(message).toContain('unlucky')
})

test('TEST-99: a handler that waits for real I/O is refused, unless it is declared', async () => {
  const bare = wireShop(() => realSleep(20))
  const { message } = await refusal('IMPURE', () => explore(small({ wire: bare })))
  expect(message).toContain('billing orders[')
  expect(message).toContain('context.external')
})

test('TEST-99: declared waits are no matter, also several at a time', async () => {
  const declared = wireShop((_message, context) => context.external('sleep', () => realSleep(2)))
  await explore(small({ wire: declared, budget: { runs: 30 } }))
})

test('TEST-100: an exploration runs on the store of production too, and leaves nothing', async () => {
  const tmp = process.env['TMPDIR']
  const place = mkdtempSync(join(tmpdir(), 'lanemq-kit-'))
  process.env['TMPDIR'] = place
  const open = new Set<number>()
  try {
    const always = { 'one store': () => void open.add(readdirSync(place).length) }
    const report = await explore(small({ store: 'lmdb-tmp', budget: { runs: 60 }, always }))
    expect(report.schedules).toBeGreaterThanOrEqual(60)
    expect([...open]).toEqual([1])
    expect(readdirSync(place)).toEqual([])
  } finally {
    if (tmp === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = tmp
    rmSync(place, { recursive: true, force: true })
  }
})

test('TEST-101: a scenario that hangs is told, in the plain run', { timeout: 10_000 }, async () => {
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore(small({ scenario: () => new Promise(() => {}) })),
  )
  expect(message).toContain('scenario broken')
  expect(message).toContain('the scenario waits for something that never comes')
  expect(message).toContain('in the plain run')
})

test('TEST-101: so is one that awaits a promise of a process that crashed', { timeout: 20_000 }, async () => {
  const { message } = await refusal('EXPLORATION_FAILED', () =>
    explore(small({ scenario: async (t) => void (await t.wired.orders.send(order('a'))), faults: ['crash'] })),
  )
  expect(message).toContain('test.send outlives crashes')
})

test('TEST-102: a scenario may use every verb', { timeout: 60_000 }, async () => {
  const report = await explore(
    small({
      budget: { runs: 300 },
      scenario: async (t) => {
        await t.send('orders', order('a'))
        await t.settle()
        await t.advance('10s')
        void t.send('orders', order('d'))
        await t.next()
        await t.clock.sleep('1m')
        await t.send('orders', order('a'))
        await t.drain({ allowDead: 10 })
      },
    }),
  )
  expect(report.schedules).toBeGreaterThanOrEqual(300)
})

test('TEST-103: a scenario, a wiring or a check that throws is a failure with its own words', async () => {
  const boom = new Error('no such order')
  const thrower = (): never => {
    throw boom
  }
  for (const [what, options] of [
    ['scenario', small({ scenario: thrower })],
    ['check', small({ check: thrower })],
    ['wire', small({ wire: thrower })],
  ] as const) {
    const error = await refusal('EXPLORATION_FAILED', () => explore(options))
    expect(error.message).toContain(`${what} broken`)
    expect(error.message).toContain('no such order')
    expect(error.cause).toBe(boom)
  }
})
