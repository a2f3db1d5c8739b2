import type { FinishedView } from '../contracts/broker.ts'
import type { Storage, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import { pageKey, pageOfKey, positionKey, progressRange } from '../key-layout.ts'
import { OffsetSet } from '../offset-set.ts'

/** Rows read at once when a group's progress is restored. */
const rowsPerPage = 256

/**
 * What one group has finished in one partition, in memory and as rows of the store.
 *
 * Invariant: the position never passes an offset that is not finished, in memory or on disk; a crash between two commits
 * takes both back to the same state.
 */
export class Progress {
  readonly #groupId: number
  readonly #partitionId: number
  #set: OffsetSet
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
    const { to } = progressRange(groupId, partitionId)
    let from: Uint8Array = pageKey(groupId, partitionId, 0)
    for (;;) {
      const rows = storage.range('progress', { from, to, limit: rowsPerPage })
      for (const { key, value } of rows) set.restorePage(pageOfKey(key), value)
      if (rows.length < rowsPerPage) break
      from = pageKey(groupId, partitionId, pageOfKey(rows[rows.length - 1]!.key) + 1)
    }
    return new Progress(groupId, partitionId, set, false)
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
    for (let i = 0; i < ranges.length; i += 2) this.#set.add(ranges[i]!, ranges[i + 1]!)
  }

  /** Starts anew at `position`, with nothing finished above it. */
  moveTo(position: number): void {
    this.#obsoletePages.push(...this.#set.pageNumbers())
    this.#set = new OffsetSet(position)
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
  }

  /** Removes every row; used when the group or the topic goes. */
  erase(writes: WriteBatch): void {
    writes.remove('progress', positionKey(this.#groupId, this.#partitionId))
    for (const page of [...this.#obsoletePages, ...this.#set.pageNumbers()]) {
      writes.remove('progress', pageKey(this.#groupId, this.#partitionId, page))
    }
  }
}
