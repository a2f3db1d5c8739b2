import type { CommitPart } from '../contracts/commit-part.ts'
import type { LocalClaim, RememberedError } from '../contracts/idempotency-store.ts'
import { QueueError } from '../errors.ts'
import type { ClaimHolder, HeldPlace, MarkBlock } from './mark-block.ts'
import type { MarkRow } from './mark-row.ts'

/** Where marks go. */
export interface MarkTable {
  /** Marks a place for `ttlMs`; `mark` is what two bits can't say. */
  set(block: MarkBlock, place: number, ttlMs: number, mark: MarkRow['mark'] | undefined): void
}

/** A claim on the work of the message in one place, and the part of a commit that ends it: one object for each message. */
export class PlaceClaim implements LocalClaim, CommitPart, HeldPlace {
  readonly holder: ClaimHolder
  readonly #table: MarkTable
  readonly #block: MarkBlock
  readonly #place: number
  #ttlMs = 0
  #mark: MarkRow['mark'] | undefined

  constructor(holder: ClaimHolder, table: MarkTable, block: MarkBlock, place: number) {
    this.holder = holder
    this.#table = table
    this.#block = block
    this.#place = place
    block.claims.set(place, this)
    holder.claims++
  }

  get outcome(): 'acquired' {
    return 'acquired'
  }

  completion(result: Uint8Array | undefined, ttlMs: number): CommitPart {
    this.#ttlMs = ttlMs
    this.#mark = result === undefined ? undefined : { outcome: 'done', result }
    return this
  }

  failure(error: RememberedError, ttlMs: number): CommitPart {
    this.#ttlMs = ttlMs
    this.#mark = { outcome: 'failed', error }
    return this
  }

  release(): void {
    if (!this.#isHeld) return
    this.#block.claims.delete(this.#place)
    this.holder.claims--
  }

  check(): void {
    if (this.#isHeld) return
    const message = `the claim on place ${this.#place} of ${this.#block.key} has ended: someone else may have taken it`
    throw new QueueError('FENCED', message)
  }

  apply(): void {
    this.release()
    this.#table.set(this.#block, this.#place, this.#ttlMs, this.#mark)
  }

  end(): void {
    this.release()
  }

  get #isHeld(): boolean {
    return this.#block.claims.get(this.#place) === this
  }
}
