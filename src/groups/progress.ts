import type { FailedState, FinishedView } from '../contracts/broker.ts'
import type { Storage, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import { failedKey, maxOffset, offsetOfFailedKey, pageKey, pageOfKey, positionKey } from '../key-layout.ts'
import { OffsetSet } from '../offset-set.ts'
import { TextPool } from '../text-pool.ts'

/** Rows read at once when a group's progress is restored. */
const rowsPerPage = 256

/**
 * What one group has finished in one partition and what failed there, in memory and as rows of the store.
 *
 * Invariants: a message that failed is not finished; the position never passes an offset that is not finished, in memory
 * or on disk; a crash between two commits takes both back to the same state.
 */
export class Progress {
  readonly #groupId: number
  readonly #partitionId: number
  #set: OffsetSet
  readonly #failed = new Map<number, FailedState>()
  /** Offsets whose row of a failed message the next commit writes or removes. */
  readonly #failedChanges = new Set<number>()
  /** Row keys that a reset has to remove with the next commit. */
  #obsoletePages: number[] = []
  #reset = false

  private constructor(groupId: number, partitionId: number, set: OffsetSet, isNew: boolean) {
    this.#groupId = groupId
    this.#partitionId = partitionId
    this.#set = set
    this.#reset = isNew
  }

  /** A group's first position in a partition; stored with the next commit. */
  static begin(groupId: number, partitionId: number, position: number): Progress {
    return new Progress(groupId, partitionId, new OffsetSet(position), true)
  }

  /** What was stored, or undefined when the group has no position there yet. */
  static restore(storage: Storage, groupId: number, partitionId: number): Progress | undefined {
    const row = storage.get('progress', positionKey(groupId, partitionId))
    if (row === undefined) return undefined
    if (row.length !== 8) {
      throw new QueueError(
        'STORE_CORRUPT',
        `the position of group ${groupId} in partition ${partitionId} has ${row.length} bytes`,
      )
    }
    const set = new OffsetSet(new DataView(row.buffer, row.byteOffset).getFloat64(0, true))
    const progress = new Progress(groupId, partitionId, set, false)
    const failed = failedKey(groupId, partitionId, 0)
    const errors = new TextPool()
    eachRow(storage, pageKey(groupId, partitionId, 0), failed, (key, value) => set.restorePage(pageOfKey(key), value))
    eachRow(storage, failed, failedKey(groupId, partitionId, maxOffset), (key, value) => {
      progress.#failed.set(offsetOfFailedKey(key), decodeFailed(value, errors))
    })
    return progress
  }

  /** Messages that failed and are not finished. */
  get failed(): ReadonlyMap<number, FailedState> {
    return this.#failed
  }

  get finished(): FinishedView {
    return this.#set
  }

  get position(): number {
    return this.#set.position
  }

  get above(): number {
    return this.#set.above
  }

  /** Takes finished offsets as pairs: first, end (exclusive), first, end, … */
  finish(ranges: readonly number[]): void {
    for (let i = 0; i < ranges.length; i += 2) {
      this.#set.add(ranges[i]!, ranges[i + 1]!)
      if (this.#failed.size > 0) this.#forget(ranges[i]!, ranges[i + 1]!)
    }
  }

  /** Takes messages that failed; with 0 attempts, those that begin anew. */
  fail(failed: ReadonlyMap<number, FailedState>): void {
    for (const [offset, state] of failed) {
      // What retention took meanwhile, or another way finished, has not failed any more.
      if (this.#set.has(offset)) continue
      if (state.attempts === 0) this.#failed.delete(offset)
      else this.#failed.set(offset, state)
      this.#failedChanges.add(offset)
    }
  }

  #forget(from: number, to: number): void {
    // Either may be the larger one: a gap of millions, or millions that failed.
    if (to - from <= this.#failed.size) {
      for (let offset = from; offset < to; offset++) if (this.#failed.delete(offset)) this.#failedChanges.add(offset)
      return
    }
    for (const offset of this.#failed.keys()) {
      if (offset < from || offset >= to) continue
      this.#failed.delete(offset)
      this.#failedChanges.add(offset)
    }
  }

  /** Starts anew at `position`, with nothing finished above it. */
  moveTo(position: number): void {
    this.#obsoletePages.push(...this.#set.pageNumbers())
    this.#set = new OffsetSet(position)
    this.#forget(0, maxOffset)
    this.#reset = true
  }

  write(writes: WriteBatch): void {
    for (const page of this.#obsoletePages) writes.remove('progress', pageKey(this.#groupId, this.#partitionId, page))
    this.#obsoletePages = []
    const { position, pages } = this.#set.takeChanges()
    if (position !== undefined || this.#reset) {
      const value = new DataView(new ArrayBuffer(8))
      value.setFloat64(0, position ?? this.#set.position, true)
      writes.put('progress', positionKey(this.#groupId, this.#partitionId), new Uint8Array(value.buffer))
      this.#reset = false
    }
    for (const [page, bits] of pages) {
      const key = pageKey(this.#groupId, this.#partitionId, page)
      if (bits) writes.put('progress', key, bits)
      else writes.remove('progress', key)
    }
    for (const offset of this.#failedChanges) {
      const key = failedKey(this.#groupId, this.#partitionId, offset)
      const state = this.#failed.get(offset)
      if (state) writes.put('progress', key, encodeFailed(state))
      else writes.remove('progress', key)
    }
    this.#failedChanges.clear()
  }

  /** Removes every row; used when the group or the topic goes. */
  erase(writes: WriteBatch): void {
    writes.remove('progress', positionKey(this.#groupId, this.#partitionId))
    for (const page of [...this.#obsoletePages, ...this.#set.pageNumbers()]) {
      writes.remove('progress', pageKey(this.#groupId, this.#partitionId, page))
    }
    for (const offset of new Set([...this.#failedChanges, ...this.#failed.keys()])) {
      writes.remove('progress', failedKey(this.#groupId, this.#partitionId, offset))
    }
  }
}

/** Calls `take` with every row of [from, to), a page at a time. */
function eachRow(
  storage: Storage,
  from: Uint8Array,
  to: Uint8Array,
  take: (key: Uint8Array, value: Uint8Array) => void,
): void {
  for (let next = from; ;) {
    const rows = storage.range('progress', { from: next, to, limit: rowsPerPage })
    for (const { key, value } of rows) take(key, value)
    if (rows.length < rowsPerPage) return
    // The first key after the last one read.
    next = Buffer.concat([rows[rows.length - 1]!.key, Buffer.of(0)])
  }
}

/** Bits of the byte that says what the row of a failed message has. */
const has = { key: 1, first: 2, mark: 4, askedAt: 8, askedDelay: 16 } as const

/**
 * Attempts (f64), when it is due (f64), a byte that says what was asked for and what follows: of the first failure its time
 * (f64), the length of its error (u32) and that error as JSON; the key.
 */
function encodeFailed({ attempts, dueAt, key, first, mark, asked }: FailedState): Uint8Array {
  const keyBytes = Buffer.from(key ?? '', 'utf8')
  const error = Buffer.from(first?.error ?? '', 'utf8')
  const keyStart = 17 + (first === undefined ? 0 : 12 + error.length)
  const value = Buffer.alloc(keyStart + keyBytes.length)
  value.writeDoubleLE(attempts, 0)
  value.writeDoubleLE(dueAt, 8)
  value[16] = (key === undefined ? 0 : has.key) | (first === undefined ? 0 : has.first) | (mark ? has.mark : 0)
  if (asked !== undefined) value[16]! |= asked === 'at' ? has.askedAt : has.askedDelay
  if (first !== undefined) {
    value.writeDoubleLE(first.at, 17)
    value.writeUInt32LE(error.length, 25)
    error.copy(value, 29)
  }
  keyBytes.copy(value, keyStart)
  return value
}

function decodeFailed(row: Uint8Array, errors: TextPool): FailedState {
  const value = Buffer.from(row.buffer, row.byteOffset, row.byteLength)
  const flags = value[16] ?? 0
  const hasFirst = flags & has.first
  const errorEnd = hasFirst && value.length >= 29 ? 29 + value.readUInt32LE(25) : 17
  if (value.length < (hasFirst ? Math.max(29, errorEnd) : 17))
    throw new QueueError('STORE_CORRUPT', `the row of a failed message has ${row.length} bytes`)
  const key = flags & has.key ? value.toString('utf8', errorEnd) : undefined
  const first = hasFirst
    ? { at: value.readDoubleLE(17), error: errors.share(value.toString('utf8', 29, errorEnd)) }
    : undefined
  const asked = flags & has.askedAt ? 'at' : flags & has.askedDelay ? 'delay' : undefined
  const facts = { ...(first && { first }), ...(asked && { asked }) }
  const state = { attempts: value.readDoubleLE(0), dueAt: value.readDoubleLE(8), key, ...facts } as FailedState
  // Whoever made the mark is gone: a store has one owner.
  return flags & has.mark ? { ...state, mark: 'cut-short' } : state
}
