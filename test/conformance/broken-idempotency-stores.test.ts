import { expect, test } from 'vitest'
import type { BeginOutcome, IdempotencyStore } from '../../src/contracts/idempotency-store.ts'
import { runSuite } from '../../src/testing/suites/conformance.ts'
import { idempotencySuite } from '../../src/testing/suites/idempotency-suite.ts'
import type { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'
import { servedIdempotency, type ServedStore, type Work } from './idempotency-subjects.ts'
import { spoil } from './subjects.ts'

type Store = IdempotencyStore<Work>

/** Keys written another way on their way in. */
function withKeys(store: ServedStore, change: (key: string) => string): Partial<Store> {
  return {
    begin: (key, request) => store.begin(change(key), request),
    renew: (key, ...rest) => store.renew(change(key), ...rest),
    complete: (key, ...rest) => store.complete(change(key), ...rest),
    fail: (key, ...rest) => store.fail(change(key), ...rest),
    release: (key, ...rest) => store.release(change(key), ...rest),
  }
}

/** Keeps the fence that holds each key, to use it in place of the one that the caller has. */
function currentFences(store: ServedStore): { begin: Store['begin']; of: (key: string, given: number) => number } {
  const fences = new Map<string, number>()
  const begin: Store['begin'] = async (key, request) => {
    const found = await store.begin(key, request)
    if (found.outcome === 'acquired') fences.set(key, found.fence)
    return found
  }
  return { begin, of: (key, given) => fences.get(key) ?? given }
}

/** What a store may get wrong, and the case that has to notice. */
const faults: Record<
  string,
  { caughtBy: string; changes: (store: ServedStore, runtime: VirtualRuntime) => Partial<Store> }
> = {
  'lets an old owner complete': {
    caughtBy: "who was taken over can't complete",
    changes: (store) => {
      const { begin, of } = currentFences(store)
      return { begin, complete: (key, fence, ...rest) => store.complete(key, of(key, fence), ...rest) }
    },
  },
  'lets an old owner fail': {
    caughtBy: "who was taken over can't fail",
    changes: (store) => {
      const { begin, of } = currentFences(store)
      return { begin, fail: (key, fence, ...rest) => store.fail(key, of(key, fence), ...rest) }
    },
  },
  'lets an old owner renew': {
    caughtBy: "who was taken over can't renew",
    changes: (store) => {
      const { begin, of } = currentFences(store)
      return { begin, renew: (key, fence, leaseMs) => store.renew(key, of(key, fence), leaseMs) }
    },
  },
  'lets an old owner release': {
    caughtBy: "who was taken over can't release",
    changes: (store) => {
      const { begin, of } = currentFences(store)
      return { begin, release: (key, fence) => store.release(key, of(key, fence)) }
    },
  },
  'counts fences by key, and forgets the count with it': {
    caughtBy: 'a fence is not used again',
    changes: (store) => {
      // Fences of the store below, by the small ones that are shown.
      let shown = new Map<string, number[]>()
      const below = (key: string, fence: number): number => shown.get(key)?.[fence - 1] ?? 1_000_000 + fence
      return {
        begin: async (key, request) => {
          const found = await store.begin(key, request)
          if (found.outcome !== 'acquired') return found
          const fences = [...(shown.get(key) ?? []), found.fence]
          shown.set(key, fences)
          return { outcome: 'acquired', fence: fences.length }
        },
        renew: (key, fence, leaseMs) => store.renew(key, below(key, fence), leaseMs),
        complete: (key, fence, ...rest) => store.complete(key, below(key, fence), ...rest),
        fail: (key, fence, ...rest) => store.fail(key, below(key, fence), ...rest),
        release: (key, fence) => store.release(key, below(key, fence)),
        sweep: async (limit) => {
          shown = new Map()
          return store.sweep(limit)
        },
      }
    },
  },
  'does not raise the fence at a take-over': {
    caughtBy: 'a lease that ended lets another take over',
    changes: (store) => {
      const { begin, of } = currentFences(store)
      const same = async (outcome: Promise<BeginOutcome>): Promise<BeginOutcome> => {
        const found = await outcome
        return found.outcome === 'acquired' ? { outcome: 'acquired', fence: 1 } : found
      }
      return {
        begin: (key, request) => same(begin(key, request)),
        complete: (key, fence, ...rest) => store.complete(key, of(key, fence), ...rest),
      }
    },
  },
  'looks and takes in two steps': {
    caughtBy: 'of many who begin at once exactly one acquires the key',
    changes: (store) => {
      const free = new Set<string>()
      return {
        begin: async (key, request) => {
          const isFirst = !free.has(key)
          await Promise.resolve()
          free.add(key)
          const found = await store.begin(key, request)
          return isFirst && found.outcome === 'busy' ? { outcome: 'acquired', fence: 1 } : found
        },
      }
    },
  },
  'takes the same owner for the holder': {
    caughtBy: 'the owner itself is busy too',
    changes: (store) => {
      const { begin, of } = currentFences(store)
      return {
        begin: async (key, request) => {
          const found = await begin(key, request)
          const isOwn = found.outcome === 'busy' && found.owner === request.owner
          return isOwn ? { outcome: 'acquired', fence: of(key, 1) } : found
        },
      }
    },
  },
  'never lets a lease end': {
    caughtBy: 'a lease that ended lets another take over',
    changes: (store) => ({ begin: (key, request) => store.begin(key, { ...request, leaseMs: 86_400_000 }) }),
  },
  "goes by the caller's clock": {
    caughtBy: 'the clock of the caller may jump',
    changes: (store, runtime) => {
      const ends = new Map<string, number>()
      return {
        begin: async (key, request) => {
          const end = ends.get(key)
          const found = await store.begin(key, request)
          if (found.outcome === 'acquired') ends.set(key, runtime.now() + request.leaseMs)
          const isOver = found.outcome === 'busy' && end !== undefined && end <= runtime.now()
          return isOver ? { outcome: 'acquired', fence: 1_000_000 } : found
        },
      }
    },
  },
  'adds a renewal to what is left of the lease': {
    caughtBy: 'renewing may shorten a lease',
    changes: (store) => ({ renew: (key, fence, leaseMs) => store.renew(key, fence, 1_000_000 + leaseMs) }),
  },
  'keeps a released key until its lease ends': {
    caughtBy: 'releasing lets another try at once',
    changes: () => ({ release: async () => ({ outcome: 'accepted' }) }),
  },
  'forgets what was done': {
    caughtBy: 'completed work is done for all who ask',
    changes: (store) => ({ complete: (key, fence) => store.release(key, fence) }),
  },
  'forgets permanent failures': {
    caughtBy: 'a permanent failure is remembered',
    changes: (store) => ({ fail: (key, fence) => store.release(key, fence) }),
  },
  'drops the code of an error': {
    caughtBy: 'a permanent failure is remembered',
    changes: (store) => ({
      fail: (key, fence, { name, message }, options) => store.fail(key, fence, { name, message }, options),
    }),
  },
  'takes an empty result for none': {
    caughtBy: 'an empty result is not the same as none',
    changes: (store) => ({
      complete: (key, fence, result, options) =>
        store.complete(key, fence, result?.length ? result : undefined, options),
    }),
  },
  'stores results as text': {
    caughtBy: 'a stored result comes back byte for byte',
    changes: (store) => ({
      complete: (key, fence, result, options) =>
        store.complete(key, fence, result && Buffer.from(Buffer.from(result).toString()), options),
    }),
  },
  'reads the result after the call has returned': {
    caughtBy: 'results are copied',
    changes: (store) => ({
      complete: async (key, fence, result, options) => {
        await Promise.resolve()
        return store.complete(key, fence, result, options)
      },
    }),
  },
  'cuts a long result': {
    caughtBy: 'the longest result is kept',
    changes: (store) => ({
      complete: (key, fence, result, options) =>
        store.complete(key, fence, result?.subarray(0, store.maxResultBytes), options),
    }),
  },
  'does not compare fingerprints': {
    caughtBy: 'another payload under the same key',
    changes: (store) => ({
      begin: (key, { owner, leaseMs }) => store.begin(key, { owner, leaseMs }),
    }),
  },
  'never forgets a mark': {
    caughtBy: 'marks last for their time',
    changes: (store) => ({
      complete: (key, fence, result, options) => store.complete(key, fence, result, { ...options, ttlMs: Infinity }),
    }),
  },
  'lengthens a mark when it is asked for': {
    caughtBy: 'the time of a mark counts from the end of the work',
    changes: (store) => {
      const done = new Set<string>()
      return {
        begin: async (key, request) => {
          if (done.has(key)) return { outcome: 'done', result: undefined }
          const found = await store.begin(key, request)
          if (found.outcome === 'done') done.add(key)
          return found
        },
      }
    },
  },
  'folds the case of keys': {
    caughtBy: 'keys are compared byte by byte',
    changes: (store) => withKeys(store, (key) => key.toLowerCase()),
  },
  'trims keys': {
    caughtBy: 'keys are compared byte by byte',
    changes: (store) => withKeys(store, (key) => key.trimEnd()),
  },
  'normalises keys': {
    caughtBy: 'keys are compared byte by byte',
    changes: (store) => withKeys(store, (key) => key.normalize()),
  },
  'ends keys at U+0000': {
    caughtBy: 'keys are compared byte by byte',
    changes: (store) => withKeys(store, (key) => key.split('\0')[0]!),
  },
  'cuts long keys': {
    caughtBy: 'the longest keys are told apart',
    changes: (store) => withKeys(store, (key) => Buffer.from(key).subarray(0, 255).toString()),
  },
  'sweeps without a limit': {
    caughtBy: 'a sweep removes at most so many',
    changes: (store) => ({ sweep: () => store.sweep(1_000_000) }),
  },
  'sweeps running claims': {
    caughtBy: 'a sweep leaves running claims',
    changes: (store) => {
      const held = new Map<string, number>()
      return {
        begin: async (key, request) => {
          const found = await store.begin(key, request)
          if (found.outcome === 'acquired') held.set(key, found.fence)
          return found
        },
        sweep: async (limit) => {
          for (const [key, fence] of held) await store.release(key, fence)
          return store.sweep(limit)
        },
      }
    },
  },
  'never sweeps': {
    caughtBy: 'a sweep removes at most so many',
    changes: () => ({ sweep: async () => ({ removed: 0, more: false }) }),
  },
  'forgets a claim when it is reopened': {
    caughtBy: 'are there after a reopening',
    changes: (store) => {
      const held = new Map<string, number>()
      return {
        begin: async (key, request) => {
          const found = await store.begin(key, request)
          if (found.outcome === 'acquired') held.set(key, found.fence)
          return found
        },
        close: async () => {
          for (const [key, fence] of held) await store.server.release(key, fence).catch(() => {})
          await store.close()
        },
      }
    },
  },
  'marks at once inside a transaction': {
    caughtBy: 'a mark goes with the transaction that is rolled back',
    changes: (store) => ({
      complete: (key, fence, result, { ttlMs }) => store.complete(key, fence, result, { ttlMs }),
    }),
  },
  'accepts a second end of a claim': {
    caughtBy: 'a claim that has ended does not end in another way',
    changes: (store) => ({
      fail: async (...args) => {
        await store.fail(...args)
        return { outcome: 'accepted' }
      },
    }),
  },
  'refuses a call whose answer was lost': {
    caughtBy: 'repeating the call that ended a claim is accepted',
    changes: (store) => {
      const ended = new Set<string>()
      return {
        complete: async (key, fence, ...rest) => {
          if (ended.has(`${fence} ${key}`)) return { outcome: 'fenced' }
          ended.add(`${fence} ${key}`)
          return store.complete(key, fence, ...rest)
        },
      }
    },
  },
  'throws when it is fenced': {
    caughtBy: "who was taken over can't complete",
    changes: (store) => ({
      complete: async (...args) => {
        const { outcome } = await store.complete(...args)
        if (outcome === 'fenced') throw new Error('fenced')
        return { outcome }
      },
    }),
  },
  'begins to count fences at 0': {
    caughtBy: 'the first to begin acquires the key',
    changes: (store) => ({
      begin: async (key, request) => {
        const found = await store.begin(key, request)
        return found.outcome === 'acquired' ? { outcome: 'acquired', fence: found.fence - 1 } : found
      },
      renew: (key, fence, leaseMs) => store.renew(key, fence + 1, leaseMs),
      complete: (key, fence, ...rest) => store.complete(key, fence + 1, ...rest),
      fail: (key, fence, ...rest) => store.fail(key, fence + 1, ...rest),
      release: (key, fence) => store.release(key, fence + 1),
    }),
  },
  'says that it keeps no results': {
    caughtBy: "declared 'results' says so",
    changes: () => ({ capabilities: { durable: true, results: false, transactional: true } }),
  },
  'says that it takes part in no transaction': {
    caughtBy: "declared 'transactional' says so",
    changes: () => ({ capabilities: { durable: true, results: true, transactional: false } }),
  },
  'says that it is not durable': {
    caughtBy: "declared 'durable' says so",
    changes: () => ({ capabilities: { durable: false, results: true, transactional: true } }),
  },
}

test.each(Object.entries(faults))('an idempotency store that %s is caught', async (_, { caughtBy, changes }) => {
  const subject = servedIdempotency((store, runtime) => spoil<Store>(store, changes(store, runtime)))
  const { failed } = await runSuite(idempotencySuite(subject), { timeoutMs: 1_500 })
  expect(failed.map(({ name }) => name)).toContainEqual(expect.stringContaining(caughtBy))
})
