import type { RowSource } from '../contracts/state.ts'
import type { Contributor, CommitQueue, Storage, StorageEntry, WriteBatch } from '../contracts/storage.ts'
import { mergePage } from './merge.ts'

/** Key of a row within its space: bytes, or text that stands for its UTF-8. A space uses always the same of both. */
export type RowName = Uint8Array | string

/** A row that was changed and is not on disk yet. */
interface Change {
  readonly space: number
  /** Of the row within its space, see {@link textOf}. */
  readonly text: string
  readonly key: Buffer
  /** `undefined` when the row was removed. Changes as long as no commit has taken it. */
  value: Uint8Array | undefined
  isTaken: boolean
}

/** A page of the rows of one space. */
export interface RowRange {
  /** First key, inclusive. */
  readonly from: Uint8Array
  /** End key, exclusive; behind the last key of the space when left out. */
  readonly to?: Uint8Array | undefined
  readonly limit: number
  readonly reverse?: boolean | undefined
}

/**
 * Rows of the store's table `state`, in numbered spaces. A change shows at once to everyone who reads, and goes to disk
 * with the next commit: together with everything else that was marked in the same turn.
 *
 * Invariant: what is not on disk yet is in memory; a reader never sees an older value than the last one written.
 */
export class StateTable implements Contributor {
  readonly #storage: Storage
  readonly #commit: CommitQueue
  /** The changes that are not on disk, by space and then by key. */
  readonly #pending = new Map<number, PendingSpace>()
  /** Those that the next commit takes. */
  #marked: Change[] = []
  /** Those that write rows of their own when the next commit is made. */
  #sources = new Set<RowSource>()
  /** Set while sources write: what they write is in the commit that is being made. */
  #isContributing = false
  /** Those of the commits under way, oldest first. */
  readonly #committing: Change[][] = []

  constructor(storage: Storage, commit: CommitQueue) {
    this.#storage = storage
    this.#commit = commit
  }

  get(space: number, name: RowName): Uint8Array | undefined {
    const change = this.#pending.get(space)?.changes.get(textOf(name))
    return change === undefined ? this.#storage.get('state', rowKey(space, name)) : change.value
  }

  /** One page of rows in the order of their keys; keys are given without their space. */
  range(space: number, { from, to, limit, reverse = false }: RowRange): StorageEntry[] {
    const first = rowKey(space, from)
    const end = to === undefined ? endOf(space) : rowKey(space, to)
    const read = (start: Uint8Array, stop: Uint8Array, most: number): StorageEntry[] =>
      this.#storage.range('state', { from: start, to: stop, limit: most, reverse })
    const changes = this.#pending.get(space)?.sorted() ?? []
    const page = mergePage({ read, changes, from: first, to: end, limit, reverse })
    return page.map(({ key, value }) => ({ key: key.subarray(4), value }))
  }

  /** Sets a row. The value must not change any more. */
  put(space: number, name: RowName, value: Uint8Array): void {
    this.#change(space, name, value)
  }

  /** Removes a row, there or not. */
  remove(space: number, name: RowName): void {
    this.#change(space, name, undefined)
  }

  /** Has a source write its rows when the next commit is made. */
  mark(source: RowSource): void {
    this.#sources.add(source)
    this.#commit.mark(this)
  }

  contribute(writes: WriteBatch): void {
    if (this.#sources.size > 0) this.#askSources()
    for (const change of this.#marked) {
      change.isTaken = true
      if (change.value === undefined) writes.remove('state', change.key)
      else writes.put('state', change.key, change.value)
    }
    this.#committing.push(this.#marked)
    this.#marked = []
  }

  flushed(): void {
    for (const change of this.#committing.shift()!) {
      const pending = this.#pending.get(change.space)!
      pending.forget(change)
      if (pending.changes.size === 0) this.#pending.delete(change.space)
    }
  }

  #askSources(): void {
    const sources = this.#sources
    this.#sources = new Set()
    this.#isContributing = true
    for (const source of sources) source.writeRows()
    this.#isContributing = false
  }

  #change(space: number, name: RowName, value: Uint8Array | undefined): void {
    let pending = this.#pending.get(space)
    if (pending === undefined) this.#pending.set(space, (pending = new PendingSpace()))
    const text = textOf(name)
    const before = pending.changes.get(text)
    // However often a row changes between two commits, it is written once.
    if (before !== undefined && !before.isTaken) {
      before.value = value
      return
    }
    const change = { space, text, key: rowKey(space, name), value, isTaken: false }
    pending.set(change)
    this.#marked.push(change)
    if (!this.#isContributing) this.#commit.mark(this)
  }
}

/** The changes of one space that are not on disk. */
class PendingSpace {
  readonly changes = new Map<string, Change>()
  /** The changes in the order of their keys; made when a range is read, dropped when a key comes or goes. */
  #sorted: Change[] | undefined

  set(change: Change): void {
    this.changes.set(change.text, change)
    this.#sorted = undefined
  }

  /** The change is on disk; a later one of the same key stays. */
  forget(change: Change): void {
    if (this.changes.get(change.text) !== change) return
    this.changes.delete(change.text)
    this.#sorted = undefined
  }

  sorted(): readonly Change[] {
    return (this.#sorted ??= [...this.changes.values()].sort((a, b) => Buffer.compare(a.key, b.key)))
  }
}

function rowKey(space: number, name: RowName): Buffer {
  const length = typeof name === 'string' ? Buffer.byteLength(name) : name.length
  const row = Buffer.allocUnsafe(4 + length)
  row.writeUInt32BE(space, 0)
  if (typeof name === 'string') row.write(name, 4)
  else row.set(name, 4)
  return row
}

/** Behind the last key of a space. */
function endOf(space: number): Buffer {
  const end = Buffer.alloc(5)
  if (space < 0xffff_ffff) {
    end.writeUInt32BE(space + 1, 0)
    return end.subarray(0, 4)
  }
  return end.fill(0xff)
}

/** A key of a map: the text, or the bytes as a text of as many characters. */
function textOf(name: RowName): string {
  if (typeof name === 'string') return name
  return Buffer.from(name.buffer, name.byteOffset, name.byteLength).toString('latin1')
}
