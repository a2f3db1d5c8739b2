import assert from 'node:assert/strict'
import { idempotencyLimits, type RememberedError } from '../../contracts/idempotency-store.ts'
import { callsOf, withCode, type Calls, type IdempotencyCase } from './idempotency-case.ts'

/** Every byte, and more than one of each. */
const everyByte = Uint8Array.from({ length: 1_024 }, (_, i) => i % 256)

async function completeWith(calls: Calls, key: string, result: Uint8Array | undefined): Promise<void> {
  const fence = await calls.acquire(key)
  const { outcome } = await calls.store.complete(key, fence, result, { ttlMs: calls.longMs })
  assert.equal(outcome, 'accepted')
}

async function remembered(calls: Calls, key: string, error: RememberedError): Promise<RememberedError> {
  const fence = await calls.acquire(key)
  assert.equal((await calls.store.fail(key, fence, error, { ttlMs: calls.longMs })).outcome, 'accepted')
  const found = await calls.store.begin(key, calls.request())
  return found.outcome === 'failed' ? found.error : assert.fail(found.outcome)
}

/** What completed and failed work leaves behind. */
export const markCases: readonly IdempotencyCase[] = [
  {
    name: 'completed work is done for all who ask, and stays so',
    run: async (under) => {
      const calls = callsOf(under)
      await completeWith(calls, 'k', undefined)
      await under.advance(2 * under.leaseMs)
      for (const owner of ['a', 'b']) {
        assert.deepEqual(await under.store.begin('k', calls.request({ owner })), { outcome: 'done', result: undefined })
      }
    },
  },
  {
    name: 'a stored result comes back byte for byte',
    requires: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      await completeWith(calls, 'k', everyByte)
      for (let i = 0; i < 2; i++) assert.deepEqual(Buffer.from((await calls.result('k'))!), Buffer.from(everyByte))
    },
  },
  {
    name: 'an empty result is not the same as none',
    requires: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      await completeWith(calls, 'empty', new Uint8Array(0))
      await completeWith(calls, 'none', undefined)
      assert.equal((await calls.result('empty'))?.byteLength, 0)
      assert.equal(await calls.result('none'), undefined)
    },
  },
  {
    name: 'the first result stays when its completion is repeated with another',
    requires: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      for (const byte of [1, 2]) {
        const { outcome } = await under.store.complete('k', fence, Uint8Array.of(byte), { ttlMs: calls.longMs })
        assert.equal(outcome, 'accepted')
      }
      assert.deepEqual([...(await calls.result('k'))!], [1])
    },
  },
  {
    name: 'results are copied on the way in and out',
    requires: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      // A window into a larger buffer, as codecs return them.
      const result = Uint8Array.of(9, 1, 2, 3, 9).subarray(1, 4)
      const completion = under.store.complete('k', fence, result, { ttlMs: calls.longMs })
      result.fill(7)
      await completion
      const first = (await calls.result('k'))!
      assert.deepEqual([...first], [1, 2, 3])
      first.fill(8)
      assert.deepEqual([...(await calls.result('k'))!], [1, 2, 3])
    },
  },
  {
    name: 'the longest result is kept; a longer one is refused, and the claim goes on',
    requires: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      const { maxResultBytes } = under.store
      assert.ok(Number.isSafeInteger(maxResultBytes) && maxResultBytes >= everyByte.byteLength)
      const fence = await calls.acquire('k')
      const tooLong = under.store.complete('k', fence, new Uint8Array(maxResultBytes + 1), { ttlMs: calls.longMs })
      await assert.rejects(tooLong, withCode('MESSAGE_TOO_LARGE'))
      assert.equal(await calls.outcome('k'), 'busy')
      const longest = new Uint8Array(maxResultBytes).fill(5)
      const { outcome } = await under.store.complete('k', fence, longest, { ttlMs: calls.longMs })
      assert.equal(outcome, 'accepted')
      assert.ok(Buffer.from(longest).equals((await calls.result('k'))!))
    },
  },
  {
    name: 'a result is refused where none are kept, and the claim goes on',
    unless: 'results',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      const completion = under.store.complete('k', fence, everyByte, { ttlMs: calls.longMs })
      await assert.rejects(completion, withCode('UNSUPPORTED'))
      assert.equal(await calls.complete('k', fence), 'accepted')
    },
  },
  {
    name: 'a permanent failure is remembered, with name, message and code',
    run: async (under) => {
      const calls = callsOf(under)
      const error = { name: 'CardDeclined', message: 'no möney\n\u{1f4b3}', code: 'E_CARD' }
      assert.deepEqual({ ...(await remembered(calls, 'k', error)) }, error)
      const plain = await remembered(calls, 'plain', { name: 'Error', message: '' })
      assert.deepEqual([plain.name, plain.message, plain.code], ['Error', '', undefined])
    },
  },
  {
    name: 'an error of the language is remembered too; its long texts may be cut, never refused',
    run: async (under) => {
      const calls = callsOf(under)
      const error = new RangeError('x'.repeat(200_000))
      const { name, message } = await remembered(calls, 'long', error)
      assert.equal(name, 'RangeError')
      assert.ok(
        message.length >= idempotencyLimits.errorChars && error.message.startsWith(message),
        message.slice(0, 99),
      )
      const pairs = (await remembered(calls, 'pairs', { name: 'E', message: `.${'\u{1f6eb}'.repeat(9_999)}` })).message
      assert.ok(pairs.isWellFormed() && pairs.length >= idempotencyLimits.errorChars - 1)
      const broken = await remembered(calls, 'broken', { name: 'E', message: 'half \ud83d' })
      assert.ok(broken.message.startsWith('half '))
    },
  },
  {
    name: 'a remembered failure is copied on the way in and out',
    run: async (under) => {
      const calls = callsOf(under)
      const fence = await calls.acquire('k')
      const error = { name: 'E', message: 'first' }
      const failure = under.store.fail('k', fence, error, { ttlMs: calls.longMs })
      error.message = 'changed'
      await failure
      for (let i = 0; i < 2; i++) {
        const found = await under.store.begin('k', calls.request())
        if (found.outcome !== 'failed') return assert.fail(found.outcome)
        assert.equal(found.error.message, 'first')
        ;(found.error as { message: string }).message = 'mine'
      }
    },
  },
  {
    name: 'another payload under the same key is a mismatch: of a claim, of a done mark, of a failed one',
    run: async (under) => {
      const calls = callsOf(under)
      const mine = { fingerprint: 'sha256:a' }
      const fences = await Promise.all(['running', 'done', 'failed'].map((key) => calls.acquire(key, mine)))
      await calls.complete('done', fences[1]!)
      await calls.fail('failed', fences[2]!)
      for (const [key, expected] of Object.entries({ running: 'busy', done: 'done', failed: 'failed' })) {
        const found = await under.store.begin(key, calls.request({ fingerprint: 'sha256:A' }))
        assert.deepEqual(found, { outcome: 'mismatch', ...mine }, key)
        assert.equal(await calls.outcome(key, mine), expected)
      }
      assert.equal(await calls.complete('running', fences[0]!), 'accepted')
    },
  },
  {
    name: 'without a fingerprint on either side nothing is compared',
    run: async (under) => {
      const calls = callsOf(under)
      await calls.acquire('with', { fingerprint: 'f' })
      await calls.acquire('without')
      assert.deepEqual(
        [await calls.outcome('with'), await calls.outcome('without', { fingerprint: 'f' })],
        ['busy', 'busy'],
      )
    },
  },
  {
    name: 'a fingerprint binds as long as its claim or mark, not longer',
    run: async (under) => {
      const calls = callsOf(under)
      const mine = { fingerprint: 'mine' }
      await calls.release('released', await calls.acquire('released', mine))
      await calls.acquire('lapsed', mine)
      await calls.complete('expired', await calls.acquire('expired', mine), under.leaseMs)
      await under.advance(under.leaseMs)
      for (const key of ['released', 'lapsed', 'expired']) {
        await calls.acquire(key, { fingerprint: 'yours' })
        assert.equal(await calls.outcome(key, mine), 'mismatch')
      }
    },
  },
]
