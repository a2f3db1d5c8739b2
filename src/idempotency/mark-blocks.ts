import type { RowSource, State, StateSpace } from '../contracts/state.ts'
import { stateSpaces } from '../key-layout.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { endOfExpired, expiryKey, keyInExpiry } from './expiry-index.ts'
import { isBlock, marked, MarkBlock, placesPerBlock, type ClaimHolder } from './mark-block.ts'
import { decodeMark, encodeMark, type MarkRow } from './mark-row.ts'
import type { MarkTable } from './place-claim.ts'

/** Blocks that stay in memory though nothing goes on in them. */
const keptBlocks = 256

const rows: StateSpace = { name: 'idempotency marks by place', id: stateSpaces.placeMarks }
const expiry: StateSpace = { name: 'ends of idempotency marks by place', id: stateSpaces.placeMarkExpiry }
const nothing = new Uint8Array(0)
/** Marks by place have no fences: a claim there is held by one process, and known by itself. */
const noFence = 0

/** One for each store: two that had the same block in memory would write over each other's marks. */
const tables = new WeakMap<State, MarkBlocks>()

/**
 * Idempotency marks by the places of messages in the log, a block of them in each row. A mark changes its block in memory;
 * the next commit has the row, once, however many marks it is about.
 *
 * Invariant: a block in which claims go on, or which is not written yet, stays in memory; of the others a bounded number.
 */
export class MarkBlocks implements MarkTable, RowSource {
  readonly #state: State
  readonly #runtime: Runtime
  readonly #blocks = new Map<string, MarkBlock>()
  /** Those that the next commit writes. */
  #changed: MarkBlock[] = []
  /** With so many in memory it is looked which may go. */
  #trimAt = keptBlocks

  private constructor(state: State, runtime: Runtime) {
    this.#state = state
    this.#runtime = runtime
  }

  static of(state: State, runtime: Runtime): MarkBlocks {
    let table = tables.get(state)
    if (table === undefined) tables.set(state, (table = new MarkBlocks(state, runtime)))
    return table
  }

  /** Blocks in memory. */
  get size(): number {
    return this.#blocks.size
  }

  /** The block of a log that an offset falls into. */
  find(group: string, origin: string, number: number): MarkBlock {
    const key = `${origin}${number}/${group}`
    const known = this.#blocks.get(key)
    if (known !== undefined) return known
    if (this.#blocks.size >= this.#trimAt) this.#trim()
    const block = new MarkBlock(key, number)
    const stored = this.#state.get(rows, key)
    if (stored !== undefined) block.restore(stored)
    this.#blocks.set(key, block)
    return block
  }

  /** One of {@link marked}; `not` when its time is over. */
  at(block: MarkBlock, place: number): number {
    const mark = block.at(place)
    return mark === marked.not || this.#runtime.now() < block.endsAt ? mark : marked.not
  }

  /** The mark that has a row of its own, if its time is not over. */
  rowOf(block: MarkBlock, place: number): MarkRow['mark'] | undefined {
    const stored = this.#state.get(rows, rowKey(block, place))
    if (stored === undefined) return undefined
    const row = decodeMark(stored)
    return this.#runtime.now() < row.endsAt ? row.mark : undefined
  }

  set(block: MarkBlock, place: number, ttlMs: number, mark: MarkRow['mark'] | undefined): void {
    const now = this.#runtime.now()
    if (block.endsAt <= now) block.clear()
    block.endsAt = Math.max(block.endsAt, now + ttlMs)
    block.set(place, mark === undefined ? marked.done : marked.inRow)
    this.#change(block)
    if (mark === undefined) return
    const key = rowKey(block, place)
    const row = { fence: noFence, endsAt: now + ttlMs, fingerprint: undefined, mark }
    this.#state.write(rows, key, encodeMark(row))
    if (row.endsAt !== Infinity) this.#state.write(expiry, expiryKey(row.endsAt, key), nothing)
  }

  writeRows(): void {
    const changed = this.#changed
    this.#changed = []
    for (const block of changed) {
      block.isChanged = false
      // Its time may be over before it was written once.
      if (block.endsAt > 0) this.#write(block)
    }
  }

  /** Entries of the index whose time has come, at most so many. */
  ended(limit: number): string[] {
    return this.#state.range(expiry, { to: endOfExpired(this.#runtime.now()), limit }).map(({ key }) => key)
  }

  /** Removes what {@link MarkBlocks.ended} told, or has the index say when it will end. For a part of a commit. */
  remove(entries: readonly string[]): void {
    for (const entry of entries) {
      this.#state.write(expiry, entry, undefined)
      const key = keyInExpiry(entry)
      const stored = this.#state.get(rows, key)
      if (stored === undefined) continue
      if (isBlock(stored)) this.#endBlock(key, stored)
      // The place may have been marked anew since.
      else if (expiryKey(decodeMark(stored).endsAt, key) === entry) this.#state.write(rows, key, undefined)
    }
  }

  /** Ends the claims of a store that is closed. */
  release(holder: ClaimHolder): void {
    for (const { claims } of this.#blocks.values()) {
      for (const claim of [...claims.values()]) if (claim.holder === holder) claim.release()
    }
  }

  #endBlock(key: string, stored: Uint8Array): void {
    let block = this.#blocks.get(key)
    if (block === undefined) {
      block = new MarkBlock(key, 0)
      block.restore(stored)
    }
    block.indexedAt = 0
    if (this.#runtime.now() < block.endsAt) return this.#write(block)
    block.clear()
    this.#state.write(rows, key, undefined)
  }

  #change(block: MarkBlock): void {
    if (block.isChanged) return
    block.isChanged = true
    this.#changed.push(block)
    if (this.#changed.length === 1) this.#state.mark(this)
  }

  #write(block: MarkBlock): void {
    const { key, endsAt } = block
    if (block.indexedAt === 0 && endsAt !== Infinity) {
      block.indexedAt = endsAt
      this.#state.write(expiry, expiryKey(endsAt, key), nothing)
    }
    this.#state.write(rows, key, block.encode())
  }

  #trim(): void {
    for (const [key, block] of this.#blocks) {
      if (block.isChanged || block.claims.size > 0) continue
      block.isForgotten = true
      this.#blocks.delete(key)
    }
    this.#trimAt = Math.max(keptBlocks, 2 * this.#blocks.size)
  }
}

/** Differs from every key of a block. */
function rowKey({ key, number }: MarkBlock, place: number): string {
  return `@${number * placesPerBlock + place} ${key}`
}
