import { describe, expect, test } from 'vitest'
import { brokerSuite } from '../../src/testing/suites/broker-suite.ts'
import { runSuite, type CaseOutcome, type ConformanceCase } from '../../src/testing/suites/conformance.ts'
import { idempotencySuite } from '../../src/testing/suites/idempotency-suite.ts'
import { storageSuite } from '../../src/testing/suites/storage-suite.ts'
import { memoryIdempotency, servedIdempotency } from './idempotency-subjects.ts'
import { memoryBroker, memoryStorage } from './subjects.ts'

/** Each suite with a subject whose features are chosen by the test, and the features that the subject really has. */
const suites: Record<string, { full: string[]; cases: (features: Record<string, boolean>) => ConformanceCase[] }> = {
  storage: {
    full: ['durable', 'crash'],
    cases: (features) => storageSuite({ ...memoryStorage(), features }),
  },
  broker: {
    full: ['durable', 'exactProgress', 'effects', 'crash'],
    cases: (features) => brokerSuite({ ...memoryBroker(), features }),
  },
  'idempotency store': {
    full: ['durable', 'results', 'transactional', 'shared', 'exactTime', 'callerClock'],
    cases: (features) => idempotencySuite({ ...servedIdempotency(), features }),
  },
}

const declare = (flags: readonly string[]): Record<string, boolean> =>
  Object.fromEntries(flags.map((flag) => [flag, true]))

for (const [title, { full, cases }] of Object.entries(suites)) {
  describe(`the suite of a ${title}`, () => {
    test('has names that differ, and the same ones for every subject', () => {
      const names = cases(declare(full)).map(({ name }) => name)
      expect(new Set(names).size).toBe(names.length)
      expect(cases({}).map(({ name }) => name)).toEqual(names)
    })

    test('passes a sound subject, and counts what does not apply to it', async () => {
      const all = cases(declare(full))
      const { passed, failed, skipped } = await runSuite(all)
      expect(failed).toEqual([])
      expect(passed.length + skipped.length).toBe(all.length)
      expect(skipped.length).toBe(all.filter((one) => one.skipped !== undefined).length)
    })

    test.each(full)("counts the cases that need '%s' as skipped when it is not declared", (flag) => {
      const all = cases(declare(full.filter((one) => one !== flag)))
      const gated = all.filter(({ requires }) => requires === flag)
      expect(gated.length).toBeGreaterThan(0)
      for (const { skipped } of gated) expect(skipped).toBe(`needs '${flag}', which is not declared`)
    })

    test('fails a subject that can do more than it declares: its users would be told less than the truth', async () => {
      const undeclared = cases({}).filter(({ requires, skipped }) => requires === undefined && skipped === undefined)
      const { failed } = await runSuite(undeclared)
      expect(failed.length).toBeGreaterThan(0)
      expect(failed.map(({ name }) => name).join()).toMatch(/not (survive|durable|declared)/)
    })

    test('refuses a feature that it does not know, which would skip its cases for ever', () => {
      expect(() => cases({ durabel: true })).toThrow(/feature 'durabel' is unknown; there are durable/)
      expect(() => cases({ durable: 'yes' as never })).toThrow(/'durable' has to be true or false/)
    })
  })
}

describe('runSuite', () => {
  const fine = { name: 'fine', run: async () => {} }
  const wrong = new Error('wrong')
  const broken = { name: 'broken', run: () => Promise.reject(wrong) }

  test('puts each case in one list, and goes on after a failure', async () => {
    const seen: CaseOutcome[] = []
    const cases = [fine, broken, { name: 'left out', skipped: 'for a reason', run: () => Promise.reject(wrong) }, fine]
    const result = await runSuite(cases, { report: (outcome) => seen.push(outcome) })
    expect(result).toEqual({
      passed: ['fine', 'fine'],
      failed: [{ name: 'broken', error: wrong }],
      skipped: [{ name: 'left out', reason: 'for a reason' }],
    })
    expect(seen.map(({ outcome }) => outcome)).toEqual(['passed', 'failed', 'skipped', 'passed'])
  })

  test('gives a case that never ends up', async () => {
    const stuck = { name: 'stuck', run: () => new Promise<void>(() => {}) }
    const { passed, failed } = await runSuite([stuck, fine], { timeoutMs: 20 })
    expect(passed).toEqual(['fine'])
    expect(failed).toMatchObject([{ name: 'stuck', error: { code: 'WOULD_HANG' } }])
  })

  test('a skipped case that is run all the same fails, so that no adapter counts it as passed', async () => {
    const skipped = idempotencySuite(memoryIdempotency).filter((one) => one.skipped !== undefined)
    expect(skipped.length).toBeGreaterThan(0)
    for (const { run } of skipped) await expect(run()).rejects.toThrow(/does not apply/)
  })

  test('disposes of the subject, whether its case passes or fails', async () => {
    let open = 0
    const { open: openStore } = memoryStorage()
    const counting = async (): ReturnType<typeof openStore> => {
      const under = await openStore()
      open++
      const dispose = async (): Promise<void> => {
        await under.dispose()
        open--
      }
      return { ...under, dispose, reopen: () => Promise.reject(wrong) }
    }
    const { failed } = await runSuite(storageSuite({ features: { durable: true }, open: counting }))
    expect(failed.length).toBeGreaterThan(3)
    expect(open).toBe(0)
  })
})
