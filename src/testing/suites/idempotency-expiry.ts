import assert from 'node:assert/strict'
import { afterReopening, callsOf, withCode, type IdempotencyCase } from './idempotency-case.ts'

/** How long marks last, what sweeping removes, and what is there after a restart. */
export const expiryCases: readonly IdempotencyCase[] = [
  {
    name: 'marks last for their time, then the key is free again',
    run: async (under) => {
      const calls = callsOf(under)
      const old = await calls.acquire('done')
      await calls.complete('done', old, 3 * under.leaseMs)
      await calls.fail('failed', await calls.acquire('failed'), 3 * under.leaseMs)
      await under.advance(under.leaseMs)
      assert.deepEqual([await calls.outcome('done'), await calls.outcome('failed')], ['done', 'failed'])
      await under.advance(2 * under.leaseMs)
      assert.ok((await calls.acquire('done')) > old)
      await calls.acquire('failed')
    },
  },
  {
    name: 'a mark holds before its time has passed, and does not any more when it has',
    requires: 'exactTime',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      await under.advance(under.leaseMs - 1)
      await calls.complete('k', fence, 10)
      await under.advance(9)
      assert.equal(await calls.outcome('k'), 'done')
      await under.advance(1)
      assert.equal(await calls.complete('k', fence), 'fenced')
      await calls.acquire('k')
    },
  },
  {
    name: 'a mark that is kept for ever does not end',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.complete('k', await calls.acquire('k'), Infinity)
      await under.advance(4 * under.leaseMs)
      assert.equal(await calls.sweepAll(), 0)
      assert.equal(await calls.outcome('k'), 'done')
    },
  },
  {
    name: 'the time of a mark counts from the end of the work, and asking does not lengthen it',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k', { leaseMs: 8 * under.leaseMs })
      await under.advance(4 * under.leaseMs)
      await calls.complete('k', fence, 4 * under.leaseMs)
      for (let i = 0; i < 2; i++) {
        await under.advance(under.leaseMs)
        assert.equal(await calls.outcome('k', { leaseMs: calls.longMs }), 'done')
      }
      await under.advance(2 * under.leaseMs)
      await calls.acquire('k')
    },
  },
  {
    name: 'a sweep removes at most so many, says how many, and whether there are more',
    run: async (under) => {
      const calls = callsOf(under)
      const keys = Array.from({ length: 10 }, (_, i) => `k${i}`)
      for (const key of keys) await calls.complete(key, await calls.acquire(key), under.leaseMs)
      await under.advance(under.leaseMs)
      assert.deepEqual(await under.store.sweep(4), { removed: 4, more: true })
      assert.equal(await calls.sweepAll(3), 6)
      assert.deepEqual(await under.store.sweep(4), { removed: 0, more: false })
    },
  },
  {
    name: 'a sweep leaves running claims and marks whose time is not over',
    run: async (under) => {
      const calls = callsOf(under)
      const running = await calls.acquire('running', { leaseMs: calls.longMs })
      const renewed = await calls.acquire('renewed')
      await calls.renew('renewed', renewed, calls.longMs)
      await calls.complete('done', await calls.acquire('done'))
      await calls.fail('failed', await calls.acquire('failed'))
      await calls.acquire('lapsed')
      await under.advance(under.leaseMs)
      assert.equal(await calls.sweepAll(1), 1)
      const outcomes = await Promise.all(['running', 'renewed', 'done', 'failed'].map((key) => calls.outcome(key)))
      assert.deepEqual(outcomes, ['busy', 'busy', 'done', 'failed'])
      assert.equal(await calls.complete('running', running), 'accepted')
      assert.equal(await calls.complete('renewed', renewed), 'accepted')
    },
  },
  {
    name: 'the late owner of a claim that was swept is fenced',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      await under.advance(under.leaseMs)
      assert.equal(await calls.sweepAll(), 1)
      assert.equal(await calls.renew('k', fence), 'fenced')
      assert.equal(await calls.complete('k', fence), 'fenced')
      await calls.acquire('k')
    },
  },
  {
    name: 'a closed store refuses everything, and closes again',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      await Promise.all([under.store.close(), under.store.close()])
      await under.store.close()
      const closed = withCode('CLOSED')
      await assert.rejects(calls.acquire('k'), closed)
      await assert.rejects(calls.renew('k', fence), closed)
      await assert.rejects(calls.complete('k', fence), closed)
      await assert.rejects(calls.fail('k', fence), closed)
      await assert.rejects(calls.release('k', fence), closed)
      await assert.rejects(under.store.sweep(1), closed)
    },
  },
  {
    name: 'claims, marks and what they carry are there after a reopening',
    requires: 'durable',
    run: async (under) => {
      const before = callsOf(under)
      const running = await before.acquire('running', { leaseMs: before.longMs, fingerprint: 'f' })
      await before.complete('done', await before.acquire('done', { fingerprint: 'f' }))
      await under.store.fail(
        'failed',
        await before.acquire('failed'),
        { name: 'E', message: 'no' },
        { ttlMs: before.longMs },
      )
      await before.release('released', await before.acquire('released'))
      const after = callsOf(under, await under.reopen!())
      const keys = ['running', 'done', 'failed', 'released']
      const outcomes = await Promise.all(keys.map((key) => after.outcome(key)))
      assert.deepEqual(outcomes, [afterReopening(under), 'done', 'failed', 'acquired'])
      assert.equal(await after.outcome('done', { fingerprint: 'g' }), 'mismatch')
      const found = await after.store.begin('failed', after.request())
      assert.equal(found.outcome === 'failed' && found.error.message, 'no')
      // Who took it over is not disturbed by the one that is gone.
      const late = under.store.capabilities.exclusive ? 'fenced' : 'accepted'
      assert.equal(await after.complete('running', running), late)
    },
  },
]
