import type { Broker, BrokerTopic, Output } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type {
  CheckState,
  DuePrepared,
  NewPrepared,
  PreparedMessages,
  PreparedRef,
  PreparedTarget,
  PreparedUsage,
  StoredPrepared,
} from '../contracts/prepared.ts'
import { QueueError } from '../errors.ts'
import type { SendResult } from '../message.ts'
import { partitionOf } from '../partitioner.ts'
import { preparedEnded, type PreparedEntry, type PreparedTable } from '../state/prepared-table.ts'

const flushed = { acks: 'flushed' } as const

/** What prepared messages need of the broker that they belong to. */
export interface PreparedHost extends Pick<Broker, 'topic' | 'ensureTopic' | 'transact'> {
  /** @throws `CLOSED`, `STORE_FAILED` */
  assertOpen(): void
}

/** Prepared messages of a broker: their rows, and the commits that they share with the log. */
export class EmbeddedPrepared implements PreparedMessages {
  readonly #broker: PreparedHost
  readonly #table: PreparedTable

  constructor(broker: PreparedHost, table: PreparedTable) {
    this.#broker = broker
    this.#table = table
  }

  async prepare(message: NewPrepared, parts: readonly CommitPart[]): Promise<void> {
    this.#broker.assertOpen()
    const { settings } = this.#topic(message.topic)
    await this.#commit([], [...parts, this.#table.added(message, settings)])
  }

  async commit(ref: PreparedRef, parts: readonly CommitPart[]): Promise<SendResult> {
    const entry = this.#entry(ref, parts)
    const topic = this.#topic(entry.topic)
    const { contentType } = topic.settings
    if (contentType === entry.contentType) return this.#append(entry, topic, entry.headers, parts)
    const message = `topic ${topic.name} holds ${contentType} now, and the prepared message is ${entry.contentType}`
    throw new QueueError('TOPIC_CONFLICT', message, { topic: topic.name, option: 'contentType', value: contentType })
  }

  async rollback(ref: PreparedRef, parts: readonly CommitPart[]): Promise<void> {
    await this.#commit([], [...parts, this.#table.removed(ref)])
  }

  async postpone(ref: PreparedRef, state: CheckState, parts: readonly CommitPart[]): Promise<void> {
    await this.#commit([], [...parts, this.#table.postponed(ref, state)])
  }

  async move(ref: PreparedRef, to: PreparedTarget, parts: readonly CommitPart[]): Promise<SendResult> {
    const entry = this.#entry(ref, parts)
    const { contentType, text } = entry
    const partitions = this.#broker.topic(entry.topic)?.settings.partitions ?? 1
    const topic = this.#broker.ensureTopic(to.topic, { partitions, contentType, text })
    return this.#append(entry, topic, to.headers, parts)
  }

  get(ref: PreparedRef): StoredPrepared | undefined {
    this.#broker.assertOpen()
    return this.#table.get(ref)
  }

  next(producer: string, after: PreparedRef | undefined): StoredPrepared | undefined {
    this.#broker.assertOpen()
    return this.#table.next(producer, after)
  }

  due(producer: string, page: { readonly after: DuePrepared | undefined; readonly limit: number }): DuePrepared[] {
    this.#broker.assertOpen()
    return this.#table.due(producer, page.after, page.limit)
  }

  lastDue(producer: string): DuePrepared | undefined {
    this.#broker.assertOpen()
    return this.#table.lastDue(producer)
  }

  usage(producer: string): PreparedUsage {
    this.#broker.assertOpen()
    return this.#table.usage(producer)
  }

  /** It is stored already and only moves into the log, so neither a full disk nor other sends hold it up. */
  async #append(
    entry: PreparedEntry,
    topic: BrokerTopic,
    headers: string | undefined,
    parts: readonly CommitPart[],
  ): Promise<SendResult> {
    const { partitions, text, contentType } = topic.settings
    const { key, value: stored } = entry
    const value = text && contentType === entry.contentType ? Buffer.from(stored).toString() : stored
    // Only another topic than the one it was prepared for can have fewer.
    const isThere = entry.partition < partitions
    const other = key === undefined ? entry.partition % partitions : partitionOf(key, partitions)
    const partition = isThere ? entry.partition : other
    const record = { partition, key, value, start: 0, end: value.length, headers }
    const [result] = await this.#commit([{ topic, record, isMove: true }], [...parts, this.#table.removed(entry.ref)])
    return result!
  }

  #commit(outputs: readonly Output[], parts: readonly CommitPart[]): Promise<SendResult[]> {
    return this.#broker.transact({ outputs, parts }, [], flushed)
  }

  /** Who may not decide any more is told that first, whatever became of the message. */
  #entry(ref: PreparedRef, parts: readonly CommitPart[]): PreparedEntry {
    this.#broker.assertOpen()
    for (const part of parts) part.check()
    const entry = this.#table.get(ref)
    if (entry === undefined) throw preparedEnded(ref)
    return entry
  }

  #topic(name: string): BrokerTopic {
    const topic = this.#broker.topic(name)
    if (topic === undefined) throw new QueueError('TOPIC_NOT_FOUND', `there is no topic ${name}`, { topic: name })
    return topic
  }
}
