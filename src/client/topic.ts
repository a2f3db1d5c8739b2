import type { Codec } from '../codec.ts'
import type {
  BrokerTopic,
  EncodedRecord,
  OffsetRange,
  Output,
  StartPosition,
  TopicSettings,
} from '../contracts/broker.ts'
import type { HandlerContext } from '../dispatch/handed-message.ts'
import { QueueError } from '../errors.ts'
import type { Acks, Message, OutgoingMessage, SendResult } from '../message.ts'
import { abortSignal, custom, flagged, integer, invalid, oneOf, resolveOptions } from '../options.ts'
import { MessageEncoder, validate } from './encoder.ts'
import type {
  BatchOptions,
  DedupeOptions,
  RetentionOptions,
  SendOptions,
  SubscribeOptions,
  TopicOptions,
} from './options.ts'
import { readTopic, type ReadOptions } from './reader.ts'
import {
  checkStartPosition,
  isStartPosition,
  resolveDedupe,
  resolveRetention,
  type ResolvedTopicOptions,
} from './resolve.ts'
import type { MessageStream, Subscription } from './subscription.ts'

/** Handles one message: returning acknowledges it, throwing has it tried again. */
export type MessageHandler<V> = (message: Message<V>, context: HandlerContext) => unknown

/**
 * Handles an array of messages. Returning acknowledges all of them, throwing has all of them tried again; an array of as
 * many outcomes says it for each: an `Error` has that message tried again, anything else acknowledges it.
 */
export type BatchHandler<V> = (messages: Message<V>[], context: HandlerContext) => unknown

/** Options of a subscription whose handler gets arrays. */
export type BatchSubscribeOptions = SubscribeOptions & { readonly batch: BatchOptions }
/** Options of a subscription whose handler gets single messages. */
export type SingleSubscribeOptions<V = unknown> = SubscribeOptions<V> & { readonly batch?: undefined }

/** What a topic asks of the queue that it belongs to. */
export interface TopicHost {
  subscribe(
    topics: readonly Topic<never>[],
    group: string,
    handler: MessageHandler<never> | BatchHandler<never> | undefined,
    options: SubscribeOptions | undefined,
  ): Promise<Subscription>
}

/** A named log of messages, in partitions. Messages of one key keep their order. */
export class Topic<V = unknown> {
  readonly #broker: BrokerTopic
  readonly #host: TopicHost
  readonly #codec: Codec<unknown>
  readonly #encoder: MessageEncoder<V>
  readonly #options: ResolvedTopicOptions<V>

  /** @internal */
  constructor(broker: BrokerTopic, codec: Codec<unknown>, options: ResolvedTopicOptions<V>, host: TopicHost) {
    this.#broker = broker
    this.#host = host
    this.#codec = codec
    this.#options = options
    this.#encoder = new MessageEncoder(broker.name, broker.settings.partitions, codec, options, options.schema)
  }

  get name(): string {
    return this.#broker.name
  }

  /** How many partitions the topic has. */
  get partitions(): number {
    return this.#broker.settings.partitions
  }

  /** What the store keeps of the topic's settings. */
  get settings(): TopicSettings {
    return this.#broker.settings
  }

  /**
   * Appends a message. Calls take effect in their order, awaited or not; the promise settles when the message reached the
   * level of `acks`.
   *
   * @throws `INVALID_MESSAGE`, `MESSAGE_TOO_LARGE`, `ENCODING_FAILED`, `VALIDATION_FAILED` (nothing was appended),
   * `IN_FLIGHT_FULL`, `STORE_FULL` (nothing was appended, try again), `ABORTED`, `CLOSED`, `TOPIC_DELETED`,
   * `STORE_FAILED` (unknown whether it was appended)
   */
  send(message: OutgoingMessage<V>, options?: SendOptions): Promise<SendResult> {
    try {
      const resolved = options === undefined ? flushed : resolveSendOptions(options)
      return this.#broker.append(this.#encoder.encode(message), resolved)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  /**
   * Appends messages in one commit: after a crash all of them are there or none. One that is refused refuses all.
   *
   * @returns a result for each message, in their order
   * @throws as {@link Topic.send}; `MESSAGE_TOO_LARGE` also when they are over `maxBatchBytes` together
   */
  sendBatch(messages: readonly OutgoingMessage<V>[], options?: SendOptions): Promise<SendResult[]> {
    try {
      if (!Array.isArray(messages)) throw invalid('sendBatch', 'messages', messages, 'an array of messages')
      const resolved = options === undefined ? flushed : resolveSendOptions(options)
      if (messages.length === 0) return Promise.resolve([])
      return this.#broker.appendBatch(this.#encodeBatch(messages), resolved)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  /**
   * Consumes the topic as a member of a group: every message goes to one member, and each group gets all messages.
   *
   * Without a handler the subscription is an async iterable of messages that are acknowledged one by one.
   *
   * @throws `INVALID_OPTION` (also when the group is new and `from` is missing), `GROUP_CONFLICT`, `OFFSET_OUT_OF_RANGE`
   */
  subscribe(group: string, handler: MessageHandler<V>, options?: SingleSubscribeOptions<V>): Promise<Subscription>
  subscribe(group: string, handler: BatchHandler<V>, options: BatchSubscribeOptions): Promise<Subscription>
  subscribe(group: string, options?: SingleSubscribeOptions<V>): Promise<MessageStream<V>>
  subscribe(
    group: string,
    handlerOrOptions?: MessageHandler<V> | BatchHandler<V> | SubscribeOptions<V>,
    options?: SubscribeOptions<V>,
  ): Promise<Subscription> {
    const hasHandler = typeof handlerOrOptions === 'function'
    const handler = hasHandler ? handlerOrOptions : undefined
    return this.#host.subscribe([this as never], group, handler, hasHandler ? options : handlerOrOptions)
  }

  /**
   * Reads messages without a group: nothing is acknowledged, nothing is remembered. Partitions take turns; within one the
   * order is that of the offsets. Ends at the end of the log as it is when reading begins, unless `follow` is set.
   *
   * @throws `GAP` when retention overtakes the reader
   */
  read(options?: ReadOptions): AsyncIterableIterator<Message<V>> {
    const resolved = resolveOptions<ReadOptions>(
      options,
      {
        from: custom<StartPosition>(`'earliest', 'latest', { offset } or { timestamp }`, isStartPosition, 'earliest'),
        partition: integer(0, this.partitions - 1),
        follow: flagged(false),
        signal: abortSignal(),
      },
      'read',
    )
    return readTopic<V>(this.#broker, this.#codec, resolved as ReadOptions & { from: StartPosition })
  }

  /** The readable offsets of each partition. */
  offsets(): OffsetRange[] {
    return Array.from({ length: this.partitions }, (_, partition) => this.#broker.offsets(partition))
  }

  /** The first offset of each partition whose message was appended at or after `timestamp`; the end where there is none. */
  async offsetsAt(timestamp: number): Promise<number[]> {
    checkStartPosition({ timestamp }, 'offsetsAt', 'timestamp')
    return Promise.all(
      Array.from({ length: this.partitions }, (_, partition) => this.#broker.offsetAt(partition, timestamp)),
    )
  }

  /** Removes all messages of a partition below an offset. Groups that had not finished them see a gap. */
  async trim(partition: number, before: number): Promise<void> {
    const where = 'trim'
    const { start, end } = this.#broker.offsets(this.#checkPartition(partition, where))
    if (!Number.isSafeInteger(before) || before < 0 || before > end) {
      throw new QueueError(
        'OFFSET_OUT_OF_RANGE',
        `${where}: offset ${before} of partition ${partition} is outside [${start}, ${end}]`,
        {
          topic: this.name,
          partition,
          offset: before,
        },
      )
    }
    await this.#broker.trim(partition, before)
  }

  /** Changes settings of the live topic; those left out stay. Settles when the store has them. */
  async configure(options: {
    readonly retention?: RetentionOptions
    readonly dedupe?: DedupeOptions | false
  }): Promise<void> {
    const isObjectOr = (other: unknown) => (value: unknown) =>
      (typeof value === 'object' && value !== null) || (value === other && other !== undefined)
    const fields = {
      retention: custom<RetentionOptions>('an object', isObjectOr(undefined)),
      dedupe: custom<DedupeOptions | false>('an object, or false', isObjectOr(false)),
    }
    const { retention, dedupe } = resolveOptions<Pick<TopicOptions<V>, 'retention' | 'dedupe'>>(
      options,
      fields,
      'configure',
    )
    const unlimited = { maxAgeMs: Infinity, maxBytes: Infinity, consumedBy: [], hardMaxBytes: Infinity }
    const changed: Partial<TopicSettings> = {
      ...(retention === undefined ? {} : { retention: { ...unlimited, ...resolveRetention(retention) } }),
      ...(dedupe === undefined ? {} : { dedupe: dedupe && resolveDedupe(dedupe) }),
    }
    if (Object.keys(changed).length > 0) await this.#broker.configure({ ...this.#broker.settings, ...changed })
  }

  /** A message that is sent with other parts of a commit. Its bytes are copied: they may change before that. @internal */
  output(message: OutgoingMessage<V>): Output {
    return this.#outputOf(this.#encoder.encode(message))
  }

  /** As {@link Topic.output}, for a batch. @internal */
  outputs(messages: readonly OutgoingMessage<V>[]): Output[] {
    return this.#encodeBatch(messages).map((record) => this.#outputOf(record))
  }

  /** What a dispatcher needs to consume the topic. @internal */
  get consumed(): { topic: BrokerTopic; codec: Codec<unknown>; check: ((value: unknown) => void) | undefined } {
    const { schema, validate: when } = this.#options
    const check =
      schema && when === 'send-and-receive' ? (value: unknown) => void validate(schema, value, this.name) : undefined
    return { topic: this.#broker, codec: this.#codec, check }
  }

  #encodeBatch(messages: readonly OutgoingMessage<V>[]): EncodedRecord[] {
    const records = this.#encoder.encodeAll(messages)
    let bytes = 0
    for (const record of records) bytes += record.end - record.start
    // UTF-8 takes at most three bytes a UTF-16 unit; most batches need no exact count.
    if (bytes * 3 > this.#options.maxBatchBytes) this.#checkBatchSize(records)
    return records
  }

  #outputOf(record: EncodedRecord): Output {
    const { value } = record
    if (typeof value === 'string') return { topic: this.#broker, record }
    const { partition, key, start, end, headers } = record
    // A copy: the caller may change what it gave before the commit.
    return { topic: this.#broker, record: { partition, key, value: Buffer.from(value), start, end, headers } }
  }

  #checkPartition(partition: number, where: string): number {
    if (Number.isInteger(partition) && partition >= 0 && partition < this.partitions) return partition
    throw invalid(where, 'partition', partition, `a whole number from 0 to ${this.partitions - 1}`)
  }

  #checkBatchSize(records: readonly EncodedRecord[]): void {
    let bytes = 0
    for (const { value, start, end } of records) {
      bytes += typeof value === 'string' ? Buffer.byteLength(value.substring(start, end)) : value.length
    }
    if (bytes > this.#options.maxBatchBytes) throw this.#batchTooLarge(bytes)
  }

  #batchTooLarge(bytes: number): QueueError {
    const { maxBatchBytes } = this.#options
    const message = `the batch has ${bytes} bytes; allowed is at most ${maxBatchBytes} on ${this.name} (maxBatchBytes)`
    return new QueueError('MESSAGE_TOO_LARGE', message, {
      topic: this.name,
      option: 'messages',
      value: bytes,
      allowed: `at most ${maxBatchBytes} bytes`,
    })
  }
}

/** @internal */
export interface ResolvedSendOptions {
  readonly acks: Acks
  readonly signal?: AbortSignal
}

/** @internal */
export const flushed: ResolvedSendOptions = Object.freeze({ acks: 'flushed' })

/** @internal */
export function resolveSendOptions(options: SendOptions): ResolvedSendOptions {
  const fields = { acks: oneOf<Acks>(['flushed', 'buffered'], 'flushed'), signal: abortSignal() }
  const resolved = resolveOptions<SendOptions>(options, fields, 'send') as ResolvedSendOptions
  if (resolved.signal?.aborted) {
    throw new QueueError('ABORTED', 'the signal was aborted before the send', { cause: resolved.signal.reason })
  }
  return resolved
}
