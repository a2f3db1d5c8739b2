import assert from 'node:assert/strict'
import { callsOf, withCode, type IdempotencyCase } from './idempotency-case.ts'

/** Marks that commit with a transaction of the user. */
export const transactionCases: readonly IdempotencyCase[] = [
  {
    name: 'a mark commits with the transaction it was made in',
    requires: 'transactional',
    run: async (under) => {
      const calls = callsOf(under)
      const [done, failed] = [await calls.acquire('done'), await calls.acquire('failed')]
      const ttlMs = calls.longMs
      await under.transaction!(async (transaction) => {
        const completion = await under.store.complete('done', done, undefined, { ttlMs, transaction })
        const failure = await under.store.fail('failed', failed, { name: 'E', message: 'no' }, { ttlMs, transaction })
        assert.deepEqual([completion.outcome, failure.outcome], ['accepted', 'accepted'])
      })
      assert.deepEqual([await calls.outcome('done'), await calls.outcome('failed')], ['done', 'failed'])
    },
  },
  {
    name: 'a mark goes with the transaction that is rolled back: the claim is as it was',
    requires: 'transactional',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k', { leaseMs: calls.longMs })
      const over = under.transaction!(async (transaction) => {
        await under.store.complete('k', fence, undefined, { ttlMs: calls.longMs, transaction })
        throw new RangeError('the effect failed')
      })
      await assert.rejects(over, RangeError)
      assert.equal(await calls.outcome('k'), 'busy')
      assert.equal(await calls.release('k', fence), 'accepted')
      await calls.acquire('k')
    },
  },
  {
    name: 'an old owner is fenced inside a transaction too',
    requires: 'transactional',
    run: async (under) => {
      const calls = callsOf(under)
      const old = await calls.acquire('k')
      await calls.release('k', old)
      await calls.acquire('k', { leaseMs: calls.longMs })
      await under.transaction!(async (transaction) => {
        const late = await under.store.complete('k', old, undefined, { ttlMs: calls.longMs, transaction })
        assert.equal(late.outcome, 'fenced')
      })
      assert.equal(await calls.outcome('k'), 'busy')
    },
  },
  {
    name: 'a transaction is refused where the store takes part in none, and the claim goes on',
    unless: 'transactional',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      const options = { ttlMs: calls.longMs, transaction: {} }
      await assert.rejects(under.store.complete('k', fence, undefined, options), withCode('UNSUPPORTED'))
      const failure = under.store.fail('k', fence, { name: 'E', message: 'no' }, options)
      await assert.rejects(failure, withCode('UNSUPPORTED'))
      assert.equal(await calls.complete('k', fence), 'accepted')
    },
  },
]
