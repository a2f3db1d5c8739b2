import assert from 'node:assert/strict'
import { idempotencyLimits } from '../../contracts/idempotency-store.ts'
import { callsOf, countOf, withCode, type IdempotencyCase } from './idempotency-case.ts'

const many = Array.from({ length: 64 }, (_, i) => i)

/** Texts that a careless store takes for the same key as another one. */
const oddKeys = [
  'key',
  'KEY',
  'key ',
  ' key',
  'key\0',
  'k\0ey',
  '\0',
  'k:e:y',
  'k:e',
  ':',
  'k/e/y',
  'k.e.y',
  'k%ey',
  'k_ey',
  "k'ey",
  'k"ey',
  'k\\ey',
  'k{e}y',
  'k*y',
  'k?y',
  'k\ney',
  '\u00e9',
  'e\u0301',
  '\ufeffkey',
  '\u{1f6eb}',
  '\u{1f6ec}',
  '\uffff',
  'ß',
  'ss',
  '__proto__',
  'constructor',
  '0',
  '00',
  '-1',
  'undefined',
]

/** Who gets a key, for how long, and what the others are told. */
export const claimCases: readonly IdempotencyCase[] = [
  {
    name: 'the first to begin acquires the key',
    run: async (under) => {
      await callsOf(under).acquire('k')
    },
  },
  {
    name: 'others are busy while the lease runs, told who holds the key and how long it lasts',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k', { owner: 'first' })
      const found = await under.store.begin('k', calls.request({ owner: 'second' }))
      if (found.outcome !== 'busy') return assert.fail(found.outcome)
      assert.equal(found.owner, 'first')
      assert.ok(Number.isSafeInteger(found.retryAfterMs), `${found.retryAfterMs} ms`)
      assert.ok(found.retryAfterMs >= 1 && found.retryAfterMs <= under.leaseMs, `${found.retryAfterMs} ms`)
    },
  },
  {
    name: 'the owner itself is busy too: its name gives it no rights',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k', { owner: 'same' })
      assert.equal(await calls.outcome('k', { owner: 'same' }), 'busy')
    },
  },
  {
    name: 'who waits as long as it was told gets the key',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k')
      await under.advance(under.leaseMs / 4)
      const found = await under.store.begin('k', calls.request())
      if (found.outcome !== 'busy') return assert.fail(found.outcome)
      assert.ok(found.retryAfterMs <= under.leaseMs * 0.75 + 1, `${found.retryAfterMs} ms`)
      await under.advance(found.retryAfterMs)
      await calls.acquire('k')
    },
  },
  {
    name: 'of many who begin at once exactly one acquires the key',
    run: async (under) => {
      const calls = callsOf(under)
      for (const key of ['a', 'b', 'c']) {
        const outcomes = await Promise.all(many.map((i) => calls.outcome(key, { owner: `o${i}` })))
        assert.deepEqual(countOf(outcomes), { acquired: 1, busy: 63 })
      }
    },
  },
  {
    name: 'of many who take over a lapsed key at once exactly one acquires it',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k')
      await under.advance(under.leaseMs)
      const outcomes = await Promise.all(many.map((i) => calls.outcome('k', { owner: `o${i}` })))
      assert.deepEqual(countOf(outcomes), { acquired: 1, busy: 63 })
    },
  },
  {
    name: 'of many who begin at once through two openings exactly one acquires the key',
    requires: 'shared',
    run: async (under) => {
      const both = [callsOf(under), callsOf(under, await under.another!())]
      const outcomes = await Promise.all(many.map((i) => both[i % 2]!.outcome('k', { owner: `o${i}` })))
      assert.deepEqual(countOf(outcomes), { acquired: 1, busy: 63 })
    },
  },
  {
    name: 'what one opening did the other one sees at once, fences included',
    requires: 'shared',
    run: async (under) => {
      const [here, there] = [callsOf(under), callsOf(under, await under.another!())]
      const first = await here.acquire('k')
      assert.equal(await there.outcome('k'), 'busy')
      assert.equal(await here.release('k', first), 'accepted')
      const second = await there.acquire('k')
      assert.ok(second > first)
      assert.equal(await here.complete('k', first), 'fenced')
      assert.equal(await there.complete('k', second), 'accepted')
      assert.equal(await here.outcome('k'), 'done')
    },
  },
  {
    name: 'keys are independent of each other',
    run: async (under) => {
      const calls = callsOf(under)
      const keys = many.map((i) => `k${i}`)
      const fences = await Promise.all(keys.map((key) => calls.acquire(key)))
      assert.equal(await calls.complete('k3', fences[3]!), 'accepted')
      assert.equal(await calls.release('k4', fences[4]!), 'accepted')
      assert.equal(await calls.fail('k5', fences[5]!), 'accepted')
      const outcomes = await Promise.all(keys.map((key) => calls.outcome(key)))
      assert.deepEqual(outcomes.slice(0, 7), ['busy', 'busy', 'busy', 'done', 'acquired', 'failed', 'busy'])
      assert.deepEqual(countOf(outcomes), { busy: 61, done: 1, acquired: 1, failed: 1 })
    },
  },
  {
    name: 'keys are compared byte by byte: case, form, spaces, separators and U+0000 count',
    run: async (under) => {
      const calls = callsOf(under)
      for (const key of oddKeys) await calls.complete(key, await calls.acquire(key))
      for (const key of oddKeys) assert.equal(await calls.outcome(key), 'done', JSON.stringify(key))
    },
  },
  {
    name: 'the longest keys are told apart to their last byte; longer ones are refused',
    run: async (under) => {
      const calls = callsOf(under)
      const long = 'é'.repeat(idempotencyLimits.keyBytes / 2 - 1)
      const keys = [`${long}aa`, `${long}ab`, `${long}ba`, `${long}a`]
      for (const key of keys) await calls.acquire(key)
      await assert.rejects(calls.acquire(`${long}aaa`), withCode('MESSAGE_TOO_LARGE'))
      await assert.rejects(calls.complete(`${long}aaa`, 1), withCode('MESSAGE_TOO_LARGE'))
    },
  },
  {
    name: 'an argument that makes no sense is refused, and changes nothing',
    run: async (under) => {
      const calls = callsOf(under)
      const { store } = under
      const invalid = (call: Promise<unknown>): Promise<void> => assert.rejects(call, withCode('INVALID_OPTION'))
      for (const key of ['', '\ud800', 7 as never, undefined as never]) await invalid(calls.acquire(key))
      const tooLong = idempotencyLimits.leaseMs + 1
      for (const leaseMs of [0, -1, 1.5, NaN, Infinity, tooLong, '1' as never])
        await invalid(calls.acquire('k', { leaseMs }))
      const long = 'x'.repeat(idempotencyLimits.nameBytes + 1)
      for (const owner of ['', long, undefined as never]) await invalid(calls.acquire('k', { owner }))
      for (const fingerprint of ['', long, 7 as never]) await invalid(calls.acquire('k', { fingerprint }))
      const fence = await calls.acquire('k')
      for (const ttlMs of [0, -1, 1.5, NaN, undefined as never])
        await invalid(store.complete('k', fence, undefined, { ttlMs }))
      await invalid(calls.renew('k', fence, 0))
      await invalid(calls.release('k', 1.5))
      await invalid(calls.release('k', '1' as never))
      await invalid(store.complete('k', fence, 'text' as never, { ttlMs: calls.longMs }))
      await invalid(store.fail('k', fence, 'text' as never, { ttlMs: calls.longMs }))
      await invalid(store.sweep(0))
      assert.equal(await calls.outcome('k'), 'busy')
      assert.equal(await calls.complete('k', fence), 'accepted')
    },
  },
  {
    name: 'a lease that ended lets another take over',
    run: async (under) => {
      const calls = callsOf(under)
      const first = await calls.acquire('k', { owner: 'first' })
      await under.advance(under.leaseMs)
      const second = await calls.acquire('k', { owner: 'second' })
      assert.ok(second > first, `fence ${second} after ${first}`)
      const found = await under.store.begin('k', calls.request())
      assert.equal(found.outcome === 'busy' && found.owner, 'second')
    },
  },
  {
    name: 'a lease holds before its time has passed, and does not any more when it has',
    requires: 'exactTime',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k')
      await under.advance(under.leaseMs - 1)
      const found = await under.store.begin('k', calls.request())
      assert.deepEqual(found, { outcome: 'busy', retryAfterMs: 1, owner: 'a' })
      await under.advance(1)
      await calls.acquire('k')
    },
  },
  {
    name: 'renewing sets the end of the lease anew, from now on',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      for (let i = 0; i < 3; i++) {
        await under.advance(under.leaseMs / 2)
        assert.equal(await calls.renew('k', fence, 2 * under.leaseMs), 'accepted')
      }
      await under.advance(under.leaseMs)
      assert.equal(await calls.outcome('k'), 'busy')
      await under.advance(under.leaseMs)
      await calls.acquire('k')
    },
  },
  {
    name: 'renewing may shorten a lease',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k', { leaseMs: calls.longMs })
      assert.equal(await calls.renew('k', fence, under.leaseMs), 'accepted')
      await under.advance(under.leaseMs)
      await calls.acquire('k')
    },
  },
  {
    name: 'who asks and is busy does not lengthen the lease',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('k')
      await under.advance(under.leaseMs / 2)
      assert.equal(await calls.outcome('k', { leaseMs: calls.longMs }), 'busy')
      await under.advance(under.leaseMs / 2)
      await calls.acquire('k')
    },
  },
  {
    name: 'releasing lets another try at once',
    run: async (under) => {
      const calls = callsOf(under)
      const first = await calls.acquire('k', { leaseMs: calls.longMs })
      assert.equal(await calls.release('k', first), 'accepted')
      assert.ok((await calls.acquire('k', { owner: 'b' })) > first)
      assert.equal(await calls.outcome('k'), 'busy')
    },
  },
  {
    name: 'the clock of the caller may jump: leases and marks neither end nor last longer',
    requires: 'callerClock',
    run: async (under) => {
      const calls = callsOf(under)
      const day = 86_400_000
      await calls.acquire('lease')
      await calls.complete('mark', await calls.acquire('mark'))
      under.jumpCallerClock!(1_000 * day)
      assert.deepEqual([await calls.outcome('lease'), await calls.outcome('mark')], ['busy', 'done'])
      assert.equal(await calls.sweepAll(), 0)
      under.jumpCallerClock!(-2_000 * day)
      await under.advance(under.leaseMs)
      assert.deepEqual([await calls.outcome('lease'), await calls.outcome('mark')], ['acquired', 'done'])
    },
  },
]
