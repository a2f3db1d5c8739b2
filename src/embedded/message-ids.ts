import type { DedupeSettings } from '../contracts/broker.ts'
import type { CommitQueue, Contributor, Storage, WriteBatch } from '../contracts/storage.ts'
import { messageIdsKey, numberOfMessageIdsKey } from '../key-layout.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { DedupeWindow, type FirstPlace } from './dedupe-window.ts'

/** What the ids of all topics share. */
export interface MessageIdsContext {
  readonly storage: Storage
  readonly commit: CommitQueue
  readonly runtime: Runtime
}

/** Ids in one row at most. */
const idsPerRow = 1_024
/** Rows that one commit removes at most, and that are read at once. */
const rowsPerStep = 256

/** An id that the next commit stores. */
interface NewId extends FirstPlace {
  readonly id: string
}

/**
 * The ids that were sent to a topic, as far as its window reaches. The commit that holds the messages holds a row with
 * their ids; a row whose ids are all forgotten is removed by a later commit. While nobody sends ids there is nothing to do.
 */
export class MessageIds implements Contributor {
  readonly #context: MessageIdsContext
  /** A number that no other topic ever has. */
  readonly #topicId: number
  readonly #window: DedupeWindow
  /** What the next commit stores: a list for each row. */
  #rows: NewId[][] = []
  /** The lowest row that may be stored. */
  #firstRow = 0
  /** The row that is filled next. */
  #nextRow = 0

  constructor(context: MessageIdsContext, topicId: number, limits: DedupeSettings | false) {
    this.#context = context
    this.#topicId = topicId
    this.#window = new DedupeWindow(limits)
    this.#load()
  }

  /** Where the first message of that id is; undefined when there is none that counts. */
  find(id: string): FirstPlace | undefined {
    return this.#window.find(id, this.#context.runtime.monotonic())
  }

  /** Notes an id whose message was just appended: both are in the same commit. */
  add(id: string, place: FirstPlace): void {
    if (!this.#window.limits) return
    let row = this.#rows.at(-1)
    if (row === undefined || row.length === idsPerRow) {
      this.#rows.push((row = []))
      this.#nextRow++
    }
    const { partition, offset, timestamp } = place
    row.push({ id, partition, offset, timestamp })
    this.#window.add(id, place, this.#nextRow - 1, this.#context.runtime.monotonic())
    this.#context.commit.mark(this)
  }

  /** Other limits count from now on. */
  configure(limits: DedupeSettings | false): void {
    this.#window.limits = limits
    this.#window.expire(this.#context.runtime.monotonic())
    this.#removeLater()
  }

  contribute(writes: WriteBatch): void {
    const now = this.#context.runtime.now()
    let row = this.#nextRow - this.#rows.length
    for (const ids of this.#rows) writes.put('state', messageIdsKey(this.#topicId, row++), encodeIds(ids, now))
    this.#rows = []
    const end = Math.min(this.#lowestKept, this.#firstRow + rowsPerStep)
    while (this.#firstRow < end) writes.remove('state', messageIdsKey(this.#topicId, this.#firstRow++))
  }

  flushed(): void {
    // The rest, in slices: there may never be another id that would take it along.
    this.#removeLater()
  }

  /** Has the next commit remove rows, where there are any whose ids are all forgotten. */
  #removeLater(): void {
    if (this.#firstRow < this.#lowestKept) this.#context.commit.mark(this)
  }

  /** The lowest row that holds an id that counts. */
  get #lowestKept(): number {
    return this.#window.oldestRow ?? this.#nextRow - this.#rows.length
  }

  #load(): void {
    const { storage, runtime } = this.#context
    const now = runtime.now()
    const monotonic = runtime.monotonic()
    const to = messageIdsKey(this.#topicId + 1, 0)
    let isFirst = true
    for (let from = messageIdsKey(this.#topicId, 0); ; from = messageIdsKey(this.#topicId, this.#nextRow)) {
      const page = storage.range('state', { from, to, limit: rowsPerStep })
      for (const { key, value } of page) {
        const row = numberOfMessageIdsKey(key)
        if (isFirst) this.#firstRow = row
        isFirst = false
        this.#nextRow = row + 1
        const { storedAt, ids } = decodeIds(value)
        // A wall clock that was set back makes no id older than it is.
        const at = monotonic - Math.max(0, now - storedAt)
        for (const { id, ...place } of ids) this.#window.add(id, place, row, at)
      }
      if (page.length < rowsPerStep) break
    }
    this.#window.expire(monotonic)
    // What was forgotten while no process lived, and what an earlier one had begun to remove.
    this.#removeLater()
  }
}

/** Bytes of a row before its ids, and of each id before its text. */
const at = { time: 0, ids: 8 } as const
const idBytes = { partition: 0, offset: 2, timestamp: 8, length: 14, text: 15 } as const

/** The time of the commit (f64), then for each id: partition (u16), offset (u48), time (u48), length less one (u8), UTF-8. */
function encodeIds(ids: readonly NewId[], now: number): Buffer {
  let bytes = at.ids
  for (const { id } of ids) bytes += idBytes.text + Buffer.byteLength(id)
  const row = Buffer.allocUnsafe(bytes)
  row.writeDoubleLE(now, at.time)
  let start: number = at.ids
  for (const { id, partition, offset, timestamp } of ids) {
    row.writeUInt16LE(partition, start + idBytes.partition)
    row.writeUIntLE(offset, start + idBytes.offset, 6)
    row.writeUIntLE(timestamp, start + idBytes.timestamp, 6)
    const length = row.write(id, start + idBytes.text)
    row[start + idBytes.length] = length - 1
    start += idBytes.text + length
  }
  return row
}

function decodeIds(stored: Uint8Array): { storedAt: number; ids: NewId[] } {
  const row = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
  const ids: NewId[] = []
  let start: number = at.ids
  while (start < row.length) {
    const text = start + idBytes.text
    const end = text + row[start + idBytes.length]! + 1
    ids.push({
      id: row.toString('utf8', text, end),
      partition: row.readUInt16LE(start + idBytes.partition),
      offset: row.readUIntLE(start + idBytes.offset, 6),
      timestamp: row.readUIntLE(start + idBytes.timestamp, 6),
    })
    start = end
  }
  return { storedAt: row.readDoubleLE(at.time), ids }
}
