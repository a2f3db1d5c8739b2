import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideRetry, type RetryPolicy } from '../../../src/dispatch/retry-policy.ts'
import { runs } from '../../runs.ts'

const policy: RetryPolicy = { attempts: 5, type: 'exponential', delayMs: 100, maxDelayMs: 1000, jitter: 0 }

describe('retry policy', () => {
  test('exponential back-off doubles up to the longest wait, then stops after the last attempt', () => {
    const decisions = [1, 2, 3, 4, 5, 6].map((attempt) => decideRetry({ ...policy, maxDelayMs: 500 }, attempt, 0.5))
    expect(decisions).toEqual([
      { outcome: 'retry', delayMs: 100 },
      { outcome: 'retry', delayMs: 200 },
      { outcome: 'retry', delayMs: 400 },
      { outcome: 'retry', delayMs: 500 },
      { outcome: 'stop' },
      { outcome: 'stop' },
    ])
  })

  test('fixed back-off always waits the same', () => {
    for (const attempt of [1, 2, 4]) {
      expect(decideRetry({ ...policy, type: 'fixed' }, attempt, 0.5)).toEqual({ outcome: 'retry', delayMs: 100 })
    }
  })

  test('one attempt means no retry', () => {
    expect(decideRetry({ ...policy, attempts: 1 }, 1, 0.5)).toEqual({ outcome: 'stop' })
  })

  test('every wait is a number from 0 on, however often it was tried and whatever was drawn', () => {
    const policies = fc.record({
      attempts: fc.constant(Infinity),
      type: fc.constantFrom('fixed' as const, 'exponential' as const),
      delayMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 86_400_000, noNaN: true })),
      maxDelayMs: fc.constant(86_400_000),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    const attempts = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 1e6 }))
    fc.assert(
      fc.property(
        policies,
        attempts,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (given, attempt, random) => {
          const decision = decideRetry(given, attempt, random)
          if (decision.outcome !== 'retry') throw new Error('stopped')
          expect(decision.delayMs).toBeGreaterThanOrEqual(0)
          const low = Math.min(given.delayMs, given.maxDelayMs) * (1 - given.jitter)
          expect(decision.delayMs).toBeGreaterThanOrEqual(low * 0.999)
          expect(decision.delayMs).toBeLessThanOrEqual(given.maxDelayMs * (1 + given.jitter) * 1.001)
        },
      ),
      runs(300),
    )
  })

  test('jitter spreads the wait evenly around its middle', () => {
    const waits = [0, 0.25, 0.5, 0.75].map((random) => decideRetry({ ...policy, jitter: 0.2 }, 1, random))
    expect(waits.map((wait) => (wait.outcome === 'retry' ? Math.round(wait.delayMs) : undefined))).toEqual([
      80, 90, 100, 110,
    ])
  })
})
