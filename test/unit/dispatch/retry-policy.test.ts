import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decideRetry,
  type Backoff,
  type BackoffFunction,
  type RetryDecision,
  type RetryPolicy,
} from '../../../src/dispatch/retry-policy.ts'
import { UnrecoverableError } from '../../../src/index.ts'
import { runs } from '../../runs.ts'

const backoff: Backoff = { type: 'exponential', delayMs: 100, maxDelayMs: 1000, jitter: 0 }
const policy: RetryPolicy = { attempts: 5, onExhausted: 'park-key', backoff, retryable: undefined }
const message = { group: 'g', topic: 't', partition: 1, offset: 7, key: 'k' }
const boom = new Error('boom')
const over = { outcome: 'exhausted', reason: 'attempts' }

function decide(given: Partial<RetryPolicy>, attempt: number, error: unknown = boom, random = 0.5): RetryDecision {
  return decideRetry({ ...policy, ...given }, { attempt, error, message }, random)
}

function withBackoff(given: Partial<Backoff>, attempt: number, random = 0.5): RetryDecision {
  return decide({ attempts: Infinity, backoff: { ...backoff, ...given } }, attempt, boom, random)
}

describe('retry policy', () => {
  test('exponential back-off doubles up to the longest wait, then ends after the last attempt', () => {
    const limited = { backoff: { ...backoff, maxDelayMs: 500 } }
    expect([1, 2, 3, 4, 5, 6].map((attempt) => decide(limited, attempt))).toEqual([
      ...[100, 200, 400, 500].map((delayMs) => ({ outcome: 'retry', delayMs })),
      over,
      over,
    ])
  })

  test('fixed back-off always waits the same', () => {
    for (const attempt of [1, 2, 4]) {
      expect(withBackoff({ type: 'fixed' }, attempt)).toEqual({ outcome: 'retry', delayMs: 100 })
    }
  })

  test('one attempt means no retry', () => {
    expect(decide({ attempts: 1 }, 1)).toEqual(over)
  })

  test('a list of waits is taken in turn, and its last one repeats; the longest wait limits them', () => {
    const waits = [1, 2, 3, 4, 99].map((attempt) => withBackoff({ delayMs: [10, 0, 60], maxDelayMs: 50 }, attempt))
    expect(waits).toEqual([10, 0, 50, 50, 50].map((delayMs) => ({ outcome: 'retry', delayMs })))
  })

  test('a function gets the error, the attempt and the message; the longest wait limits what it says', () => {
    const seen: unknown[] = []
    const delayMs: BackoffFunction = (...args) => {
      seen.push(args)
      return 600 * args[1]
    }
    expect([1, 2].map((attempt) => withBackoff({ delayMs }, attempt))).toEqual([
      { outcome: 'retry', delayMs: 600 },
      { outcome: 'retry', delayMs: 1000 },
    ])
    expect(seen).toEqual([
      [boom, 1, message],
      [boom, 2, message],
    ])
  })

  test.each<[string, () => unknown]>([
    ['NaN', () => NaN],
    ['Infinity', () => Infinity],
    ['a negative number', () => -1],
    ['text', () => '5'],
    ['nothing', () => undefined],
    ['a promise that rejects', () => Promise.reject(new Error('late'))],
    [
      'an error thrown',
      () => {
        throw new Error('inside')
      },
    ],
  ])('a function that answers with %s is reported, and the default wait applies', (_what, choose) => {
    const decision = withBackoff({ delayMs: choose as BackoffFunction, maxDelayMs: 5 }, 3)
    const fault = { code: 'INVALID_OPTION', option: 'backoff', cause: boom, topic: 't', offset: 7, key: 'k' }
    expect(decision).toMatchObject({ outcome: 'retry', delayMs: 400, fault })
  })

  test('an unrecoverable error ends it at once, from whichever copy of the package it is', () => {
    const foreign = Object.assign(new Error('of another copy'), { name: 'UnrecoverableError' })
    const own = class extends UnrecoverableError {}
    for (const error of [new UnrecoverableError('no'), foreign, new own('no')])
      expect(decide({ retryable: () => true }, 1, error)).toEqual({ outcome: 'exhausted', reason: 'unrecoverable' })
    expect(decide({}, 1, { name: 'UnrecoverableError' }).outcome).toBe('retry')
  })

  test('only an error that `retryable` answers with false ends it', () => {
    const answers = [false, true, undefined, Promise.resolve(false), Promise.reject(new Error('late'))]
    expect(answers.map((answer) => decide({ retryable: () => answer as boolean }, 1).outcome)).toEqual([
      'exhausted',
      ...answers.slice(1).map(() => 'retry'),
    ])
    expect(decide({ retryable: (error) => error !== boom }, 1)).toMatchObject({ reason: 'not-retryable' })
    const throwing = (): boolean => {
      throw new Error('inside')
    }
    expect(decide({ retryable: throwing }, 1).outcome).toBe('retry')
  })

  test('every wait is a number from 0 on, however often it was tried and whatever was drawn', () => {
    const wait = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 86_400_000, noNaN: true }))
    const backoffs = fc.record({
      type: fc.constantFrom('fixed' as const, 'exponential' as const),
      delayMs: fc.oneof(wait, fc.array(wait, { minLength: 1 })),
      maxDelayMs: fc.constant(86_400_000),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    const attempts = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 1e6 }))
    fc.assert(
      fc.property(
        backoffs,
        attempts,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (given, attempt, random) => {
          const decision = withBackoff(given, attempt, random)
          if (decision.outcome !== 'retry') throw new Error('exhausted')
          expect(decision.delayMs).toBeGreaterThanOrEqual(0)
          const first = Math.min(...[given.delayMs].flat())
          expect(decision.delayMs).toBeGreaterThanOrEqual(first * (1 - given.jitter) * 0.999)
          expect(decision.delayMs).toBeLessThanOrEqual(given.maxDelayMs)
        },
      ),
      runs(300),
    )
  })

  test('jitter spreads the wait evenly around its middle', () => {
    const waits = [0, 0.25, 0.5, 0.75].map((random) => withBackoff({ jitter: 0.2 }, 1, random))
    expect(waits.map((wait) => (wait.outcome === 'retry' ? Math.round(wait.delayMs) : undefined))).toEqual([
      80, 90, 100, 110,
    ])
  })
})
