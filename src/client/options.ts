import type { Codec, CodecName } from '../codec.ts'
import type { StartPosition } from '../contracts/broker.ts'
import type { IdempotencyStore } from '../contracts/idempotency-store.ts'
import type { AckMode } from '../dispatch/settings.ts'
import type { BackoffFunction, OnExhausted } from '../dispatch/retry-policy.ts'
import type { Acks, Message } from '../message.ts'
import type { StandardSchema } from '../schema.ts'

/** Options of {@link MessageQueue.topic}. Those of an existing topic that are left out stay as they are. */
export interface TopicOptions<V> {
  /**
   * How many partitions a new topic gets; fixed for an existing one. Parallelism does not depend on it (see
   * {@link SubscribeOptions.concurrency}).
   *
   * @defaultValue `1`
   * @remarks Range: 1 to 4_096. @throws `TOPIC_CONFLICT` when the topic exists with another number.
   */
  readonly partitions?: number
  /**
   * How values are stored; fixed for an existing topic.
   *
   * @defaultValue `'json'`
   */
  readonly codec?: CodecName | Codec<V>
  /** When messages are removed; kept in the store. @defaultValue nothing is removed */
  readonly retention?: RetentionOptions
  /**
   * How long the topic knows the ids of messages (see {@link OutgoingMessage.id}); kept in the store. `false`: ids are shown,
   * but nothing is deduplicated.
   *
   * @defaultValue the newest 100,000 ids of the last two minutes
   * @remarks Semantics: NATS `duplicate_window`; it, too, is two minutes unless something else is said.
   */
  readonly dedupe?: DedupeOptions | false
  /**
   * Largest encoded value, in bytes.
   *
   * @defaultValue `1_048_576` (1 MiB)
   * @remarks Range: 1 to 67_108_864. Semantics: Kafka `max.message.bytes`.
   */
  readonly maxValueBytes?: number
  /**
   * Largest key, in UTF-8 bytes.
   *
   * @defaultValue `1_024`
   * @remarks Range: 1 to 65_536.
   */
  readonly maxKeyBytes?: number
  /**
   * Largest header set of a message, in bytes of JSON text.
   *
   * @defaultValue `16_384`
   * @remarks Range: 2 to 1_048_576.
   */
  readonly maxHeadersBytes?: number
  /**
   * Largest {@link Topic.sendBatch}: the encoded values of all its messages, in bytes.
   *
   * @defaultValue `16_777_216` (16 MiB)
   * @remarks Range: 1_024 to 268_435_456.
   */
  readonly maxBatchBytes?: number
  /** A Standard Schema that values must satisfy; it has to answer synchronously. */
  readonly schema?: StandardSchema<V>
  /**
   * Where the schema is applied.
   *
   * @defaultValue `'send'`
   */
  readonly validate?: 'send' | 'send-and-receive'
}

/**
 * When messages may be removed, always whole batches from the start of a partition. A limit left out does not apply.
 *
 * @remarks Semantics: Kafka `retention.ms` and `retention.bytes` (per partition); differs: `consumedBy`.
 */
export interface RetentionOptions {
  /** Remove messages older than this, in milliseconds. @remarks Range: 1 to 2 ** 53 - 1. */
  readonly maxAgeMs?: number
  /** Remove the oldest messages while a partition holds more bytes than this. @remarks Range: 1 to 2 ** 53 - 1. */
  readonly maxBytes?: number
  /**
   * Keep messages until all of these groups have finished them, whatever the limits above say; with no limit above,
   * remove them as soon as that is so.
   */
  readonly consumedBy?: readonly string[]
  /** With `consumedBy`: remove the oldest messages beyond this many bytes of a partition even so. The groups see a gap. */
  readonly hardMaxBytes?: number
}

/** Which ids of messages a topic knows: the newest, up to both limits, over restarts too; time between lives is wall time. */
export interface DedupeOptions {
  /**
   * Ids at most, over all partitions. They are held in memory, about 200 bytes each.
   *
   * @defaultValue `100_000`
   * @remarks Range: 1 to 10_000_000.
   */
  readonly maxCount?: number
  /**
   * How long an id is known after it was sent first, in milliseconds.
   *
   * @defaultValue `120_000`
   * @remarks Range: 1 to `Infinity`.
   */
  readonly maxAgeMs?: number
}

/** Options of {@link Topic.send} and {@link Topic.sendBatch}. */
export interface SendOptions {
  /**
   * What the send waits for.
   *
   * @defaultValue `'flushed'`
   */
  readonly acks?: Acks
  /** Takes back a send that still waits for its turn (`ABORTED`); one that was accepted stays. */
  readonly signal?: AbortSignal
}

/** Options of {@link Topic.subscribe} and {@link MessageQueue.subscribe}. */
export interface SubscribeOptions<V = unknown> {
  /**
   * Where a new group begins: required then, stored for all partitions at once, ignored later.
   * @remarks Semantics: Kafka `auto.offset.reset`; differs: no default, and stored at once.
   */
  readonly from?: StartPosition
  /**
   * What is handled one at a time, in offset order: messages of one key, of one partition, or nothing.
   *
   * @defaultValue `'key'`
   */
  readonly ordering?: 'key' | 'partition' | 'unordered'
  /**
   * Handlers that may run at once, over all partitions; see {@link Subscription.setConcurrency}. With `batch` it counts
   * arrays. Without a handler it is how many messages may be out and not acknowledged.
   * @defaultValue `16`
   * @remarks Range: 1 to 100_000.
   */
  readonly concurrency?: number
  /**
   * How often a message is tried before {@link SubscribeOptions.onExhausted} applies; 1 means never again.
   *
   * @defaultValue `10`
   * @remarks Range: 1 to `Infinity`. Failed attempts are stored with the progress: a restart, or another owner of the
   * partition, goes on counting. One that ended with the process is not counted.
   */
  readonly attempts?: number
  /**
   * What becomes of a message that used up its attempts, whose error is not {@link SubscribeOptions.retryable}, or whose
   * handler threw an {@link UnrecoverableError}:
   *
   * - `'dead-letter'`: it is moved to the topic `<topic>.<group>.dlq`, with its bytes, key and headers as they are and with
   *   where it comes from and why ({@link Message.deadLetterFacts}). The move and the progress are one commit: it is
   *   there exactly when it is finished here. Event `message:dead-lettered`. A message whose value can't be decoded, or does
   *   not satisfy the schema, goes there at once. A full disk does not hold it up.
   * - `'park-key'`: it stays unfinished, and the later messages of its key wait until {@link Subscription.release}; others
   *   go on. Event `key:parked`. Stored: it lasts over restarts.
   * - `'stop'`: the subscription ends with `HANDLER_FAILED`, event `subscription:ended`. Nothing of the message is finished:
   *   a new subscription tries it again, with its attempts counted anew.
   * - `'skip'`: it counts as finished. Event `message:skipped`, which is all that tells of it.
   *
   * @defaultValue `'dead-letter'`, or `'park-key'` where the broker can't move messages
   * @throws `UNSUPPORTED` `'dead-letter'` where the broker can't
   */
  readonly onExhausted?: OnExhausted
  /**
   * How long to wait between attempts. An array of waits in milliseconds, the last of which repeats, or a function that
   * chooses the wait, is taken as it is, without jitter.
   *
   * @defaultValue exponential from 100 ms to 30 s with jitter 0.2
   */
  readonly backoff?: BackoffOptions | readonly number[] | BackoffFunction
  /**
   * Whether a message may be tried again after this error; `false` applies {@link SubscribeOptions.onExhausted} at once. It
   * has to answer synchronously: any other answer, and throwing, count as `true`.
   *
   * @defaultValue every error may, except an {@link UnrecoverableError}
   */
  readonly retryable?: (error: unknown) => boolean
  /**
   * How long a handler may take, in milliseconds: from its call until its promise settles. Then its signal is aborted with
   * `HANDLER_TIMEOUT`, and the attempt counts as failed with that error, whatever the handler still does or returns.
   * {@link HandlerContext.extend} gives a call more time. With `batch` the array has one limit; without a handler the time
   * of a message begins when it is pulled and ends when it is acknowledged. A handler that returns without a promise is
   * never late.
   *
   * @defaultValue no limit
   * @remarks Range: 1 to 86_400_000. Semantics: RabbitMQ `consumer_timeout`; differs: it is per subscription and never
   * closes it.
   */
  readonly handlerTimeoutMs?: number
  /**
   * What becomes of a handler that goes on after its time. `wait`: its key and its place in `concurrency` stay taken until
   * it ends, so that two never work on one key. `abandon`: both are free at once, and the message is tried again although
   * the old call may still run; nothing that call does counts any more, but its effects outside are its own.
   *
   * @defaultValue `'wait'`
   */
  readonly onTimeout?: 'wait' | 'abandon'
  /**
   * When a message is finished.
   *
   * - `'after'`: when its handler is done. A crash in between hands it out again: at least once.
   * - `'before'`: before its handler is called, on disk. It is handed out **at most once**: a crash loses what was finished
   *   and not handled yet, up to `concurrency` messages, and so does an error, a handler over its time, or a value that can't
   *   be decoded. Events `message:failed` (without a retry) and `message:skipped` tell of each but what a crash took.
   *   Nothing commits with the message any more, so `context.send`, `store`, `deadLetter` and `retryAt` throw `UNSUPPORTED`,
   *   and what {@link CloseReport} names as left is not handed out again. Each call waits for a commit first.
   *
   * @defaultValue `'after'`
   * @throws `INVALID_OPTION` `'before'` together with `attempts`, `backoff`, `onExhausted`, `retryable`, `idempotency` or
   * `batch`, which are about messages that are not finished; or without a handler
   * @remarks Semantics: RabbitMQ automatic acknowledgement, Kafka committing before processing; differs: it is on disk first.
   */
  readonly ackMode?: AckMode
  /** Hand out arrays instead of single messages. @defaultValue single messages */
  readonly batch?: BatchOptions
  /**
   * Asks a store of `lanemq/idempotency` before each call of the handler whether the work was done already. Not together
   * with `batch`. @defaultValue every delivery is handled
   */
  readonly idempotency?: IdempotencyOptions<V>
  /**
   * What to do when retention removed messages that the group had not finished: stop with `GAP`, or skip them with an
   * event.
   *
   * @defaultValue `'error'`
   */
  readonly onGap?: 'error' | 'skip'
  /**
   * Messages held in memory ahead of their turn.
   *
   * @defaultValue `10_000`
   * @remarks Range: 1 to 10_000_000.
   */
  readonly maxBufferedMessages?: number
  /**
   * Bytes of record batches held in memory ahead of their turn.
   *
   * @defaultValue `33_554_432` (32 MiB)
   * @remarks Range: 65_536 to 4_294_967_296.
   */
  readonly maxBufferedBytes?: number
  /**
   * Messages of busy keys of which only the offset is held; when so many wait, the intake waits too. It waits also when as
   * many keys as this and `maxBufferedMessages` together wait for a retry or are parked (and what ran then has ended).
   *
   * @defaultValue `4_000_000`
   * @remarks Range: 0 to 100_000_000.
   */
  readonly maxDeferredMessages?: number
  /** Closes the subscription when aborted, as {@link Subscription.close} without options does. */
  readonly signal?: AbortSignal
}

/** How the wait before attempt n + 1 is computed. */
export interface BackoffOptions {
  /**
   * `fixed`: always `delayMs`; `exponential`: doubles with every attempt. Only where `delayMs` is a number.
   *
   * @defaultValue `'exponential'`
   */
  readonly type?: 'fixed' | 'exponential'
  /**
   * The wait before the second attempt, in milliseconds; or the waits one after the other, the last of which repeats; or a
   * function that chooses each. When it throws, or returns anything but a finite number from 0, `message:failed` carries
   * `INVALID_OPTION` (its cause is what the handler threw) and the default wait applies.
   *
   * @defaultValue `100`
   * @remarks Range: 0 to 86_400_000 each; at most 1_000 in an array.
   */
  readonly delayMs?: number | readonly number[] | BackoffFunction
  /**
   * The longest wait, jitter included, in milliseconds: what would be longer is cut.
   *
   * @defaultValue `30_000`, or the longest `delayMs` if that is more; `86_400_000` with a function
   * @remarks Range: `delayMs` to 86_400_000.
   */
  readonly maxDelayMs?: number
  /**
   * The share of the wait that is drawn at random: 0.2 spreads it over 80 % to 120 %.
   *
   * @defaultValue `0.2`
   * @remarks Range: 0 to 1.
   */
  readonly jitter?: number
}

/** How messages are gathered into arrays; see {@link BatchHandler}. */
export interface BatchOptions {
  /** Most messages in one array. @remarks Range: 1 to 100_000. */
  readonly max: number
  /**
   * How long an array may wait to become full, in milliseconds; 0 hands out what is there.
   *
   * @defaultValue `0`
   * @remarks Range: 0 to 3_600_000.
   */
  readonly maxWaitMs?: number
}

/**
 * How a subscription uses an idempotency store. A claim is taken for each message before its handler is called, renewed
 * while it runs, and ends as a mark when it returns: a later delivery under the same key finds the mark and is finished
 * without a call (`message:duplicate`). While someone else has the claim, or the store is away, the message waits without
 * a slot of `concurrency` and with no attempt counted (`message:deferred`).
 *
 * **What remains**: a process that dies between the effect of a handler and its mark leaves the effect alone, and it is
 * repeated when the lease has ended.
 */
export interface IdempotencyOptions<V = unknown> {
  /** The application's; the subscription does not close it. Removes what has expired now and then, in small slices. */
  readonly store: IdempotencyStore
  /**
   * Names the work of a message, 1 to 500 bytes of UTF-8. The store is given it behind the name of the group and a slash,
   * so that groups with one store don't take each other's work for done.
   *
   * @defaultValue the topic, the id of the message and its timestamp: what is delivered again is found, what is sent again is not
   */
  key?(message: Message<V>): string
  /**
   * How long a mark is kept, in milliseconds. A repeat that arrives later is worked on again. Without `key`, marks in the
   * environment of the queue may be kept longer: 512 neighbouring messages of a partition are forgotten together.
   *
   * @defaultValue `604_800_000` (7 days)
   * @remarks Range: 1 to `Infinity`.
   */
  readonly ttlMs?: number
  /**
   * How long the claim of a dead process holds its messages back, in milliseconds. Whoever lives renews it after each third.
   *
   * @defaultValue `30_000`
   * @remarks Range: 100 to 86_400_000.
   */
  readonly leaseMs?: number
  /**
   * Stands for the payload, 1 to 256 bytes of UTF-8: two different ones under one key are refused with
   * `IDEMPOTENCY_MISMATCH`, and the message is not tried again. With `undefined` nothing is compared. Not asked without
   * `key` where the store is in the environment of the queue: a message is one and the same in its place.
   *
   * @defaultValue a hash of the encoded value
   */
  fingerprint?(message: Message<V>): string | undefined
}
