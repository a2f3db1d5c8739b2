import assert from 'node:assert/strict'
import type { BeginRequest, IdempotencyStore } from '../../contracts/idempotency-store.ts'
import type { CaseTemplate } from './conformance.ts'

/**
 * What an idempotency store may be able to do beyond the contract, and its subject beyond the store; the first three are
 * those of `IdempotencyCapabilities`.
 *
 * - `durable`: marks, claims and fences are there after {@link IdempotencyUnderTest.reopen}
 * - `results`: the results of completed work are kept
 * - `transactional`: {@link IdempotencyUnderTest.transaction} works
 * - `shared`: {@link IdempotencyUnderTest.another} works
 * - `exactTime`: {@link IdempotencyUnderTest.advance} moves time by exactly so much, and it stands still otherwise
 * - `callerClock`: {@link IdempotencyUnderTest.jumpCallerClock} works
 */
export type IdempotencyFeature = 'durable' | 'results' | 'transactional' | 'shared' | 'exactTime' | 'callerClock'

/** All of them, to notice one that is misspelt. */
export const idempotencyFeatures: readonly IdempotencyFeature[] = [
  'durable',
  'results',
  'transactional',
  'shared',
  'exactTime',
  'callerClock',
]

/** An idempotency store under test and what belongs to it. */
export interface IdempotencyUnderTest {
  readonly store: IdempotencyStore<unknown>
  /**
   * The lease that cases take, in milliseconds: in real time long enough for some calls in a row, short enough to wait
   * for it. A mark is kept for a few of them.
   */
  readonly leaseMs: number
  /** Lets at least so much of the store's time pass: virtual time, or a real wait. */
  advance(ms: number): Promise<void>
  /** Closes the store and opens what it kept; needed for `durable`. */
  reopen?(): Promise<IdempotencyStore<unknown>>
  /** Opens the same data a second time, as another process does; needed for `shared`. */
  another?(): Promise<IdempotencyStore<unknown>>
  /** Runs the body in a transaction of the user: commits it when the body resolves, rolls it back and rejects when it rejects; needed for `transactional`. */
  transaction?(body: (transaction: unknown) => Promise<void>): Promise<void>
  /** Moves the wall clock of the process that calls the store; needed for `callerClock`. */
  jumpCallerClock?(byMs: number): void
  /** Releases everything, what {@link IdempotencyUnderTest.another} opened too. */
  dispose(): Promise<void>
}

/** One case of the suite. */
export type IdempotencyCase = CaseTemplate<IdempotencyUnderTest, IdempotencyFeature>

/** What becomes of a running claim when the store is opened again: it goes on, unless only its process could. */
export function afterReopening({ store }: IdempotencyUnderTest): 'busy' | 'acquired' {
  return store.capabilities.exclusive ? 'acquired' : 'busy'
}

/** The usual calls of one subject. */
export class Calls {
  readonly store: IdempotencyStore<unknown>
  readonly leaseMs: number
  /** Longer than any case waits. */
  readonly longMs: number

  constructor({ leaseMs }: IdempotencyUnderTest, store: IdempotencyStore<unknown>) {
    this.store = store
    this.leaseMs = leaseMs
    this.longMs = 1_000 * leaseMs
  }

  request(changes: Partial<BeginRequest> = {}): BeginRequest {
    return { owner: 'a', leaseMs: this.leaseMs, ...changes }
  }

  /** Begins, expects to get the key, and returns the fence. */
  async acquire(key: string, changes: Partial<BeginRequest> = {}): Promise<number> {
    const found = await this.store.begin(key, this.request(changes))
    if (found.outcome !== 'acquired') assert.fail(`the key was expected to be free, and is ${found.outcome}`)
    assert.ok(Number.isSafeInteger(found.fence) && found.fence >= 1, `a fence is a whole number from 1: ${found.fence}`)
    return found.fence
  }

  /** Begins and says what became of it. */
  async outcome(key: string, changes: Partial<BeginRequest> = {}): Promise<string> {
    return (await this.store.begin(key, this.request(changes))).outcome
  }

  /** The result of a key that is expected to be done. */
  async result(key: string): Promise<Uint8Array | undefined> {
    const found = await this.store.begin(key, this.request())
    return found.outcome === 'done' ? found.result : assert.fail(`the key was expected to be done: ${found.outcome}`)
  }

  /** Completes without a result. */
  async complete(key: string, fence: number, ttlMs: number = this.longMs): Promise<string> {
    return (await this.store.complete(key, fence, undefined, { ttlMs })).outcome
  }

  /** Fails for good. */
  async fail(key: string, fence: number, ttlMs: number = this.longMs): Promise<string> {
    return (await this.store.fail(key, fence, { name: 'Error', message: 'no' }, { ttlMs })).outcome
  }

  async renew(key: string, fence: number, leaseMs: number = this.leaseMs): Promise<string> {
    return (await this.store.renew(key, fence, leaseMs)).outcome
  }

  async release(key: string, fence: number): Promise<string> {
    return (await this.store.release(key, fence)).outcome
  }

  /** Sweeps until nothing is left to remove, and says how much it was. */
  async sweepAll(limit = 100): Promise<number> {
    for (let all = 0; ;) {
      const { removed, more } = await this.store.sweep(limit)
      assert.ok(removed <= limit, `a sweep of ${limit} removed ${removed}`)
      all += removed
      if (!more) return all
    }
  }
}

/** The calls of a subject's own store. */
export function callsOf(under: IdempotencyUnderTest, store: IdempotencyStore<unknown> = under.store): Calls {
  return new Calls(under, store)
}

/** How often each outcome is among them. */
export function countOf(outcomes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const one of outcomes) counts[one] = (counts[one] ?? 0) + 1
  return counts
}

/** Matches an error by its code. */
export function withCode(code: string): { code: string } {
  return { code }
}
