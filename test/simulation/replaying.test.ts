import { afterEach, expect, test } from 'vitest'
import { explore, type ExploreOptions, type TestError } from '../../src/testing/index.ts'
import { Ledger, ledgerOptions } from './ledger.ts'
import { order, refusal, wireShop, type Shop } from './shop.ts'

const realToken = process.env['LANEMQ_REPLAY']

afterEach(() => {
  if (realToken === undefined) delete process.env['LANEMQ_REPLAY']
  else process.env['LANEMQ_REPLAY'] = realToken
})

function tokenOf({ message }: TestError): string {
  return /replay: LANEMQ_REPLAY=(\S+)/.exec(message)![1]!
}

/** Runs `call` as if the token were in the environment. */
async function replayed<T>(token: string, call: () => Promise<T>): Promise<T> {
  process.env['LANEMQ_REPLAY'] = token
  try {
    return await call()
  } finally {
    delete process.env['LANEMQ_REPLAY']
  }
}

/** The failure that exploring the careless ledger gives. */
function careless(more: Partial<ExploreOptions<Shop>> = {}): Promise<TestError> {
  return refusal('EXPLORATION_FAILED', () => explore(ledgerOptions(new Ledger(false), more)))
}

test('TEST-110: a charge that is not idempotent is found, and shrunk to one deviation', async () => {
  const error = await careless({ name: 'ledger' })
  expect(error.message).toMatch(
    /^ledger: check broken, found in run \d+, shrunk \d+ -> 1 deviation \(\d+ runs, \d+ ms\)/,
  )
  expect(error.message).toMatch(/the plain run, except:\n {4}1\. \S.* at "/)
  expect(error.message).toMatch(/charged \d+ instead of 31/)
  expect(error).toMatchObject({ broken: 'check', deviations: { length: 1 } })
})

test('TEST-110: so is one that only a crash finds, and the story names the crash', async () => {
  const error = await careless({ faults: ['schedule', 'crash', 'slow', 'rebalance'] })
  expect(error.message).toContain('-> 1 deviation')
  expect(error.message).toMatch(
    /1\. process crash at "(handler:done|settle:before|commit:before|send:before|handler:start)/,
  )
  expect(error.message).toContain('crash    process at')
  expect(error.message).toContain('restart  life 2')
})

test('TEST-111: what needs two deviations is shrunk to two, from every seed', { timeout: 60_000 }, async () => {
  // Nothing single finds it: two messages have to be charged twice each.
  const sizes: number[] = []
  for (let seed = 1; seed <= 2; seed++) {
    const ledger = new Ledger(false)
    const check = (): void => {
      if (ledger.total - 31 >= 20) throw new Error('far too much')
    }
    const options = ledgerOptions(ledger, { seed, check, faults: ['duplicate', 'schedule'], budget: { runs: 3_000 } })
    const error = await refusal('EXPLORATION_FAILED', () => explore(options))
    sizes.push((error as TestError & { deviations: unknown[] }).deviations.length)
  }
  // 16 and 4, 16 and 8: two duplicates.
  expect(sizes).toEqual([2, 2])
})

test(
  'TEST-111: what random schedules find among much else is shrunk to what it takes',
  { timeout: 60_000 },
  async () => {
    const befores: number[] = []
    for (let seed = 1; seed <= 3; seed++) {
      const error = await refusal('EXPLORATION_FAILED', () =>
        explore({
          wire: wireShop(),
          seed,
          faults: ['wallClock', 'slow', 'schedule'],
          budget: { runs: 20_000 },
          scenario: (t) => Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))]),
          // More than pairs can do.
          check: (t) => {
            if (t.history.of('jumped').length >= 3) throw new Error('a third jump')
          },
        }),
      )
      const [, before, after] = /shrunk (\d+) -> (\d+) deviations/.exec(error.message)!
      befores.push(Number(before))
      expect(after).toBe('3')
    }
    expect(Math.max(...befores)).toBeGreaterThan(3)
  },
)

test('TEST-112: the idempotent ledger passes the same budget', { timeout: 60_000 }, async () => {
  const report = await explore(ledgerOptions(new Ledger(true), { budget: { runs: 800 } }))
  expect(report.depth).toBeGreaterThanOrEqual(1)
})

test('TEST-113: the token repeats the same failure and runs nothing else', async () => {
  const error = await careless()
  const ledger = new Ledger(false)
  let runs = 0
  const reset = (): void => {
    runs++
    ledger.reset()
  }
  const again = await replayed(tokenOf(error), () =>
    refusal('EXPLORATION_FAILED', () => explore(ledgerOptions(ledger, { reset }))),
  )
  expect(runs).toBe(1)
  expect(again.message).toContain('check broken, replayed')
  expect(tokenOf(again)).toBe(tokenOf(error))
  // The story, the error and the timeline are those of before.
  const story = (text: string): string => text.slice(text.indexOf('\n'))
  expect(story(again.message)).toBe(story(error.message))
})

test('TEST-113: a token of a random schedule does so too', { timeout: 60_000 }, async () => {
  // More than pairs can do.
  const check: ExploreOptions<Shop>['check'] = (t) => {
    if (t.history.of('jumped').length >= 3) throw new Error('a third jump')
  }
  const explored = (): Promise<TestError> => {
    const options = ledgerOptions(new Ledger(true), { check, budget: { runs: 5_000 }, faults: ['wallClock'] })
    return refusal('EXPLORATION_FAILED', () => explore(options))
  }
  const error = await explored()
  expect((error as TestError & { deviations: unknown[] }).deviations).toHaveLength(3)
  const again = await replayed(tokenOf(error), explored)
  expect(again.message).toContain('replayed')
  expect(again.message).toContain('a third jump')
})

test('TEST-114: when the mistake is repaired the replay passes', async () => {
  const error = await careless({ faults: ['crash'] })
  const ledger = new Ledger(true)
  const report = await replayed(tokenOf(error), () => explore(ledgerOptions(ledger)))
  expect(report.schedules).toBe(1)
})

test('TEST-114: a passing replay does not promise what an exploration does', async () => {
  const error = await careless({ faults: ['crash'] })
  const { guarantee } = await replayed(tokenOf(error), () => explore(ledgerOptions(new Ledger(true))))
  expect(guarantee).toContain('replay')
})

test('TEST-115: a token of another version says so', async () => {
  const error = await careless()
  const token = tokenOf(error).replace(/^lanemq\d+/, 'lanemq99')
  const { message } = await replayed(token, () =>
    refusal('REPLAY_TOKEN', () => explore(ledgerOptions(new Ledger(true)))),
  )
  expect(message).toContain('version 99')
  expect(message).toContain('explore again')
})

function tokenWith(value: unknown): string {
  return `lanemq1.${Buffer.from(JSON.stringify(value)).toString('base64url')}`
}

test('TEST-115: a damaged token says so, however it is damaged', async () => {
  const token = tokenOf(await careless())
  const [head, body] = token.split('.') as [string, string]
  const damaged = [
    token.slice(0, -7),
    token.slice(0, 12),
    'lanemq1',
    'lanemq1.',
    'nonsense',
    `${head}.${body.slice(10)}`,
    tokenWith(null),
    tokenWith({ n: 'explore', s: 'x', g: 1, d: [] }),
    tokenWith({ n: 'explore', s: 1, g: 1, d: 'all' }),
  ]
  for (const one of damaged) {
    await replayed(one, () => refusal('REPLAY_TOKEN', () => explore(ledgerOptions(new Ledger(true)))))
  }
})

test('TEST-115: so does one whose deviations make no sense', async () => {
  const deviations = [null, { kind: 'explode', at: 'x', nth: 1 }, { kind: 'fault', at: 'x', nth: 1, times: 1 }]
  for (const one of deviations) {
    const token = tokenWith({ n: 'explore', s: 1, g: 1, d: [one] })
    await replayed(token, () => refusal('REPLAY_TOKEN', () => explore(ledgerOptions(new Ledger(true)))))
  }
})

test('TEST-116: a token of another exploration is left to that one', async () => {
  const token = tokenOf(await careless({ name: 'payments' }))
  const report = await replayed(token, () =>
    explore(ledgerOptions(new Ledger(true), { name: 'refunds', budget: { runs: 40 } })),
  )
  expect(report.schedules).toBeGreaterThanOrEqual(40)
})

test('TEST-116: an empty variable is no token', async () => {
  const report = await replayed('', () => explore(ledgerOptions(new Ledger(true), { budget: { runs: 40 } })))
  expect(report.schedules).toBeGreaterThanOrEqual(40)
})

test('TEST-117: a replay that never meets its moment says that the code has changed', async () => {
  const token = tokenOf(await careless({ faults: ['crash'] }))
  // The topic has another name by now.
  const renamed: ExploreOptions = {
    wire: async (mq) => {
      const topic = await mq.topic('payments')
      await topic.subscribe('billing', () => {}, { from: 'earliest' })
    },
    scenario: (t) => t.send('payments', order('a')),
    report: () => {},
  }
  const { message } = await replayed(token, () => refusal('DIVERGED', () => explore(renamed)))
  expect(message).toContain('the code has changed')
  expect(message).toContain('orders[')
})

test('TEST-117: one that meets something else at its moment says what it found', async () => {
  const wire = wireShop()
  const started: string[] = []
  const scenario: ExploreOptions<Shop>['scenario'] = (t) =>
    Promise.all(['a', 'd', 'f'].map((key) => t.send('orders', order(key))))
  const check: ExploreOptions<Shop>['check'] = (t) => {
    const first = t.history.of('start')[0]!.key
    started.push(first!)
    if (first !== 'a') throw new Error('another one came first')
  }
  const error = await refusal('EXPLORATION_FAILED', () => explore({ wire, scenario, check, faults: ['schedule'] }))
  expect(error.message).toMatch(/"start billing orders\[1]@0" runs before|waits until nothing else can run/)
  const fewer: ExploreOptions<Shop>['scenario'] = (t) => t.send('orders', order('a'))
  const token = tokenOf(error)
  const { message } = await replayed(token, () => refusal('DIVERGED', () => explore({ wire, scenario: fewer, check })))
  expect(message).toMatch(/diverged at decision \d+: expected ".+", found |never came to/)
})

test('TEST-117: so does one whose alternative is not there', async () => {
  const [at, instead] = ['start billing orders[0]@0', 'start billing nowhere[0]@0']
  const token = tokenWith({ n: 'explore', s: 1, g: 1, d: [{ kind: 'run', at, nth: 1, instead }] })
  const { message } = await replayed(token, () => refusal('DIVERGED', () => explore(ledgerOptions(new Ledger(true)))))
  expect(message).toMatch(
    /diverged at decision \d+: expected "start billing nowhere\[0]@0", found start billing orders\[0]@0, /,
  )
})

test('TEST-118: what it prints ends with a command that can be pasted', async () => {
  const lines = (await careless()).message.split('\n')
  expect(lines.at(-1)).toMatch(/^replay: LANEMQ_REPLAY=lanemq\d+\.[\w-]+$/)
})
