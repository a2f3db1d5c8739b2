import { json, resolveCodec, type Codec } from '../codec.ts'
import type { Broker, TopicSettings } from '../contracts/broker.ts'
import type { Environment } from '../contracts/environment.ts'
import { QueueError } from '../errors.ts'
import type { QueueEventName, QueueEvents } from '../events.ts'
import { checkStoreName, checkTopicName, integer, resolveOptions } from '../options.ts'
import { Group } from './group.ts'
import { LetterLogs } from './letter-log.ts'
import type { SubscribeOptions, TopicOptions } from './options.ts'
import { Preparation } from './preparation.ts'
import { Producer } from './producer.ts'
import { resolveProducerOptions, type ProducerOptions } from './producer-options.ts'
import { resolveTopicOptions } from './resolve.ts'
import { resolveStoreOptions, StateStore, type StoreOptions } from './state-store.ts'
import { StatsTaker, type QueueStats, type StoreStats } from './stats.ts'
import type { CloseReport, MessageStream, Subscription } from './subscription.ts'
import { Subscriptions, type SubscriptionsHost } from './subscriptions.ts'
import {
  Topic,
  type BatchHandler,
  type BatchSubscribeOptions,
  type MessageHandler,
  type SingleSubscribeOptions,
  type TopicHost,
} from './topic.ts'
import { ownCodecOf, TopicCodecs } from './topic-codecs.ts'
import { runTransaction, type Transaction, type TransactionOptions, type TransactionResult } from './transaction.ts'

/** What {@link MessageQueue.verify} found. */
export interface VerifyReport {
  /** Whether nothing is damaged. */
  readonly ok: boolean
  readonly batches: number
  readonly messages: number
  /** A line for each damage, with its place. */
  readonly damages: readonly string[]
}

/** Operations that need the store itself, not only a broker. */
export interface StoreOperations {
  stats(): StoreStats
  backup(path: string): Promise<void>
  compact(): Promise<{ before: number; after: number }>
  verify(): Promise<VerifyReport>
}

/** What a queue is made of. */
export interface QueueParts extends SubscriptionsHost {
  readonly store: StoreOperations
}

/** An open message queue: topics, groups, and everything that belongs to the store. */
export class MessageQueue {
  readonly #parts: QueueParts
  readonly #broker: Broker
  readonly #subscriptions: Subscriptions
  readonly #producers = new Set<Producer>()
  readonly #codecs = new TopicCodecs()
  readonly #letters: LetterLogs
  readonly #stats: StatsTaker
  #closing: Promise<CloseReport> | undefined

  /** @internal */
  constructor(parts: QueueParts) {
    this.#parts = parts
    this.#broker = parts.broker
    this.#letters = new LetterLogs(parts.broker, parts.runtime)
    this.#subscriptions = new Subscriptions(parts)
    this.#stats = new StatsTaker(parts.runtime)
    this.#stats.begin(parts.broker)
  }

  /**
   * Creates a topic, or opens it and checks that it is what was asked for. A new one is on disk when this resolves.
   *
   * `V` is the type of its values; nothing checks it, unless {@link TopicOptions.schema} does.
   *
   * @throws `TOPIC_CONFLICT` when it exists with another number of partitions or another codec; `INVALID_NAME`,
   * `INVALID_OPTION`, `CLOSED`
   */
  async topic<V = unknown>(name: string, options?: TopicOptions<V>): Promise<Topic<V>> {
    this.#assertOpen()
    checkTopicName(name)
    const resolved = await resolveTopicOptions<V>(options)
    const existing = this.#broker.topic(name)
    const codec = resolved.codec ?? (existing ? await ownCodecOf(name, existing.settings.contentType) : json)
    const wanted: Partial<TopicSettings> = {
      contentType: codec.contentType,
      text: codec.format === 'text',
      ...(resolved.partitions === undefined ? {} : { partitions: resolved.partitions }),
    }
    const changeable: Partial<TopicSettings> = {
      ...(resolved.retention ? { retention: complete(resolved.retention) } : {}),
      ...(resolved.dedupe === undefined ? {} : { dedupe: resolved.dedupe }),
    }
    const created = existing ? wanted : { ...wanted, ...changeable }
    const topic = await this.#broker.createTopic(name, created)
    if (existing && Object.keys(changeable).length > 0) await topic.configure({ ...topic.settings, ...changeable })
    this.#codecs.opened(name, codec)
    this.#parts.observer?.topic(name, codec)
    return new Topic<V>(topic, codec, resolved, { subscribe: (...given) => this.#subscribe(...given) })
  }

  /** What lies beneath, for what is built into the same environment. @internal */
  get environment(): Environment {
    return { broker: this.#broker, runtime: this.#parts.runtime }
  }

  /** Names of all topics. */
  topics(): string[] {
    return this.#broker.topics().map(({ name }) => name)
  }

  /** What is kept of a topic's settings. @throws `TOPIC_NOT_FOUND` */
  describe(name: string): TopicSettings {
    const topic = this.#broker.topic(name)
    if (topic) return topic.settings
    throw new QueueError('TOPIC_NOT_FOUND', `there is no topic ${name}`, { topic: name })
  }

  /** Removes a topic with its messages and every group's progress in it. Subscriptions to it end with `TOPIC_DELETED`. */
  async deleteTopic(name: string): Promise<void> {
    this.#assertOpen()
    await this.#broker.deleteTopic(name)
  }

  /** As {@link Topic.subscribe}, from several topics at once. Order holds per key within each topic. */
  subscribe<V>(
    topics: readonly Topic<V>[],
    group: string,
    handler: MessageHandler<V>,
    options?: SingleSubscribeOptions<V>,
  ): Promise<Subscription>
  subscribe<V>(
    topics: readonly Topic<V>[],
    group: string,
    handler: BatchHandler<V>,
    options: BatchSubscribeOptions,
  ): Promise<Subscription>
  subscribe<V>(
    topics: readonly Topic<V>[],
    group: string,
    options?: SingleSubscribeOptions<V>,
  ): Promise<MessageStream<V>>
  subscribe<V>(
    topics: readonly Topic<V>[],
    group: string,
    handlerOrOptions?: MessageHandler<V> | BatchHandler<V> | SubscribeOptions<V>,
    options?: SubscribeOptions<V>,
  ): Promise<Subscription> {
    const hasHandler = typeof handlerOrOptions === 'function'
    const handler = hasHandler ? handlerOrOptions : undefined
    return this.#subscribe(topics as readonly Topic<never>[], group, handler, hasHandler ? options : handlerOrOptions)
  }

  /** A group by name. @throws `GROUP_NOT_FOUND` */
  group(name: string): Group {
    const known = this.#broker.groups().some((group) => group.name === name)
    if (!known) throw new QueueError('GROUP_NOT_FOUND', `there is no group ${name}`, { group: name })
    const host = { ...this.#parts, codecs: this.#codecs, logs: this.#letters }
    return new Group(name, host, () => this.#subscriptions.of(name))
  }

  /** Names of all groups. */
  groups(): string[] {
    return this.#broker.groups().map(({ name }) => name)
  }

  /**
   * A store of state in the same environment as the log; created when there is none of that name.
   *
   * `V` is the type of its values; nothing checks it.
   *
   * @throws `INVALID_NAME`, `INVALID_OPTION`, `CLOSED`; `UNSUPPORTED` where the broker keeps no state
   */
  async store<V = unknown>(name: string, options?: StoreOptions<V>): Promise<StateStore<V>> {
    this.#assertOpen()
    checkStoreName(name)
    const { codec } = resolveStoreOptions(options)
    const resolved = (codec === undefined ? json : await resolveCodec(codec as Codec<never>)) as Codec<V>
    this.#assertOpen()
    const { state } = this.#broker
    if (!state) throw new QueueError('UNSUPPORTED', 'this broker keeps no state beside the log', { store: name })
    const space = state.space(name)
    await this.#broker.flush()
    return new StateStore(this.#broker, state, space, resolved, () => this.#assertOpen())
  }

  /** Names of all stores of state. */
  stores(): string[] {
    return (this.#broker.state?.spaces() ?? []).map(({ name }) => name)
  }

  /**
   * Commits sends to any topics and writes of state together: after a crash all of it is there, or nothing.
   *
   * The callback collects, and what it collected takes effect after it has returned; when it throws nothing does. It may
   * take its time: nothing is locked meanwhile. What it reads in stores must still hold at the commit, else it runs again,
   * up to `attempts` times, or the transaction is rejected with `CONFLICT`.
   *
   * @returns what the callback returned, and where the messages went; settles when all of it is on disk
   * @throws what the callback threw; `CONFLICT`; `TRANSACTION_NESTED` inside of another one's callback; as {@link Topic.send}
   */
  transaction<R>(
    callback: (transaction: Transaction) => R | PromiseLike<R>,
    options?: TransactionOptions,
  ): Promise<TransactionResult<Awaited<R>>> {
    if (this.#closing) return Promise.reject(new QueueError('CLOSED', 'the queue is closed'))
    return runTransaction(this.#broker, callback, options)
  }

  /**
   * A producer, whose sends can be confirmed together. With a name it fences whoever had the name before; its new epoch is
   * on disk when this resolves, and its checker begins to be asked about what is prepared under the name.
   *
   * @throws `INVALID_NAME`, `INVALID_OPTION`, `CLOSED`; `UNSUPPORTED` for a name where the broker knows none
   */
  async producer(options?: ProducerOptions): Promise<Producer> {
    this.#assertOpen()
    const resolved = resolveProducerOptions(options)
    const { broker, runtime, events } = this.#parts
    const { prepared } = broker
    const { name } = resolved
    if (name !== undefined && !broker.producers) {
      throw new QueueError('UNSUPPORTED', 'this broker knows no names of producers', { producer: name })
    }
    const session = name === undefined ? undefined : await broker.producers!.open(name)
    const onClosed = (closed: Producer): void => void this.#producers.delete(closed)
    this.#assertOpen()
    const parts = prepared && { prepared, runtime, events, codecs: this.#codecs }
    const preparation = parts && session && new Preparation(session, parts, resolved.prepare)
    const producer = new Producer({ broker, runtime, onClosed, preparation }, resolved, session)
    this.#producers.add(producer)
    return producer
  }

  /** Settles when everything sent before is on disk. @throws `STORE_FAILED` */
  async flush(): Promise<void> {
    this.#assertOpen()
    await this.#broker.flush()
  }

  /** A snapshot in numbers: topics, groups, subscriptions, store. Rates are counted since the snapshot before. */
  stats(): QueueStats {
    return this.#stats.take(this.#broker, this.#subscriptions.dispatchers, this.#parts.store.stats())
  }

  /**
   * Writes a consistent copy of the live store, with everything sent before, into a directory that is absent or empty.
   * {@link open} opens it. Sends and handlers go on meanwhile.
   *
   * @throws `INVALID_OPTION` when the directory holds something; `STORE_FULL`, `STORE_UNWRITABLE`; `UNSUPPORTED` in memory
   */
  async backup(path: string): Promise<void> {
    this.#assertOpen()
    await this.#parts.store.backup(path)
  }

  /**
   * Rewrites the store without its free space. Commits wait meanwhile, and the disk needs room for the copy. Resolves to the
   * size before and after, in bytes.
   *
   * @throws `STORE_FULL`, `STORE_UNWRITABLE` (nothing has changed then); `STORE_FAILED`
   */
  async compact(): Promise<{ before: number; after: number }> {
    this.#assertOpen()
    return this.#parts.store.compact()
  }

  /** Reads everything and reports what is damaged, with its place. Runs beside normal work. */
  async verify(): Promise<VerifyReport> {
    this.#assertOpen()
    return this.#parts.store.verify()
  }

  /** Calls `listener` at each event of that name. What it throws becomes a process warning, never an engine fault. */
  on<N extends QueueEventName>(name: N, listener: (payload: QueueEvents[N]) => void): this {
    this.#parts.events.on(name, listener)
    return this
  }

  /** Calls `listener` no more. */
  off<N extends QueueEventName>(name: N, listener: (payload: QueueEvents[N]) => void): this {
    this.#parts.events.off(name, listener)
    return this
  }

  /**
   * Closes all subscriptions (see {@link Subscription.close}), refuses new sends, flushes what was accepted and releases
   * the store. Ends at the deadline and reports what still ran; those messages will be handed out again. Idempotent.
   */
  close(options?: { readonly timeoutMs?: number }): Promise<CloseReport> {
    const fields = { timeoutMs: integer(0, 86_400_000, this.#parts.closeTimeoutMs) }
    const { timeoutMs } = resolveOptions<{ timeoutMs?: number }>(options, fields, 'close')
    return (this.#closing ??= this.#close(timeoutMs!))
  }

  /** As {@link MessageQueue.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => {})
  }

  async #close(timeoutMs: number): Promise<CloseReport> {
    for (const producer of this.#producers) producer.endChecks()
    this.#letters.close()
    const left = await this.#subscriptions.close(timeoutMs)
    for (const producer of this.#producers) producer.abandon(new QueueError('CLOSED', 'the queue is closed'))
    this.#parts.turns?.close()
    await this.#broker.close()
    this.#parts.events.clear()
    return { left }
  }

  async #subscribe(...[topics, group, handler, options]: Parameters<TopicHost['subscribe']>): Promise<Subscription> {
    this.#assertOpen()
    return this.#subscriptions.open(topics, group, handler, options)
  }

  #assertOpen(): void {
    if (this.#closing) throw new QueueError('CLOSED', 'the queue is closed')
  }
}

function complete(retention: Partial<TopicSettings['retention']>): TopicSettings['retention'] {
  return { maxAgeMs: Infinity, maxBytes: Infinity, consumedBy: [], hardMaxBytes: Infinity, ...retention }
}
