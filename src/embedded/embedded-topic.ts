import type {
  AppendOptions,
  Backlog,
  EncodedRecord,
  FetchResult,
  FinishedView,
  OffsetRange,
  TopicSettings,
} from '../contracts/broker.ts'
import type { QueueError } from '../errors.ts'
import type { GroupTopic } from '../groups/group-topic.ts'
import type { GroupCommit } from '../log/group-commit.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import type { StoredBatch } from '../log/record-batch.ts'
import type { Acks, SendResult } from '../message.ts'
import type { FirstPlace } from './dedupe-window.ts'
import type { MessageIds } from './message-ids.ts'
import type { SendGate } from './send-gate.ts'

/** What topics share with the broker around them. */
export interface TopicContext {
  readonly commit: GroupCommit
  readonly gate: SendGate
  /** Whether a flushed commit is really on disk. */
  readonly durable: boolean
  /** Writes the topic's row with the next commit. */
  readonly save: (topic: EmbeddedTopic) => void
  readonly trimmed: (topic: EmbeddedTopic, partition: number, start: number) => void
  /** Whether more than one group consumes the topic, so that decoding once pays. */
  readonly isShared: (topic: EmbeddedTopic) => boolean
}

/** A topic of the embedded log: its partitions, and the way in for sends. */
export class EmbeddedTopic implements GroupTopic {
  readonly name: string
  readonly logs: readonly PartitionLog[]
  readonly partitionIds: readonly number[]
  ended: QueueError | undefined
  #settings: TopicSettings
  readonly #context: TopicContext
  /** The ids that are known. */
  readonly #ids: MessageIds
  readonly #level: { readonly flushed: SendResult['acks']; readonly buffered: SendResult['acks'] }

  constructor(
    context: TopicContext,
    name: string,
    settings: TopicSettings,
    logs: readonly PartitionLog[],
    ids: MessageIds,
  ) {
    this.#context = context
    this.#ids = ids
    this.name = name
    this.#settings = settings
    this.logs = logs
    this.partitionIds = logs.map(({ id }) => id)
    this.#level = context.durable
      ? { flushed: 'flushed', buffered: 'buffered' }
      : { flushed: 'memory', buffered: 'memory' }
  }

  get settings(): TopicSettings {
    return this.#settings
  }

  append(record: EncodedRecord, options: AppendOptions): Promise<SendResult> {
    if (this.ended) return Promise.reject(this.ended)
    // What is there already needs no room.
    const first = this.#firstOf(record)
    if (first !== undefined) return this.#repeated(first, options.acks)
    const bytes = sizeOf(record)
    try {
      if (this.#context.gate.enter(bytes)) return this.#append(record, bytes, options.acks)
    } catch (error) {
      return Promise.reject(error as Error)
    }
    const kept = keep(record)
    return this.#context.gate.wait(bytes, options.signal, () => this.#append(kept, bytes, options.acks))
  }

  appendBatch(records: readonly EncodedRecord[], options: AppendOptions): Promise<SendResult[]> {
    if (this.ended) return Promise.reject(this.ended)
    let bytes = 0
    for (const record of records) bytes += sizeOf(record)
    try {
      if (this.#context.gate.enter(bytes)) return this.#appendAll(records, bytes, options.acks)
    } catch (error) {
      return Promise.reject(error as Error)
    }
    const kept = records.map(keep)
    return this.#context.gate.wait(bytes, options.signal, () => this.#appendAll(kept, bytes, options.acks))
  }

  fetch(partition: number, offset: number): FetchResult {
    const result = this.logs[partition]!.fetch(offset)
    if (result.kind === 'records' && this.#context.isShared(this)) (result.batch as StoredBatch).shareValues()
    return result
  }

  watch(partition: number, listener: () => void): () => void {
    return this.logs[partition]!.watch(listener)
  }

  offsets(partition: number): OffsetRange {
    return this.logs[partition]!.offsets
  }

  bytes(partition: number): number {
    return this.logs[partition]!.bytes
  }

  offsetAt(partition: number, timestamp: number): number {
    return this.logs[partition]!.offsetAt(timestamp)
  }

  async trim(partition: number, before: number): Promise<void> {
    if (this.ended) throw this.ended
    const log = this.logs[partition]!
    if (before <= log.offsets.start) return
    log.trim(before)
    this.#context.trimmed(this, partition, log.offsets.start)
    await this.#context.commit.flush()
  }

  async configure(settings: TopicSettings): Promise<void> {
    if (this.ended) throw this.ended
    this.#settings = settings
    if (settings.dedupe !== undefined) this.#ids.configure(settings.dedupe)
    this.#context.save(this)
    await this.#context.commit.flush()
  }

  backlog(partition: number, finished: FinishedView): Backlog {
    const log = this.logs[partition]!
    const { start, end } = log.offsets
    let first = Math.max(finished.position, start)
    const done = first === finished.position ? finished.above : finished.countIn(first, end)
    const count = end - first - done
    if (count <= 0) return { count: 0, bytes: 0, oldestTimestamp: undefined }
    // A trim may have moved the start into the finished ones.
    while (finished.has(first)) first++
    return { count, bytes: log.bytesFrom(first), oldestTimestamp: log.timestampAt(first) }
  }

  /** Takes a record into the next commit, for those who know when that is on disk, and that the topic has not ended. */
  take(record: EncodedRecord): SendResult {
    const first = this.#firstOf(record)
    if (first !== undefined) return { ...first, acks: this.#level.flushed, duplicate: true }
    this.#context.commit.count(sizeOf(record))
    return this.#appendTo(this.logs[record.partition]!, record, 'flushed')
  }

  /** From here on every use fails with `error`. */
  end(error: QueueError): void {
    if (this.ended) return
    this.ended = error
    for (const log of this.logs) log.wake()
  }

  #append(record: EncodedRecord, bytes: number, acks: Acks): Promise<SendResult> {
    if (this.ended) return Promise.reject(this.ended)
    const first = this.#firstOf(record)
    if (first !== undefined) return this.#repeated(first, acks)
    const { commit } = this.#context
    commit.count(bytes)
    const log = this.logs[record.partition]!
    const result = this.#appendTo(log, record, acks)
    if (acks === 'buffered') return Promise.resolve(result)
    return new Promise((resolve, reject) => commit.wait(resolve, reject, result))
  }

  #appendAll(records: readonly EncodedRecord[], bytes: number, acks: Acks): Promise<SendResult[]> {
    if (this.ended) return Promise.reject(this.ended)
    if (records.some(({ id }) => id !== undefined)) return this.#appendNew(records, acks)
    const { commit } = this.#context
    commit.count(bytes)
    const places = new Places(records.length)
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!
      const log = this.logs[record.partition]!
      const offset = log.append(record, acks === 'buffered')
      places.set(i, record.partition, offset, log.lastTimestamp)
    }
    const level = this.#level[acks]
    if (acks === 'buffered') return Promise.resolve(places.results(level))
    return new Promise((resolve, reject) => commit.wait(() => resolve(places.results(level)), reject, undefined))
  }

  #appendTo(log: PartitionLog, record: EncodedRecord, acks: Acks): SendResult {
    const offset = log.append(record, acks === 'buffered')
    const { partition, id } = record
    const result = { partition, offset, timestamp: log.lastTimestamp, acks: this.#level[acks], duplicate: false }
    if (id !== undefined) this.#ids.add(id, result)
    return result
  }

  /** Appends those of a batch whose ids are not known, nor stand before them in the batch. */
  #appendNew(records: readonly EncodedRecord[], acks: Acks): Promise<SendResult[]> {
    const { commit } = this.#context
    const results = records.map((record): SendResult => {
      const first = this.#firstOf(record)
      if (first !== undefined) return { ...first, acks: this.#level[acks], duplicate: true }
      commit.count(sizeOf(record))
      return this.#appendTo(this.logs[record.partition]!, record, acks)
    })
    if (acks === 'buffered') return Promise.resolve(results)
    return new Promise((resolve, reject) => commit.wait(resolve, reject, results))
  }

  /** Where the message is that a record repeats. */
  #firstOf({ id }: EncodedRecord): FirstPlace | undefined {
    if (id === undefined) return undefined
    const first = this.#ids.find(id)
    return first && { partition: first.partition, offset: first.offset, timestamp: first.timestamp }
  }

  /** Answers a repeated send; not before the first one is as safe as this one asks for. */
  #repeated(first: FirstPlace, acks: Acks): Promise<SendResult> {
    const result = { ...first, acks: this.#level[acks], duplicate: true }
    const isFlushed = first.offset < this.logs[first.partition]!.flushedEnd
    if (acks === 'buffered' || isFlushed) return Promise.resolve(result)
    return new Promise((resolve, reject) => this.#context.commit.wait(resolve, reject, result))
  }
}

/**
 * Where the messages of a batch went. Kept as numbers until the commit is over: thousands of result objects that outlive
 * a commit would be copied by the garbage collector again and again.
 */
class Places {
  readonly #partitions: Uint16Array
  readonly #offsets: Float64Array
  readonly #timestamps: Float64Array

  constructor(count: number) {
    this.#partitions = new Uint16Array(count)
    this.#offsets = new Float64Array(count)
    this.#timestamps = new Float64Array(count)
  }

  set(index: number, partition: number, offset: number, timestamp: number): void {
    this.#partitions[index] = partition
    this.#offsets[index] = offset
    this.#timestamps[index] = timestamp
  }

  results(acks: SendResult['acks']): SendResult[] {
    const results = new Array<SendResult>(this.#offsets.length)
    for (let i = 0; i < results.length; i++) {
      const partition = this.#partitions[i]!
      results[i] = { partition, offset: this.#offsets[i]!, timestamp: this.#timestamps[i]!, acks, duplicate: false }
    }
    return results
  }
}

/** A record that can wait: its sender may change the bytes as soon as the call returned. */
function keep(record: EncodedRecord): EncodedRecord {
  return typeof record.value === 'string' ? record : { ...record, value: Uint8Array.from(record.value) }
}

/** What a record weighs while it waits for the disk. */
export function sizeOf(record: EncodedRecord): number {
  return record.end - record.start + (record.key?.length ?? 0) + (record.headers?.length ?? 0)
}
