import type {
  Broker,
  BrokerCapabilities,
  GroupDescription,
  GroupPosition,
  JoinRequest,
  Membership,
  RetentionSettings,
  StartPosition,
  TopicSettings,
} from '../contracts/broker.ts'
import type { Contributor, Storage, StorageStats, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { Group } from '../groups/group.ts'
import { topicKey } from '../key-layout.ts'
import { GroupCommit } from '../log/group-commit.ts'
import { PartitionLog, type LogContext } from '../log/partition-log.ts'
import { keepEverything } from '../log/retention.ts'
import { RecentReads, Tail } from '../log/tail.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Catalog } from './catalog.ts'
import { EmbeddedTopic, type TopicContext } from './embedded-topic.ts'
import { Maintenance } from './maintenance.ts'
import { SendGate, type SendLimits } from './send-gate.ts'
import { encodeTopicRow, settingsOf, type TopicRow } from './topic-row.ts'

export interface EmbeddedBrokerOptions extends SendLimits {
  readonly tailBytes: number
  readonly retentionCheckMs: number
}

/** Batches read from disk that stay in memory for the next reader. */
const recentReads = 32

/** The broker that keeps its log in a {@link Storage}: wiring only, each decision has a module of its own. */
export class EmbeddedBroker implements Broker {
  readonly capabilities: BrokerCapabilities
  readonly #storage: Storage
  readonly #events: EventHub
  readonly #commit: GroupCommit
  readonly #gate: SendGate
  readonly #log: LogContext
  readonly #topicContext: TopicContext
  readonly #catalog: Catalog
  readonly #maintenance: Maintenance
  readonly #topics = new Map<string, EmbeddedTopic>()
  readonly #groups = new Map<string, Group>()
  #closed: QueueError | undefined

  constructor(storage: Storage, runtime: Runtime, events: EventHub, options: EmbeddedBrokerOptions) {
    this.#storage = storage
    this.#events = events
    this.capabilities = { durable: storage.durable, exactProgress: true }
    const commit = new GroupCommit(storage, runtime, (error) => this.#failed(error))
    this.#commit = commit
    this.#gate = new SendGate(options, {
      inFlightBytes: () => commit.inFlightBytes,
      diskFreeBytes: () => storage.diskFreeBytes,
      fullChanged: (full, freeBytes) => events.emit(full ? 'store:full' : 'store:available', { freeBytes }),
    })
    commit.afterCommit = () => this.#gate.admit()
    storage.onFailure((error) => commit.fail(error))
    const tail = new Tail(options.tailBytes)
    this.#log = { storage, runtime, commit, tail, recent: new RecentReads(recentReads) }
    this.#topicContext = {
      commit,
      gate: this.#gate,
      durable: storage.durable,
      save: (topic) => this.#save(topic),
      trimmed: (topic, partition, start) => events.emit('topic:trimmed', { topic: topic.name, partition, start }),
      isShared: (topic) => this.#catalog.consumers(topic.name) > 1,
    }
    this.#catalog = new Catalog(storage)
    for (const [name, row] of this.#catalog.topics()) this.#openTopic(name, row)
    for (const [name, id] of this.#catalog.groups()) {
      const group = this.#newGroup(name, id, false)
      for (const topic of this.#topics.values()) group.restore(topic)
    }
    this.#maintenance = new Maintenance(storage, runtime, commit, {
      topics: () => this.#topics.values(),
      consumed: (names, partitionId) => this.#consumed(names, partitionId),
      checkMs: options.retentionCheckMs,
    })
    this.#maintenance.start()
  }

  topic(name: string): EmbeddedTopic | undefined {
    return this.#topics.get(name)
  }

  topics(): readonly EmbeddedTopic[] {
    return [...this.#topics.values()]
  }

  async createTopic(name: string, wanted: Partial<TopicSettings>): Promise<EmbeddedTopic> {
    this.assertOpen()
    const existing = this.#topics.get(name)
    if (existing) {
      this.#checkSame(existing, wanted)
      // Another caller may just be creating it.
      await this.#commit.flush()
      return existing
    }
    const row: TopicRow = {
      partitionIds: Array.from({ length: wanted.partitions ?? 1 }, () => this.#catalog.nextId()),
      contentType: wanted.contentType ?? 'application/json',
      text: wanted.text ?? true,
      retention: wanted.retention ?? {},
    }
    const topic = this.#openTopic(name, row)
    this.#save(topic)
    await this.#commit.flush()
    this.#events.emit('topic:created', { topic: name, partitions: row.partitionIds.length })
    return topic
  }

  async deleteTopic(name: string): Promise<void> {
    this.assertOpen()
    const topic = this.#topics.get(name)
    if (!topic) throw new QueueError('TOPIC_NOT_FOUND', `there is no topic ${name}`, { topic: name })
    const error = new QueueError('TOPIC_DELETED', `topic ${name} was deleted`, { topic: name })
    // All at once, before anything is awaited: a new topic of that name is another one, with other numbers.
    this.#topics.delete(name)
    topic.end(error)
    this.#mark((writes) => {
      writes.remove('meta', topicKey(name))
      this.#catalog.removePartitions(writes, topic.partitionIds)
    })
    for (const group of this.#groups.values()) group.lose(error, topic)
    await this.#commit.flush()
    for (const log of topic.logs) log.release()
    // Batches that were on their way are on disk now, so that the sweep finds all of them.
    this.#maintenance.sweepRemoved()
    this.#events.emit('topic:deleted', { topic: name })
  }

  flush(): Promise<void> {
    if (this.#closed) return Promise.reject(this.#closed)
    return this.#commit.flush()
  }

  async join(request: JoinRequest): Promise<Membership> {
    this.assertOpen()
    for (const topic of request.topics) if ((topic as EmbeddedTopic).ended) throw (topic as EmbeddedTopic).ended!
    const group = this.#groups.get(request.group) ?? this.#createGroup(request.group)
    try {
      const membership = await group.join(request)
      this.#countConsumers()
      return { ...membership, leave: (options) => membership.leave(options).finally(() => this.#countConsumers()) }
    } catch (error) {
      if (group.isUnused) this.#groups.delete(group.name)
      throw error
    }
  }

  groups(): readonly GroupDescription[] {
    return [...this.#groups.values()].map((group) => group.describe())
  }

  positions(name: string): readonly GroupPosition[] {
    return this.#group(name).positions()
  }

  async seek(name: string, to: StartPosition, where?: { topic?: string; partition?: number }): Promise<void> {
    this.assertOpen()
    await this.#group(name).seek(to, where)
  }

  async deleteGroup(name: string): Promise<void> {
    this.assertOpen()
    const group = this.#group(name)
    if (group.hasMembers) {
      throw new QueueError('GROUP_CONFLICT', `group ${name} has members: close its subscriptions first`, {
        group: name,
      })
    }
    this.#groups.delete(name)
    this.#mark((writes) => group.erase(writes))
    await this.#commit.flush()
  }

  /** Runs one pass of retention now; settles when what it removed is durable. */
  async retain(): Promise<void> {
    this.assertOpen()
    await this.#maintenance.retain()
  }

  /** Runs an operation on the store when no other one runs. */
  exclusive<T>(operation: () => Promise<T>): Promise<T> {
    this.assertOpen()
    return this.#maintenance.exclusive(operation)
  }

  get storage(): Storage {
    return this.#storage
  }

  /** Figures for a snapshot. */
  stats(): { storage: StorageStats; commits: number; inFlightBytes: number; waitingSends: number; tailBytes: number } {
    return {
      storage: this.#storage.stats(),
      commits: this.#commit.commits,
      inFlightBytes: this.#commit.inFlightBytes,
      waitingSends: this.#gate.waiting,
      tailBytes: this.#log.tail.bytes,
    }
  }

  /** Refuses new work, flushes what was accepted, then releases the store. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = new QueueError('CLOSED', 'the queue is closed')
    const upkeep = this.#maintenance.stop()
    this.#gate.shut(this.#closed)
    for (const group of this.#groups.values()) group.lose(this.#closed)
    for (const topic of this.#topics.values()) topic.end(this.#closed)
    await this.#commit.settled()
    await upkeep
    for (const topic of this.#topics.values()) for (const log of topic.logs) log.release()
    await this.#storage.close()
  }

  #checkSame(topic: EmbeddedTopic, wanted: Partial<TopicSettings>): void {
    const { settings, name } = topic
    for (const field of ['partitions', 'contentType'] as const) {
      const value = wanted[field]
      if (value === undefined || value === settings[field]) continue
      const message = `topic ${name} exists with ${field} ${settings[field]}, not ${value}: leave it out or use that`
      throw new QueueError('TOPIC_CONFLICT', message, {
        topic: name,
        option: field,
        value,
        allowed: String(settings[field]),
      })
    }
  }

  #openTopic(name: string, row: TopicRow): EmbeddedTopic {
    const logs = row.partitionIds.map((id, partition) => {
      return new PartitionLog(this.#log, id, partition, row.contentType, row.text)
    })
    const topic = new EmbeddedTopic(this.#topicContext, name, settingsOf(row), logs)
    this.#topics.set(name, topic)
    return topic
  }

  #newGroup(name: string, id: number, isNew: boolean): Group {
    const rebalanced = (group: string, members: number): void =>
      this.#events.emit('group:rebalanced', { group, members })
    const group = new Group({ storage: this.#storage, commit: this.#commit, rebalanced }, name, id, isNew)
    this.#groups.set(name, group)
    return group
  }

  #createGroup(name: string): Group {
    const group = this.#newGroup(name, this.#catalog.nextId(), true)
    this.#mark((writes) => this.#catalog.contribute(writes))
    return group
  }

  #group(name: string): Group {
    const group = this.#groups.get(name)
    if (group) return group
    throw new QueueError('GROUP_NOT_FOUND', `there is no group ${name}`, { group: name })
  }

  #countConsumers(): void {
    this.#catalog.countConsumers([...this.#groups.values()].map((group) => group.consumedTopics))
  }

  #save(topic: EmbeddedTopic): void {
    const { contentType, text, retention } = topic.settings
    const row = encodeTopicRow({ partitionIds: topic.partitionIds, contentType, text, retention })
    this.#mark((writes) => {
      writes.put('meta', topicKey(topic.name), row)
      this.#catalog.contribute(writes)
    })
  }

  /** Puts a few writes into the next commit. */
  #mark(contribute: (writes: WriteBatch) => void): void {
    const contributor: Contributor = { contribute }
    this.#commit.mark(contributor)
  }

  #consumed(names: readonly string[], partitionId: number): number {
    let lowest = Infinity
    for (const name of names) lowest = Math.min(lowest, this.#groups.get(name)?.positionIn(partitionId) ?? 0)
    return lowest
  }

  #failed(error: QueueError): void {
    void this.#maintenance.stop()
    this.#gate.shut(error)
    for (const topic of this.#topics.values()) topic.end(error)
    for (const group of this.#groups.values()) group.lose(error)
    this.#events.emit('store:failed', { error })
  }

  /** @throws `CLOSED`, `STORE_FAILED` */
  assertOpen(): void {
    if (this.#closed) throw this.#closed
    if (this.#commit.failure) throw this.#commit.failure
  }
}

/** Retention with every field set. */
export function completeRetention(given: Partial<RetentionSettings>): RetentionSettings {
  return { ...keepEverything, ...given }
}
