import type {
  Acknowledgement,
  AppendOptions,
  Broker,
  BrokerCapabilities,
  Effects,
  GroupDescription,
  GroupPosition,
  JoinRequest,
  Membership,
  StartPosition,
  TopicSettings,
} from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { Contributor, Storage, StorageStats, WriteBatch } from '../contracts/storage.ts'
import type { State } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { Group, type GroupMembership } from '../groups/group.ts'
import { topicKey } from '../key-layout.ts'
import { GroupCommit } from '../log/group-commit.ts'
import { PartitionLog, type LogContext } from '../log/partition-log.ts'
import { RecentReads, Tail } from '../log/tail.ts'
import type { SendResult } from '../message.ts'
import { reservedPrefix } from '../reserved-headers.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { PreparedTable } from '../state/prepared-table.ts'
import { LocalState } from '../state/local-state.ts'
import { StateTable } from '../state/state-table.ts'
import { Catalog } from './catalog.ts'
import { EmbeddedTopic, type TopicContext } from './embedded-topic.ts'
import { EmbeddedPrepared } from './embedded-prepared.ts'
import { roomFor, takeTogether } from './joint-commit.ts'
import { EndRecord } from './end-record.ts'
import { Maintenance } from './maintenance.ts'
import { MessageIds } from './message-ids.ts'
import { ProducerRegistry } from './producer-registry.ts'
import { SendGate, type SendLimits } from './send-gate.ts'
import { assertSameTopic, encodeTopicRow, settingsOf, type TopicRow } from './topic-row.ts'

export interface EmbeddedBrokerOptions extends SendLimits {
  readonly tailBytes: number
  readonly retentionCheckMs: number
  readonly countCrashes: boolean
}

/** Batches read from disk that stay in memory for the next reader. */
const recentReads = 32

/** A membership as this broker hands it out. */
interface LocalMembership extends Membership {
  readonly part: GroupMembership['part']
}

/** The broker that keeps its log in a {@link Storage}: wiring only, each decision has a module of its own. */
export class EmbeddedBroker implements Broker {
  readonly capabilities: BrokerCapabilities
  readonly state: State
  readonly producers: ProducerRegistry
  readonly prepared: EmbeddedPrepared
  readonly ends: EndRecord | undefined
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
    this.capabilities = { durable: storage.durable, exactProgress: true, effects: true }
    const commit = new GroupCommit(storage, runtime, (error) => this.#failed(error))
    this.#commit = commit
    this.#gate = new SendGate(options, {
      inFlightBytes: () => commit.inFlightBytes,
      diskFreeBytes: () => storage.diskFreeBytes,
      fullChanged: (full, freeBytes) => events.emit(full ? 'store:full' : 'store:available', { freeBytes }),
    })
    commit.afterCommit = () => this.#gate.admit()
    storage.onFailure((error) => commit.fail(error))
    this.ends = options.countCrashes ? new EndRecord(storage, commit) : undefined
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
    const table = new StateTable(storage, commit)
    this.prepared = new EmbeddedPrepared(this, new PreparedTable(table, (bytes) => commit.count(bytes)))
    this.state = new LocalState(storage.epoch, table, {
      find: (name) => this.#catalog.stores.get(name),
      create: (name) => this.#createStore(name),
      all: () => this.#catalog.stores,
    })
    this.producers = new ProducerRegistry(table, {
      assertOpen: () => this.assertOpen(),
      flush: () => commit.flush(),
      fenced: (producer, epoch) => events.emit('producer:fenced', { producer, epoch }),
    })
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
      assertSameTopic(name, existing.settings, wanted)
      // Another caller may just be creating it.
      await this.#commit.flush()
      return existing
    }
    const topic = this.#addTopic(name, wanted)
    await this.#commit.flush()
    return topic
  }

  ensureTopic(name: string, wanted: Partial<TopicSettings>): EmbeddedTopic {
    this.assertOpen()
    return this.#topics.get(name) ?? this.#addTopic(name, wanted)
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
      return this.#membership(membership)
    } catch (error) {
      if (group.isUnused) this.#groups.delete(group.name)
      throw error
    }
  }

  async transact(effects: Effects, acks: readonly Acknowledgement[], options: AppendOptions): Promise<SendResult[]> {
    this.assertOpen()
    const settlements = acks.map(({ membership, partitions }) => (membership as LocalMembership).part({ partitions }))
    const parts = [...settlements, ...effects.parts]
    const { outputs } = effects
    const take = (): Promise<SendResult[]> => {
      const { results } = this.#take(parts, outputs)
      if (options.acks === 'buffered') return Promise.resolve(results)
      return new Promise((resolve, reject) => this.#commit.wait(resolve, reject, results))
    }
    const room = roomFor(parts, outputs)
    const waits = room > 0 && !this.#gate.enter(room)
    return waits ? this.#gate.wait(room, options.signal, take) : take()
  }

  groups(): readonly GroupDescription[] {
    const groups = [...this.#groups.values()].filter(({ name }) => !name.startsWith(reservedPrefix))
    return groups.map((group) => group.describe())
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
    this.ends?.close()
    await this.#commit.settled()
    await upkeep
    for (const topic of this.#topics.values()) for (const log of topic.logs) log.release()
    await this.#storage.close()
  }

  #membership(membership: GroupMembership): LocalMembership {
    const { id, settle, part } = membership
    return {
      id,
      settle,
      part,
      accept: (settlement, { parts, outputs }) => this.#take([part(settlement), ...parts], outputs),
      leave: (options) => membership.leave(options).finally(() => this.#countConsumers()),
    }
  }

  #take(parts: readonly CommitPart[], outputs: Effects['outputs']): ReturnType<typeof takeTogether> {
    this.assertOpen()
    return takeTogether(this.#gate, parts, outputs)
  }

  #createStore(name: string): number {
    this.assertOpen()
    const id = this.#catalog.addStore(name)
    this.#mark((writes) => this.#catalog.contribute(writes))
    return id
  }

  /** A new topic, which the next commit stores. */
  #addTopic(name: string, wanted: Partial<TopicSettings>): EmbeddedTopic {
    const row: TopicRow = {
      partitionIds: Array.from({ length: wanted.partitions ?? 1 }, () => this.#catalog.nextId()),
      contentType: wanted.contentType ?? 'application/json',
      text: wanted.text ?? true,
      retention: wanted.retention ?? {},
      dedupe: wanted.dedupe,
    }
    const topic = this.#openTopic(name, row)
    this.#save(topic)
    const created = { topic: name, partitions: row.partitionIds.length }
    this.#commit.wait(
      () => this.#events.emit('topic:created', created),
      () => {},
      undefined,
    )
    return topic
  }

  #openTopic(name: string, row: TopicRow): EmbeddedTopic {
    const logs = row.partitionIds.map((id, partition) => {
      return new PartitionLog(this.#log, id, partition, row.contentType)
    })
    const settings = settingsOf(row)
    const ids = new MessageIds(this.#log, row.partitionIds[0]!, settings.dedupe ?? false)
    const topic = new EmbeddedTopic(this.#topicContext, name, settings, logs, ids)
    this.#topics.set(name, topic)
    return topic
  }

  #newGroup(name: string, id: number, isNew: boolean): Group {
    // Those of the engine run no handlers, and nobody knows their names.
    const isOwn = name.startsWith(reservedPrefix)
    const rebalanced = (group: string, members: number): void =>
      isOwn ? undefined : this.#events.emit('group:rebalanced', { group, members })
    const ends = isOwn ? undefined : this.ends
    const context = { storage: this.#storage, commit: this.#commit, rebalanced, ends }
    const group = new Group(context, name, id, isNew)
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
    const { contentType, text, retention, dedupe } = topic.settings
    const row = encodeTopicRow({ partitionIds: topic.partitionIds, contentType, text, retention, dedupe })
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
