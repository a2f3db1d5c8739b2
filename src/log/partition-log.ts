import type { FetchResult, OffsetRange } from '../contracts/broker.ts'
import type { Contributor, Storage, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import { logKey, offsetOfLogKey, partitionKey } from '../key-layout.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { BatchWindow } from './batch-window.ts'
import { BatchBuilder, type BuilderRecord } from './batch-builder.ts'
import type { GroupCommit } from './group-commit.ts'
import { readPartitionRow, writePartitionRow } from './partition-row.ts'
import { StoredBatch } from './record-batch.ts'
import type { RecentReads, Tail, TailOwner } from './tail.ts'

/** What all partition logs of a store share. */
export interface LogContext {
  readonly storage: Storage
  readonly runtime: Runtime
  readonly commit: GroupCommit
  readonly tail: Tail
  readonly recent: RecentReads
}

/** A batch is sealed when it reaches this size: 32 pages of LMDB less its page header, so that it fills them. */
export const maxBatchBytes: number = 32 * 4096 - 16

/** Batches that one commit may remove, so that trimming a long backlog never delays other work. */
const maxRemovalsPerCommit = 256

/**
 * The log of one partition: appends, reads and trims.
 *
 * Offsets: `start` ≤ `visibleEnd` ≤ `end`. A message may be read below `visibleEnd`: it is flushed, or it was sent as
 * `buffered` and everything before it may be read.
 */
export class PartitionLog implements Contributor, TailOwner {
  readonly id: number
  readonly partition: number
  readonly #context: LogContext
  readonly #builder: BatchBuilder
  /** First offset that can be read. Moves up with trims, durable with the commit that follows. */
  #start: number
  /** The offset that the next append gets. */
  #end: number
  #visibleEnd: number
  /** Everything below is on disk. */
  #flushedEnd: number
  /** Bytes ever appended. */
  #bytesEnd: number
  /** Never decreases, so that a lookup by time is a binary search. */
  #lastTimestamp: number
  /** The newest batches in order. Invariant: consecutive; covers everything that is not flushed except the open builder. */
  readonly #tail = new BatchWindow()
  /** Batches sealed since the last commit was made. */
  #sealed: StoredBatch[] = []
  /** Ends of the commits under way, oldest first. */
  #committing: number[] = []
  /** Whether `start` has to be written with the next commit. */
  #startChanged = false
  /** Whether batches below `start` remain to be removed. */
  #removing = false
  #watchers = new Set<() => void>()
  #wakeScheduled = false
  #openedAt = 0

  constructor(context: LogContext, id: number, partition: number, contentType: string) {
    this.#context = context
    this.id = id
    this.partition = partition
    this.#builder = new BatchBuilder(contentType)
    const row = context.storage.get('meta', partitionKey(id))
    const trimmed = row === undefined ? { start: 0, bytes: 0, timestamp: 0 } : readPartitionRow(row)
    const [last] = context.storage.range('log', { ...this.#range(), limit: 1, reverse: true })
    const batch = last && StoredBatch.read(last.value as Buffer, id, offsetOfLogKey(last.key))
    this.#start = trimmed.start
    this.#end = Math.max(batch?.nextOffset ?? 0, trimmed.start)
    this.#visibleEnd = this.#end
    this.#flushedEnd = this.#end
    this.#bytesEnd = batch ? batch.bytesBefore + batch.bytes : trimmed.bytes
    this.#lastTimestamp = Math.max(batch?.timestamp ?? 0, trimmed.timestamp)
    if (this.#start > 0) this.#continueRemoval()
  }

  get offsets(): OffsetRange {
    return { start: this.#start, end: this.#visibleEnd }
  }

  /** Everything below is on disk. */
  get flushedEnd(): number {
    return this.#flushedEnd
  }

  /** The offset that the next append gets, flushed or not. */
  get end(): number {
    return this.#end
  }

  /** Bytes from the batch that holds the first message to the end; what a removal under way still has to take does not count. */
  get bytes(): number {
    return this.bytesFrom(this.#start)
  }

  /** Bytes stored from the batch that holds `offset` to the end. */
  bytesFrom(offset: number): number {
    const batch = this.#find(offset)
    return batch === undefined ? 0 : this.#bytesEnd - batch.bytesBefore
  }

  /** When the message at `offset` was appended; undefined where there is none. */
  timestampAt(offset: number): number | undefined {
    return this.#find(offset)?.timestamp
  }

  /** Takes one record into the open batch and gives it its offset at once; it is stored with the next commit. */
  append(record: BuilderRecord, buffered: boolean): number {
    const builder = this.#builder
    const size = record.end - record.start + (record.key === undefined ? 0 : record.key.length)
    if (builder.count > 0 && (builder.bytes + size > maxBatchBytes || !builder.takes(record.value))) this.#seal()
    if (builder.count === 0) {
      this.#openedAt = Math.max(this.#lastTimestamp, this.#context.runtime.now())
      this.#lastTimestamp = this.#openedAt
      this.#context.commit.mark(this)
      if (buffered) this.#scheduleWake()
    }
    if (!buffered) builder.buffered = false
    builder.add(record)
    return this.#end++
  }

  /** The timestamp of the record that was appended last. */
  get lastTimestamp(): number {
    return this.#lastTimestamp
  }

  fetch(offset: number): FetchResult {
    if (offset < this.#start) return { kind: 'gap', start: this.#start }
    if (offset >= this.#visibleEnd) {
      if (offset > this.#end) throw outOfRange(this.partition, offset, this.#start, this.#end)
      return empty
    }
    const batch = this.#find(offset)
    if (batch === undefined) {
      throw new QueueError('STORE_CORRUPT', `no record batch holds offset ${offset} of partition ${this.partition}`, {
        partition: this.partition,
        offset,
      })
    }
    return { kind: 'records', batch, index: offset - batch.baseOffset }
  }

  watch(listener: () => void): () => void {
    // A function may be registered twice; each registration is its own.
    const watcher = (): void => listener()
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** The first visible offset whose message is at or after `timestamp`. */
  offsetAt(timestamp: number): number {
    let low = this.#start
    let high = this.#visibleEnd
    while (low < high) {
      const batch = this.#find(Math.floor((low + high) / 2))
      if (batch === undefined) break
      if (batch.timestamp >= timestamp) high = Math.max(low, batch.baseOffset)
      else low = Math.min(high, batch.nextOffset)
    }
    return low
  }

  /** Hides everything below `before` at once; the batches go away with the next commits. */
  trim(before: number): void {
    const start = Math.min(Math.max(before, this.#start), this.#visibleEnd)
    if (start === this.#start) return
    this.#start = start
    this.#startChanged = true
    this.#removing = true
    this.#context.commit.mark(this)
  }

  /** Base offsets, sizes and times of the oldest stored batches, for retention to choose from. */
  oldest(limit: number): { offset: number; nextOffset: number; timestamp: number; bytes: number }[] {
    const found = []
    let offset = this.#start
    while (found.length < limit && offset < this.#flushedEnd) {
      const batch = this.#find(offset)
      if (batch === undefined) break
      found.push({
        offset: batch.baseOffset,
        nextOffset: batch.nextOffset,
        timestamp: batch.timestamp,
        bytes: batch.bytes,
      })
      offset = batch.nextOffset
    }
    return found
  }

  contribute(writes: WriteBatch): void {
    if (this.#builder.count > 0) this.#seal()
    for (const batch of this.#sealed) writes.put('log', logKey(this.id, batch.baseOffset), batch.encoded)
    this.#sealed = []
    this.#committing.push(this.#end)
    if (this.#startChanged) {
      this.#startChanged = false
      const row = { start: this.#start, bytes: this.#bytesEnd, timestamp: this.#lastTimestamp }
      writes.put('meta', partitionKey(this.id), writePartitionRow(row))
    }
    if (this.#removing) this.#removeSlice(writes)
  }

  flushed(): void {
    this.#flushedEnd = this.#committing.shift()!
    this.#advanceVisible(this.#flushedEnd)
    this.#context.tail.evict()
    if (this.#removing) this.#context.commit.mark(this)
  }

  evictOldest(): boolean {
    const { oldest } = this.#tail
    if (oldest === undefined || oldest.nextOffset > this.#flushedEnd) return false
    this.#tail.shift()
    oldest.dropSharedValues()
    this.#context.tail.removed(oldest)
    return true
  }

  /** Lets batches of the tail go that lie wholly below the start. */
  #trimTail(): void {
    while (this.#tail.oldest !== undefined && this.#tail.oldest.nextOffset <= this.#start) {
      if (!this.evictOldest()) return
      this.#context.tail.skip(this)
    }
  }

  /** Lets go of all memory, when the topic is deleted or the store closed. */
  release(): void {
    for (let batch = this.#tail.shift(); batch; batch = this.#tail.shift()) this.#context.tail.removed(batch)
    this.#context.tail.forget(this)
    this.#context.recent.forget(this)
    this.#watchers.clear()
  }

  /** Wakes everyone who watches, so that they see that the topic ended. */
  wake(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }

  #seal(): void {
    const base = this.#end - this.#builder.count
    const batch = this.#builder.seal({
      partitionId: this.id,
      epoch: this.#context.storage.epoch,
      baseOffset: base,
      timestamp: this.#openedAt,
      bytesBefore: this.#bytesEnd,
    })
    this.#bytesEnd += batch.bytes
    this.#sealed.push(batch)
    this.#tail.push(batch)
    this.#context.tail.added(this, batch)
    if (batch.buffered && this.#visibleEnd === base) this.#advanceVisible(batch.nextOffset)
  }

  /**
   * A batch of buffered records need not wait for the disk to be read. When someone waits at the end of the log it is
   * sealed in this turn, even if no commit can start yet; when nobody waits it may go on growing.
   */
  #scheduleWake(): void {
    if (this.#wakeScheduled || this.#watchers.size === 0) return
    this.#wakeScheduled = true
    this.#context.runtime.soon('wake', this.#sealBuffered)
  }

  readonly #sealBuffered = (): void => {
    this.#wakeScheduled = false
    if (this.#builder.count === 0 || !this.#builder.buffered) return
    if (this.#visibleEnd === this.#end - this.#builder.count && !this.#context.commit.failure) this.#seal()
  }

  /** Moves the visible end to `offset` and on over buffered batches behind it, then wakes the readers. */
  #advanceVisible(offset: number): void {
    const end = this.#tail.bufferedEnd(Math.max(this.#visibleEnd, offset))
    if (end === this.#visibleEnd) return
    this.#visibleEnd = end
    for (const watcher of this.#watchers) watcher()
  }

  /** The batch that holds a stored offset: from the tail, from recent reads, or from disk. */
  #find(offset: number): StoredBatch | undefined {
    const { oldest } = this.#tail
    if (oldest !== undefined && offset >= oldest.baseOffset) return this.#tail.find(offset)
    const recent = this.#context.recent.find(this, offset)
    if (recent) return recent
    const batch = this.#read(offset)
    if (batch) this.#context.recent.add(this, batch)
    return batch
  }

  #read(offset: number): StoredBatch | undefined {
    const { storage } = this.#context
    const direct = storage.get('log', logKey(this.id, offset))
    if (direct) return StoredBatch.read(direct as Buffer, this.id, offset)
    const to = logKey(this.id, offset + 1)
    const [entry] = storage.range('log', { from: logKey(this.id, 0), to, limit: 1, reverse: true })
    if (entry === undefined) return undefined
    const batch = StoredBatch.read(entry.value as Buffer, this.id, offsetOfLogKey(entry.key))
    return offset < batch.nextOffset ? batch : undefined
  }

  #range(): { from: Buffer; to: Buffer } {
    return { from: logKey(this.id, 0), to: logKey(this.id + 1, 0) }
  }

  /** Removes whole batches below `start`, at most one slice; stays on while some are left. */
  #removeSlice(writes: WriteBatch): void {
    const limit = maxRemovalsPerCommit + 1
    const to = logKey(this.id, this.#start)
    const keys = this.#context.storage.keys('log', { from: logKey(this.id, 0), to, limit })
    // The last key below `start` begins a batch that may reach over it; that one stays unless it ends right there.
    const whole = keys.length === limit ? maxRemovalsPerCommit : keys.length - 1
    for (let i = 0; i < whole; i++) writes.remove('log', keys[i]!)
    const last = keys[keys.length - 1]
    if (keys.length < limit && last && this.#endsAtStart(offsetOfLogKey(last))) writes.remove('log', last)
    this.#removing = keys.length === limit
    this.#trimTail()
  }

  #endsAtStart(baseOffset: number): boolean {
    const batch = this.#find(baseOffset)
    return batch !== undefined && batch.nextOffset <= this.#start && batch.nextOffset <= this.#flushedEnd
  }

  /** After a restart: a removal that a crash interrupted goes on. */
  #continueRemoval(): void {
    const to = logKey(this.id, this.#start)
    if (this.#context.storage.keys('log', { from: logKey(this.id, 0), to, limit: 2 }).length < 2) return
    this.#removing = true
    this.#context.commit.mark(this)
  }
}

const empty: FetchResult = Object.freeze({ kind: 'empty' })

export function outOfRange(partition: number, offset: number, start: number, end: number): QueueError {
  return new QueueError(
    'OFFSET_OUT_OF_RANGE',
    `offset ${offset} of partition ${partition} is outside [${start}, ${end}]: read from 'earliest' or 'latest'`,
    { partition, offset, from: start, to: end },
  )
}
