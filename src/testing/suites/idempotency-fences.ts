import assert from 'node:assert/strict'
import {
  afterReopening,
  callsOf,
  type Calls,
  type IdempotencyCase,
  type IdempotencyUnderTest,
} from './idempotency-case.ts'

/** Every call that an owner can make on its claim. */
const ends: readonly { readonly verb: string; readonly call: Call }[] = [
  { verb: 'complete', call: (calls, fence, key = 'k') => calls.complete(key, fence) },
  { verb: 'fail', call: (calls, fence, key = 'k') => calls.fail(key, fence) },
  { verb: 'renew', call: (calls, fence, key = 'k') => calls.renew(key, fence, calls.longMs) },
  { verb: 'release', call: (calls, fence, key = 'k') => calls.release(key, fence) },
]

type Call = (calls: Calls, fence: number, key?: string) => Promise<string>

/** A claim that lapsed and was taken over. */
async function takenOver(under: IdempotencyUnderTest): Promise<{ calls: Calls; old: number; current: number }> {
  const calls = callsOf(under)
  const old = await calls.acquire('k', { owner: 'old' })
  await under.advance(under.leaseMs)
  return { calls, old, current: await calls.acquire('k', { owner: 'new', leaseMs: 4 * under.leaseMs }) }
}

/** One case for each call, since a store may forget the fence in any of them. */
const oldOwners: readonly IdempotencyCase[] = ends.map(({ verb, call }) => ({
  name: `who was taken over can't ${verb}, and disturbs nothing`,
  run: async (under) => {
    const { calls, old, current } = await takenOver(under)
    assert.equal(await call(calls, old), 'fenced')
    const found = await under.store.begin('k', calls.request())
    assert.equal(found.outcome === 'busy' && found.owner, 'new')
    assert.equal(await calls.complete('k', current), 'accepted')
    assert.equal(await call(calls, old), 'fenced')
    assert.equal(await calls.outcome('k'), 'done')
  },
}))

/** A fence says whose claim it is; a fence that was overtaken moves nothing. */
export const fenceCases: readonly IdempotencyCase[] = [
  ...oldOwners,
  {
    name: 'an old owner does not change the lease of the new one',
    run: async (under) => {
      const { calls, old } = await takenOver(under)
      for (const { call } of ends) assert.equal(await call(calls, old), 'fenced')
      await under.advance(4 * under.leaseMs)
      await calls.acquire('k')
    },
  },
  {
    name: 'who released a claim can do nothing more with it',
    run: async (under) => {
      const calls = callsOf(under)
      const old = await calls.acquire('k')
      await calls.release('k', old)
      for (const { verb, call } of ends) assert.equal(await call(calls, old), 'fenced', verb)
      await calls.acquire('k')
      for (const { verb, call } of ends) assert.equal(await call(calls, old), 'fenced', verb)
      assert.equal(await calls.outcome('k'), 'busy')
    },
  },
  {
    name: 'a fence that was never given is refused, as is that of another key',
    run: async (under) => {
      const calls = callsOf(under)
      for (const { verb, call } of ends) assert.equal(await call(calls, 1), 'fenced', verb)
      const other = await calls.acquire('other')
      for (const { verb, call } of ends) assert.equal(await call(calls, other), 'fenced', verb)
      const fence = await calls.acquire('k')
      for (const { verb, call } of ends) assert.equal(await call(calls, fence + 1), 'fenced', verb)
      assert.deepEqual([await calls.outcome('k'), await calls.outcome('other')], ['busy', 'busy'])
    },
  },
  {
    name: 'fences of a key rise, however its claims ended',
    run: async (under) => {
      const calls = callsOf(under)
      let last = 0
      for (let round = 0; round < 6; round++) {
        const fence = await calls.acquire('k')
        assert.ok(fence > last, `fence ${fence} after ${last}`)
        last = fence
        if (round % 3 === 0) await calls.release('k', fence)
        if (round % 3 === 1) await calls.complete('k', fence, under.leaseMs)
        if (round % 3 !== 0) await under.advance(under.leaseMs)
        if (round > 2) await calls.sweepAll()
      }
    },
  },
  {
    name: 'a fence is not used again after everything about the key was swept',
    run: async (under) => {
      const calls = callsOf(under)
      const keys = ['done', 'failed', 'lapsed', 'released']
      const fences: number[] = []
      for (const key of keys) fences.push(await calls.acquire(key))
      await calls.complete('done', fences[0]!, under.leaseMs)
      await calls.fail('failed', fences[1]!, under.leaseMs)
      await calls.release('released', fences[3]!)
      await under.advance(under.leaseMs)
      await calls.sweepAll()
      for (const [i, key] of keys.entries()) {
        const fence = await calls.acquire(key, { leaseMs: calls.longMs })
        assert.ok(fence > fences[i]!, `${key}: fence ${fence} after ${fences[i]}`)
        assert.equal(await calls.complete(key, fences[i]!), 'fenced', key)
      }
    },
  },
  {
    name: 'fences rise over a reopening',
    requires: 'durable',
    run: async (under) => {
      const before = callsOf(under)
      const fences = [await before.acquire('kept', { leaseMs: 4 * under.leaseMs }), await before.acquire('gone')]
      await before.release('gone', fences[1]!)
      const after = callsOf(under, await under.reopen!())
      assert.equal(await after.outcome('kept'), afterReopening(under))
      assert.ok((await after.acquire('gone')) > fences[1]!)
      await under.advance(4 * under.leaseMs)
      assert.ok((await after.acquire('kept')) > fences[0]!)
      assert.equal(await after.complete('kept', fences[0]!), 'fenced')
    },
  },
  {
    name: 'a late owner whom nobody took over may still renew, complete, fail or release',
    run: async (under) => {
      const calls = callsOf(under)
      const fences = new Map<string, number>()
      for (const { verb } of ends) fences.set(verb, await calls.acquire(verb))
      await under.advance(2 * under.leaseMs)
      for (const { verb, call } of ends) assert.equal(await call(calls, fences.get(verb)!, verb), 'accepted', verb)
      const outcomes = await Promise.all(ends.map(({ verb }) => calls.outcome(verb)))
      assert.deepEqual(outcomes, ['done', 'failed', 'busy', 'acquired'])
    },
  },
  {
    name: 'a claim that has ended does not end in another way, and its mark stands',
    run: async (under) => {
      const calls = callsOf(under)
      const done = await calls.acquire('done')
      await calls.complete('done', done)
      assert.equal(await calls.fail('done', done), 'fenced')
      assert.equal(await calls.renew('done', done), 'fenced')
      assert.equal(await calls.release('done', done), 'fenced')
      const failed = await calls.acquire('failed')
      await calls.fail('failed', failed)
      assert.equal(await calls.complete('failed', failed), 'fenced')
      assert.equal(await calls.renew('failed', failed), 'fenced')
      assert.equal(await calls.release('failed', failed), 'fenced')
      assert.deepEqual([await calls.outcome('done'), await calls.outcome('failed')], ['done', 'failed'])
    },
  },
  {
    name: 'repeating the call that ended a claim is accepted and changes nothing, since its answer may have been lost',
    run: async (under) => {
      const calls = callsOf(under)
      const done = await calls.acquire('done')
      const failed = await calls.acquire('failed')
      const ttlMs = 4 * under.leaseMs
      for (let i = 0; i < 3; i++)
        assert.equal(await calls.complete('done', done, i === 0 ? ttlMs : calls.longMs), 'accepted')
      for (const message of ['first', 'second']) {
        const { outcome } = await under.store.fail('failed', failed, { name: 'Error', message }, { ttlMs })
        assert.equal(outcome, 'accepted')
      }
      const found = await under.store.begin('failed', calls.request())
      assert.equal(found.outcome === 'failed' && found.error.message, 'first')
      await under.advance(ttlMs)
      assert.deepEqual([await calls.outcome('done'), await calls.outcome('failed')], ['acquired', 'acquired'])
    },
  },
]
