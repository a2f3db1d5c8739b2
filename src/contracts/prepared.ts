import type { SendResult } from '../message.ts'
import type { CommitPart } from './commit-part.ts'

/** A prepared message by the named producer that prepared it; never used twice. */
export interface PreparedRef {
  readonly producer: string
  /** Epoch of the producer that prepared it. */
  readonly epoch: number
  /** Counts the messages that this epoch prepared, from 1. */
  readonly number: number
}

/** What will be appended, as it was encoded; see `EncodedRecord`. */
export interface PreparedRecord {
  readonly partition: number
  readonly key: string | undefined
  readonly value: string | Uint8Array
  readonly start: number
  readonly end: number
  readonly headers: string | undefined
}

/** A message that is to be prepared. */
export interface NewPrepared {
  readonly ref: PreparedRef
  readonly topic: string
  readonly record: PreparedRecord
  /** In milliseconds since 1970, as {@link PreparedMessage.dueAt}. */
  readonly preparedAt: number
  readonly dueAt: number
  readonly limits: PreparedLimits
}

/** How much one producer may have prepared. */
export interface PreparedLimits {
  readonly maxCount: number
  readonly maxBytes: number
}

/** When a prepared message is asked about. */
export interface CheckState {
  /** How often somebody has been asked what becomes of it. */
  readonly checks: number
  /** When to ask next, in milliseconds since 1970. */
  readonly dueAt: number
}

/** A message that is stored and in no log. */
export interface StoredPrepared extends CheckState {
  readonly ref: PreparedRef
  readonly topic: string
  /** Of the topic when it was prepared. */
  readonly contentType: string
  /** Whether its values are text. */
  readonly text: boolean
  readonly preparedAt: number
  readonly key: string | undefined
  /** JSON text of the headers, or undefined when there are none. */
  readonly headers: string | undefined
  readonly value: Uint8Array
}

/** A prepared message that somebody has to be asked about. */
export interface DuePrepared extends CheckState {
  readonly ref: PreparedRef
}

/** Where a prepared message goes instead of its topic. */
export interface PreparedTarget {
  readonly topic: string
  /** JSON text of the headers. */
  readonly headers: string
}

/** How much a producer has prepared. */
export interface PreparedUsage {
  readonly count: number
  readonly bytes: number
}

/**
 * Messages that are stored beside the log until somebody decides about them. `parts` take effect together with each
 * change, or refuse it: the fence of the producer.
 *
 * What changes does so at once, as all who read see; promises settle when it is on disk.
 */
export interface PreparedMessages {
  /** @throws `PREPARED_FULL`, `STORE_FULL`, `IN_FLIGHT_FULL`, `TOPIC_DELETED`, or what a part threw; nothing was stored then */
  prepare(message: NewPrepared, parts: readonly CommitPart[]): Promise<void>
  /**
   * Appends it to its topic, and removes it here, in one commit.
   *
   * @throws `PREPARED_ENDED`, `TOPIC_NOT_FOUND`, `TOPIC_CONFLICT`, or what a part threw; nothing was changed then
   */
  commit(ref: PreparedRef, parts: readonly CommitPart[]): Promise<SendResult>
  /** @throws `PREPARED_ENDED`, or what a part threw */
  rollback(ref: PreparedRef, parts: readonly CommitPart[]): Promise<void>
  /** Somebody is asked now, or again later. @throws `PREPARED_ENDED`, or what a part threw */
  postpone(ref: PreparedRef, state: CheckState, parts: readonly CommitPart[]): Promise<void>
  /**
   * Appends it to another topic, which is made with the same commit where it is not there, in the same partition if there
   * is one. Its value stays as it is stored.
   *
   * @throws `PREPARED_ENDED`, or what a part threw
   */
  move(ref: PreparedRef, to: PreparedTarget, parts: readonly CommitPart[]): Promise<SendResult>
  get(ref: PreparedRef): StoredPrepared | undefined
  /** The first one of a producer that was prepared after another one, in the order in which they were. */
  next(producer: string, after: PreparedRef | undefined): StoredPrepared | undefined
  /** A page of those of a producer in the order in which they are due, behind another one. */
  due(producer: string, page: { readonly after: DuePrepared | undefined; readonly limit: number }): DuePrepared[]
  /** The one that is due last. */
  lastDue(producer: string): DuePrepared | undefined
  usage(producer: string): PreparedUsage
}
