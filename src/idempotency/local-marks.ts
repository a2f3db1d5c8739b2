import type { CommitPart } from '../contracts/commit-part.ts'
import type {
  BeginOutcome,
  LocalMarks,
  LocalOutcome,
  PlaceMarks,
  RememberedError,
} from '../contracts/idempotency-store.ts'
import type { State, StateSpace } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import { stateSpaces } from '../key-layout.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { endOfExpired, expiryKey, keyInExpiry } from './expiry-index.ts'
import { ExpiryQueue } from './expiry-queue.ts'
import { KeyClaim, type KeyMarks } from './key-claim.ts'
import { MarkBlocks } from './mark-blocks.ts'
import { decodeMark, encodeMark, type MarkRow } from './mark-row.ts'
import type { ClaimHolder } from './mark-block.ts'
import { GroupPlaceMarks } from './place-marks.ts'

/** Work that goes on; in memory, since one process owns the store. */
export interface KeyedWork {
  readonly key: string
  readonly fence: number
  readonly owner: string
  readonly fingerprint: string | undefined
  /** On the monotonic clock; `Infinity` where the claim lasts as long as the process. */
  endsAt: number
}

/** What {@link StateMarks.ended} found: entries of the index of keys, and of the index of places. */
export interface EndedMarks {
  readonly keys: readonly string[]
  readonly places: readonly string[]
  readonly count: number
}

/** Fences are made of the store's epoch and a count, so that they rise over restarts without being stored. */
const claimsPerEpoch = 2 ** 32
/** How long someone waits who finds a key whose claim has no end. */
const lookAgainMs = 1_000

const marks: StateSpace = { name: 'idempotency marks', id: stateSpaces.marks }
const expiry: StateSpace = { name: 'ends of idempotency marks', id: stateSpaces.markExpiry }

/**
 * Claims in memory and marks as rows of the store's state: what is at hand needs no waiting, and a mark is a part of
 * whatever commit it is given to.
 */
export class StateMarks implements LocalMarks, KeyMarks {
  readonly #state: State
  readonly #runtime: Runtime
  readonly #maxClaims: number
  readonly #claims = new Map<string, KeyedWork>()
  /** Claims that have an end. */
  readonly #ends = new ExpiryQueue<KeyedWork>()
  readonly #blocks: MarkBlocks
  /** Counts the claims on places. */
  readonly #places: ClaimHolder = { claims: 0 }
  #count = 0

  constructor(state: State, runtime: Runtime, maxClaims: number) {
    this.#state = state
    this.#runtime = runtime
    this.#maxClaims = maxClaims
    this.#blocks = MarkBlocks.of(state, runtime)
  }

  begin(key: string, fingerprint: string | undefined): LocalOutcome {
    const found = this.claim(key, '', Infinity, fingerprint)
    return found.outcome === 'acquired' ? new KeyClaim(this, key, found.fence) : found
  }

  places(group: string): PlaceMarks {
    return new GroupPlaceMarks(group, this.#blocks, this.#places, () => this.#makeRoom())
  }

  /** The end of a claim as a part of a commit; when it is not committed, the claim goes on. */
  completion(key: string, fence: number, result: Uint8Array | undefined, ttlMs: number): CommitPart {
    return this.#part(key, fence, { outcome: 'done', result }, ttlMs)
  }

  /** As {@link StateMarks.completion}, for what failed for good. */
  failure(key: string, fence: number, error: RememberedError, ttlMs: number): CommitPart {
    return this.#part(key, fence, { outcome: 'failed', error }, ttlMs)
  }

  /** Ends the claim without a mark. */
  release(key: string, fence: number): void {
    const claim = this.find(key, fence)
    if (claim) this.#forget(claim)
  }

  /** As {@link LocalMarks.begin}, with a lease. @throws `STORE_FULL` */
  claim(key: string, owner: string, leaseMs: number, fingerprint: string | undefined): BeginOutcome {
    const marked = this.mark(key)
    if (marked !== undefined) return answerFor(marked, fingerprint)
    const now = this.#runtime.monotonic()
    const found = this.#claims.get(key)
    if (found !== undefined && now < found.endsAt) {
      if (differs(found.fingerprint, fingerprint)) return { outcome: 'mismatch', fingerprint: found.fingerprint! }
      const leftMs = found.endsAt === Infinity ? lookAgainMs : found.endsAt - now
      return { outcome: 'busy', retryAfterMs: Math.max(1, Math.ceil(leftMs)), owner: found.owner }
    }
    if (found !== undefined) this.#forget(found)
    this.#makeRoom()
    const fence = this.#state.epoch * claimsPerEpoch + ++this.#count
    const claim: KeyedWork = { key, fence, owner, fingerprint, endsAt: now + leaseMs }
    this.#claims.set(key, claim)
    if (leaseMs !== Infinity) this.#ends.set(claim)
    return { outcome: 'acquired', fence }
  }

  /** The mark of a key, if its time is not over. */
  mark(key: string): MarkRow | undefined {
    const stored = this.#state.get(marks, key)
    if (stored === undefined) return undefined
    const row = decodeMark(stored)
    return this.#runtime.now() < row.endsAt ? row : undefined
  }

  /** The claim that a fence stands for, lapsed or not. */
  find(key: string, fence: number): KeyedWork | undefined {
    const claim = this.#claims.get(key)
    return claim?.fence === fence ? claim : undefined
  }

  renew(claim: KeyedWork, leaseMs: number): void {
    claim.endsAt = this.#runtime.monotonic() + leaseMs
    this.#ends.set(claim)
  }

  /** Forgets claims whose lease has ended, at most so many; returns how many. */
  forgetLapsed(limit: number): number {
    const now = this.#runtime.monotonic()
    let count = 0
    for (; count < limit; count++) {
      const lapsed = this.#ends.firstEnded(now)
      if (lapsed === undefined) break
      this.#forget(lapsed)
    }
    return count
  }

  /** Marks that have ended, as they are in the indexes, at most so many. */
  ended(limit: number): EndedMarks {
    const to = endOfExpired(this.#runtime.now())
    const keys = limit > 0 ? this.#state.range(expiry, { to, limit }).map(({ key }) => key) : []
    const places = limit > keys.length ? this.#blocks.ended(limit - keys.length) : []
    return { keys, places, count: keys.length + places.length }
  }

  /** Removes marks that {@link StateMarks.ended} told. */
  removal({ keys, places }: EndedMarks): CommitPart {
    return {
      check: () => {},
      apply: () => {
        this.#blocks.remove(places)
        for (const entry of keys) {
          this.#state.write(expiry, entry, undefined)
          const key = keyInExpiry(entry)
          const stored = this.#state.get(marks, key)
          // The key may have been marked anew since.
          if (stored !== undefined && expiryKey(decodeMark(stored).endsAt, key) === entry) {
            this.#state.write(marks, key, undefined)
          }
        }
      },
    }
  }

  clear(): void {
    for (const claim of [...this.#claims.values()]) this.#forget(claim)
    this.#blocks.release(this.#places)
  }

  #part(key: string, fence: number, mark: MarkRow['mark'], ttlMs: number): CommitPart {
    return {
      check: () => {
        if (this.find(key, fence) !== undefined) return
        const message = `the claim of idempotency key ${key} has ended: someone else may have taken it`
        throw new QueueError('FENCED', message, { key })
      },
      apply: () => {
        const claim = this.find(key, fence)!
        this.#forget(claim)
        const endsAt = this.#runtime.now() + ttlMs
        this.#state.write(marks, key, encodeMark({ fence, endsAt, fingerprint: claim.fingerprint, mark }))
        if (endsAt !== Infinity) this.#state.write(expiry, expiryKey(endsAt, key), nothing)
      },
    }
  }

  /** @throws `STORE_FULL` */
  #makeRoom(): void {
    const count = this.#claims.size + this.#places.claims
    if (count < this.#maxClaims) return
    const lapsed = this.#ends.firstEnded(this.#runtime.monotonic())
    if (lapsed !== undefined) return this.#forget(lapsed)
    const message = `the idempotency store holds ${count} running claims and has no room for another: raise maxClaims, or run fewer at once`
    throw new QueueError('STORE_FULL', message, { count })
  }

  #forget(claim: KeyedWork): void {
    this.#claims.delete(claim.key)
    if (claim.endsAt !== Infinity) this.#ends.delete(claim)
  }
}

const nothing = new Uint8Array(0)

function answerFor({ fingerprint, mark }: MarkRow, asked: string | undefined): BeginOutcome {
  if (differs(fingerprint, asked)) return { outcome: 'mismatch', fingerprint: fingerprint! }
  return mark
}

function differs(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other
}
