import assert from 'node:assert/strict'
import { casesOf, type ConformanceCase, type ConformanceSubject } from './conformance.ts'
import {
  idempotencyFeatures,
  type IdempotencyCase,
  type IdempotencyFeature,
  type IdempotencyUnderTest,
} from './idempotency-case.ts'
import { claimCases } from './idempotency-claims.ts'
import { expiryCases } from './idempotency-expiry.ts'
import { fenceCases } from './idempotency-fences.ts'
import { markCases } from './idempotency-marks.ts'
import { transactionCases } from './idempotency-transactions.ts'

/** An idempotency store and what it can do. */
export type IdempotencySubject = ConformanceSubject<IdempotencyUnderTest, IdempotencyFeature>

/** Subscriptions trust the capabilities at the door, so they have to be true. */
const capabilityCases: readonly IdempotencyCase[] = (['durable', 'results', 'transactional'] as const).flatMap(
  (one) => [
    {
      name: `a store that is declared '${one}' says so`,
      requires: one,
      run: async ({ store }) => assert.equal(store.capabilities[one], true),
    },
    {
      name: `a store that is not declared '${one}' does not say so`,
      unless: one,
      run: async ({ store }) => assert.equal(store.capabilities[one], false),
    },
  ],
)

/** What every `IdempotencyStore` must do; see {@link ConformanceCase} for how a test runner takes it. */
export function idempotencySuite(subject: IdempotencySubject): ConformanceCase<IdempotencyFeature>[] {
  const cases = [...capabilityCases, ...claimCases, ...fenceCases, ...markCases, ...expiryCases, ...transactionCases]
  return casesOf(cases, subject, idempotencyFeatures)
}
