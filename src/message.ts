import type { DeadLetterFacts, RedriveFacts } from './dead-letter-facts.ts'

/** String metadata of a message, stored in insertion order. */
export type Headers = Readonly<Record<string, string>>

/** What {@link Topic.send} takes. */
export interface OutgoingMessage<V> {
  /**
   * Messages of one key are handled one at a time, in order. A message without a key is independent of all others.
   * UTF-8 on disk; at most `maxKeyBytes` of the topic.
   */
  readonly key?: string | undefined
  readonly value: V
  readonly headers?: Headers | undefined
  /**
   * Puts the message into this partition instead of the one its key hashes to. Range: 0 to `partitions - 1`.
   *
   * @defaultValue by the key, with Kafka's hash; without a key a partition that sticks for a batch's worth of bytes
   */
  readonly partition?: number | undefined
  /**
   * Names the message, so that it is stored once however often it is sent: within the window of its topic (see
   * {@link TopicOptions.dedupe}) a send whose id is known appends nothing, and its result is a `duplicate` with the place of
   * the first one. Neither key nor value is compared. Handlers see it as {@link Message.id}.
   *
   * @defaultValue made of the place of the message; nothing is deduplicated
   * @remarks 1 to 256 UTF-8 bytes. Semantics: NATS `Nats-Msg-Id`, SQS `MessageDeduplicationId`.
   */
  readonly id?: string | undefined
}

/** Where a message was stored. */
export interface SendResult {
  readonly partition: number
  /** Position in the partition: dense, never reused. */
  readonly offset: number
  /** When it was appended, in milliseconds since 1970; never decreases within a partition. */
  readonly timestamp: number
  /** The level that was reached when the send settled; `memory` where the store keeps nothing on disk. */
  readonly acks: Acks | 'memory'
  /** Whether nothing was appended because the message was there already: this is its place. */
  readonly duplicate: boolean
}

/**
 * What a send waits for.
 *
 * - `flushed`: on disk, survives power loss. Handlers get the message after that.
 * - `buffered`: accepted in order; on disk with the next group commit; lost if the process dies before. Handlers may get
 *   the message earlier than that.
 *
 * @remarks Semantics: Kafka `acks`; differs: the levels are those of one disk, not of replicas.
 */
export type Acks = 'flushed' | 'buffered'

/** A stored message, as handlers and readers get it. Read-only: its value may be shared with other groups and is frozen where the codec allows. */
export interface Message<V> {
  readonly topic: string
  readonly partition: number
  /** Position in the partition; a safe integer. */
  readonly offset: number
  /** When it was appended, in milliseconds since 1970. */
  readonly timestamp: number
  readonly key: string | undefined
  readonly value: V
  readonly headers: Headers
  /**
   * The id that the sender gave it; else one that is unique in the store's life: made of its epoch and the message's place,
   * also after a crash let an offset be used again.
   */
  readonly id: string
  /** Which attempt of the group this is, from 1; 1 for readers. */
  readonly attempt: number
  /** Where it comes from and why, of a message in a topic of dead letters. */
  readonly deadLetterFacts?: DeadLetterFacts | undefined
  /** Set where it was sent back from the dead letters. */
  readonly redriveFacts?: RedriveFacts | undefined
}
