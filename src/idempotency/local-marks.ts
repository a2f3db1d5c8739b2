import type { CommitPart } from '../contracts/commit-part.ts'
import type { BeginOutcome, LocalMarks, RememberedError } from '../contracts/idempotency-store.ts'
import type { State, StateSpace } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import { stateSpaces } from '../key-layout.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { ExpiryQueue } from './expiry-queue.ts'
import { decodeMark, encodeMark, type MarkRow } from './mark-row.ts'

/** Work that goes on; in memory, since one process owns the store. */
export interface LocalClaim {
  readonly key: string
  readonly fence: number
  readonly owner: string
  readonly fingerprint: string | undefined
  /** On the monotonic clock; `Infinity` where the claim lasts as long as the process. */
  endsAt: number
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
export class StateMarks implements LocalMarks {
  readonly #state: State
  readonly #runtime: Runtime
  readonly #maxClaims: number
  readonly #claims = new Map<string, LocalClaim>()
  /** Claims that have an end. */
  readonly #ends = new ExpiryQueue<LocalClaim>()
  #count = 0

  constructor(state: State, runtime: Runtime, maxClaims: number) {
    this.#state = state
    this.#runtime = runtime
    this.#maxClaims = maxClaims
  }

  begin(key: string, fingerprint: string | undefined): BeginOutcome {
    return this.claim(key, '', Infinity, fingerprint)
  }

  completion(key: string, fence: number, result: Uint8Array | undefined, ttlMs: number): CommitPart {
    return this.#part(key, fence, { outcome: 'done', result }, ttlMs)
  }

  failure(key: string, fence: number, error: RememberedError, ttlMs: number): CommitPart {
    return this.#part(key, fence, { outcome: 'failed', error }, ttlMs)
  }

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
    this.#makeRoom(now)
    const fence = this.#state.epoch * claimsPerEpoch + ++this.#count
    const claim: LocalClaim = { key, fence, owner, fingerprint, endsAt: now + leaseMs }
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
  find(key: string, fence: number): LocalClaim | undefined {
    const claim = this.#claims.get(key)
    return claim?.fence === fence ? claim : undefined
  }

  renew(claim: LocalClaim, leaseMs: number): void {
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

  /** Keys whose marks have ended, as they are in the index, at most so many. */
  ended(limit: number): string[] {
    // The next millisecond's first key is the end of those of this one.
    const to = indexKey(this.#runtime.now() + 1, '')
    return this.#state.range(expiry, { to, limit }).map(({ key }) => key)
  }

  /** Removes marks that {@link StateMarks.ended} told. */
  removal(ended: readonly string[]): CommitPart {
    return {
      check: () => {},
      apply: () => {
        for (const entry of ended) {
          this.#state.write(expiry, entry, undefined)
          const key = entry.slice(timeDigits)
          const stored = this.#state.get(marks, key)
          // The key may have been marked anew since.
          if (stored !== undefined && indexKey(decodeMark(stored).endsAt, key) === entry) {
            this.#state.write(marks, key, undefined)
          }
        }
      },
    }
  }

  clear(): void {
    for (const claim of [...this.#claims.values()]) this.#forget(claim)
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
        if (endsAt !== Infinity) this.#state.write(expiry, indexKey(endsAt, key), nothing)
      },
    }
  }

  #makeRoom(now: number): void {
    if (this.#claims.size < this.#maxClaims) return
    const lapsed = this.#ends.firstEnded(now)
    if (lapsed !== undefined) return this.#forget(lapsed)
    const message = `the idempotency store holds ${this.#claims.size} running claims and has no room for another: raise maxClaims, or run fewer at once`
    throw new QueueError('STORE_FULL', message, { count: this.#claims.size })
  }

  #forget(claim: LocalClaim): void {
    this.#claims.delete(claim.key)
    if (claim.endsAt !== Infinity) this.#ends.delete(claim)
  }
}

const nothing = new Uint8Array(0)
/** Enough hexadecimal digits for every time that a date can have. */
const timeDigits = 13

/** Sorts by time; a time that has passed every bound stands last. */
function indexKey(endsAt: number, key: string): string {
  return (
    Math.ceil(Math.min(endsAt, 2 ** 52 - 1))
      .toString(16)
      .padStart(timeDigits, '0') + key
  )
}

function answerFor({ fingerprint, mark }: MarkRow, asked: string | undefined): BeginOutcome {
  if (differs(fingerprint, asked)) return { outcome: 'mismatch', fingerprint: fingerprint! }
  return mark
}

function differs(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other
}
