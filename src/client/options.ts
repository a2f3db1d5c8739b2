import type { Codec, CodecName } from '../codec.ts'
import type { StartPosition } from '../contracts/broker.ts'
import type { Acks } from '../message.ts'
import type { StandardSchema } from '../schema.ts'

/** Limits and settings that hold for a whole queue, whatever keeps its log. */
export interface QueueOptions {
  /**
   * Bytes of sends that may wait for the disk at once; a text counts one for each of its UTF-16 units.
   *
   * @defaultValue `67_108_864` (64 MiB)
   * @remarks Range: 1_024 to 2_147_483_648. Semantics: Kafka `buffer.memory`.
   */
  readonly maxInFlightBytes?: number
  /**
   * What a send does when {@link QueueOptions.maxInFlightBytes} is reached: wait its turn, or reject with
   * `IN_FLIGHT_FULL`.
   *
   * @defaultValue `'wait'`
   */
  readonly onFull?: 'wait' | 'reject'
  /**
   * Sends that may wait at once; one more is rejected with `IN_FLIGHT_FULL`.
   *
   * @defaultValue `100_000`
   * @remarks Range: 1 to 10_000_000.
   */
  readonly maxWaitingSends?: number
  /**
   * Bytes of the newest record batches that stay in memory, shared by all groups.
   *
   * @defaultValue `16_777_216` (16 MiB)
   * @remarks Range: 65_536 to 4_294_967_296.
   */
  readonly tailBytes?: number
  /**
   * How often retention looks for messages to remove, in milliseconds.
   *
   * @defaultValue `10_000`
   * @remarks Range: 10 to 86_400_000.
   */
  readonly retentionCheckMs?: number
  /**
   * How long {@link MessageQueue.close} waits for handlers that run, in milliseconds.
   *
   * @defaultValue `30_000`
   * @remarks Range: 0 to 86_400_000.
   */
  readonly closeTimeoutMs?: number
}

/** Options of {@link open}. */
export interface OpenOptions extends QueueOptions {
  /** Directory of the store; created when it is absent (its parent must exist). It belongs to one process at a time. */
  readonly path: string
  /**
   * How long one commit may take before the store counts as failed, in milliseconds.
   *
   * @defaultValue `30_000`
   * @remarks Range: 100 to 3_600_000.
   */
  readonly commitTimeoutMs?: number
  /**
   * Free bytes of the file system below which sends are refused with `STORE_FULL`, while acknowledgements, trims and
   * deletes go on.
   *
   * @defaultValue `67_108_864` (64 MiB)
   * @remarks Range: 0 to 2 ** 50.
   */
  readonly minFreeBytes?: number
  /**
   * Opens a store on a network file system, where what was flushed may be lost and two machines may open it at once.
   *
   * @defaultValue `false`
   */
  readonly allowNetworkFileSystem?: boolean
}

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
export interface SubscribeOptions {
  /**
   * Where a group begins that has no position yet; required then, stored for all partitions at once, ignored later.
   *
   * @remarks Semantics: Kafka `auto.offset.reset`; differs: there is no default, and it is kept, so a partition that nobody
   * read from does not begin elsewhere after a restart.
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
   *
   * @defaultValue `16`
   * @remarks Range: 1 to 100_000.
   */
  readonly concurrency?: number
  /**
   * How often a message is tried before its key is stopped (see {@link Subscription.stopped}); 1 means never again.
   *
   * @defaultValue `10`
   * @remarks Range: 1 to `Infinity`. Failed attempts are stored with the progress: a restart, or another owner of the partition, goes on
   * counting. One that ended with the process is not counted.
   */
  readonly attempts?: number
  /** How long to wait between attempts. @defaultValue exponential from 100 ms to 30 s with jitter 0.2 */
  readonly backoff?: BackoffOptions
  /** Hand out arrays instead of single messages. @defaultValue single messages */
  readonly batch?: BatchOptions
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
   * Messages of busy keys of which only the offset is held; when so many wait, the intake waits too.
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
  /** `fixed`: always `delayMs`; `exponential`: doubles with every attempt. @defaultValue `'exponential'` */
  readonly type?: 'fixed' | 'exponential'
  /**
   * The wait before the second attempt, in milliseconds.
   *
   * @defaultValue `100`
   * @remarks Range: 0 to 86_400_000.
   */
  readonly delayMs?: number
  /**
   * The longest wait, jitter included, in milliseconds.
   *
   * @defaultValue `30_000`
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
