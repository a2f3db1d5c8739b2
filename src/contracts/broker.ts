import type { Codec } from '../codec.ts'
import type { QueueError } from '../errors.ts'
import type { Acks, Headers, SendResult } from '../message.ts'
import type { CommitPart } from './commit-part.ts'
import type { Producers } from './producers.ts'
import type { PreparedMessages } from './prepared.ts'
import type { State } from './state.ts'

/** What a broker can do beyond the contract; checked when a topic or subscription is declared, never in mid-stream. */
export interface BrokerCapabilities {
  /** Whether a settled append survives power loss. */
  readonly durable: boolean
  /**
   * Whether the finished offsets above the position are kept, so that a restart repeats only what was running, and the
   * attempts of what failed, so that it does not count anew.
   */
  readonly exactProgress: boolean
  /** Whether outputs and parts (state, marks) commit together with acknowledgements, see {@link Effects}. */
  readonly effects: boolean
}

/** What a topic keeps; every field is set. */
export interface TopicSettings {
  readonly partitions: number
  readonly contentType: string
  /** Whether values are stored as text. */
  readonly text: boolean
  readonly retention: RetentionSettings
  /** How long ids are known; false: nothing is deduplicated. */
  readonly dedupe?: DedupeSettings | false | undefined
}

/** When messages are removed; see {@link RetentionOptions} for the meaning of each. */
export interface RetentionSettings {
  readonly maxAgeMs: number
  readonly maxBytes: number
  readonly consumedBy: readonly string[]
  readonly hardMaxBytes: number
}

/** Which ids of messages are known, see {@link DedupeOptions}. */
export interface DedupeSettings {
  readonly maxCount: number
  readonly maxAgeMs: number
}

/** A value that the codec has encoded, with what travels beside it. */
export interface EncodedRecord {
  readonly partition: number
  readonly key: string | undefined
  /**
   * Holds the value between {@link EncodedRecord.start} and {@link EncodedRecord.end}. Text is stored as UTF-8; bytes are
   * copied before the call returns. Values that follow each other in one text, a comma between them, are stored without
   * being cut apart.
   */
  readonly value: string | Uint8Array
  readonly start: number
  readonly end: number
  /** JSON text of the headers, or undefined when there are none. */
  readonly headers: string | undefined
  /** The id that its sender gave it; within the window of the topic the first record of an id counts. */
  readonly id?: string | undefined
}

/** Consecutive records of one partition, read in place: nothing is decoded before it is asked for. */
export interface RecordBatch {
  readonly count: number
  readonly baseOffset: number
  /** Where to go on reading. Gaps are legal: never compute it as offset + 1. */
  readonly nextOffset: number
  /** A message's id is this and its offset: unique in the broker's life, see {@link Message.id}. */
  readonly idPrefix: string
  /** Memory that a reference to this batch keeps alive, in bytes. */
  readonly bytes: number
  offsetAt(index: number): number
  timestampAt(index: number): number
  keyAt(index: number): string | undefined
  /** As they are stored, the engine's own ones included: see reserved-headers. */
  headersAt(index: number): Headers
  /** Whether any of the messages has headers. */
  readonly hasHeaders: boolean
  /** The one group that a message is for, because it was sent back to it; undefined when it is for all. */
  addresseeAt(index: number): string | undefined
  /** @throws `DECODING_FAILED` */
  valueAt(index: number, codec: Codec<unknown>): unknown
  /** The stored bytes of the value, copied. */
  valueBytesAt(index: number): Buffer
}

/** One answer to a fetch: records from `index` on, nothing yet, or a range that retention removed. */
export type FetchResult =
  | { readonly kind: 'records'; readonly batch: RecordBatch; readonly index: number }
  | { readonly kind: 'empty' }
  | { readonly kind: 'gap'; readonly start: number }

/** The offsets of a partition that can be read. */
export interface OffsetRange {
  /** First offset that can be read, inclusive. */
  readonly start: number
  /** The offset that the next visible message gets, exclusive. */
  readonly end: number
}

/** How far behind a reader is. */
export interface Backlog {
  /** Messages, exactly. */
  readonly count: number
  /** Stored bytes from the first of them to the end of the log. */
  readonly bytes: number
  /** When the oldest of them was appended, in milliseconds since 1970; `undefined` when there is none. */
  readonly oldestTimestamp: number | undefined
}

export interface AppendOptions {
  readonly acks: Acks
  readonly signal?: AbortSignal | undefined
}

/** One topic of a broker. */
export interface BrokerTopic {
  readonly name: string
  readonly settings: TopicSettings
  /** Aborted with the reason once the topic can't be used any more: deleted, or the broker closed or failed. */
  readonly ended: QueueError | undefined
  /**
   * Appends one record; settles when it reached its level. Calls of one partition take effect in order. Where its id is
   * known nothing is appended, and the result is the place of the first one.
   */
  append(record: EncodedRecord, options: AppendOptions): Promise<SendResult>
  /** Appends all of them in one commit: all or none survive a crash. */
  appendBatch(records: readonly EncodedRecord[], options: AppendOptions): Promise<SendResult[]>
  /** Reads from an explicit offset. An engine that has the answer at hand gives it at once. */
  fetch(partition: number, offset: number): FetchResult | Promise<FetchResult>
  /** Calls `listener` whenever something new became visible in the partition; returns a function that stops it. */
  watch(partition: number, listener: () => void): () => void
  offsets(partition: number): OffsetRange
  /** Bytes that the readable messages take. */
  bytes(partition: number): number
  /** The first offset whose message is at or after `timestamp`; the end when there is none. */
  offsetAt(partition: number, timestamp: number): number | Promise<number>
  /** Removes everything below `before`; later fetches below it answer with a gap. Settles when it is durable. */
  trim(partition: number, before: number): Promise<void>
  configure(settings: TopicSettings): Promise<void>
}

/** Where a new group begins. */
export type StartPosition =
  'earliest' | 'latest' | { readonly offset: number | readonly number[] } | { readonly timestamp: number }

/** A partition that a member owns until it is revoked. */
export interface Assignment {
  readonly topic: BrokerTopic
  readonly partition: number
  /** Rises with every change of owner, over restarts too. A settlement with an older one is refused. */
  readonly fence: number
  /** What the group has finished, as of the last settlement; read-only for the member. */
  readonly finished: FinishedView
  /** Unfinished messages whose handlers failed, by their offsets, as of the last settlement; read-only for the member. */
  readonly failed: ReadonlyMap<number, FailedState>
}

/** What a group keeps of a message whose handler failed, or was marked before it ran, over restarts and changes of owners. */
export interface FailedState {
  /** How often its handler failed; the next attempt has the number after that. */
  readonly attempts: number
  /** When it may be handed out again, in milliseconds since 1970; `Infinity` when its key waits to be told to go on. */
  readonly dueAt: number
  /** Of the message: its key waits from the moment at which the partition is granted, before anything is read. */
  readonly key: string | undefined
  /** Its first failure, kept for those who will ask why it was given up. */
  readonly first?: FirstFailure | undefined
  /**
   * Of a message that was marked before it ran: the last of its attempts is not over. `'cut-short'`: it never will be,
   * since it was an earlier process that made it.
   */
  readonly mark?: 'running' | 'cut-short' | undefined
  /** Set where `dueAt` was asked for, as a time of the wall clock or as a wait: no back-off bounds it then. */
  readonly asked?: 'at' | 'delay' | undefined
}

/** The first failure of a message that failed more than once. */
export interface FirstFailure {
  /** In milliseconds since 1970. */
  readonly at: number
  /** JSON text of an `ErrorSummary`. */
  readonly error: string
}

/** The finished offsets of one group in one partition. */
export interface FinishedView {
  /** The lowest unfinished offset: everything below is finished. */
  readonly position: number
  /** One above the highest finished offset; `position` when nothing above it is finished. */
  readonly ceiling: number
  /** How many offsets above the position are finished. */
  readonly above: number
  has(offset: number): boolean
  /** How many offsets of [from, to) are finished. */
  countIn(from: number, to: number): number
}

/** What a broker tells a member. */
export interface MemberListener {
  /** Called with partitions that the member may now hand out. */
  assigned(assignments: readonly Assignment[]): void
  /** The partitions are to be given back: resolve when nothing of them runs any more and all of it is settled. */
  revoked(assignments: readonly Assignment[]): Promise<void>
  /** The membership is over: what still runs can't be settled. */
  lost(error: QueueError): void
}

export interface JoinRequest {
  readonly group: string
  readonly topics: readonly BrokerTopic[]
  /** Required where the group has no position yet. */
  readonly from: StartPosition | undefined
  readonly listener: MemberListener
}

/** What one member decided about one partition since its last settlement. */
export interface PartitionSettlement {
  readonly assignment: Assignment
  /** Finished offsets as pairs: first, end (exclusive), first, end, … What is finished has not failed any more. */
  readonly finished: readonly number[]
  /** Messages whose handlers failed since then, or are marked, by their offsets; with 0 attempts, those that begin anew. */
  readonly failed?: ReadonlyMap<number, FailedState> | undefined
}

/** What handled messages decided about their progress, committed whole or not at all. */
export interface Settlement {
  readonly partitions: readonly PartitionSettlement[]
}

/** A message that is appended together with other parts of a commit. */
export interface Output {
  readonly topic: BrokerTopic
  readonly record: EncodedRecord
  /** It takes the place of a message that is there already, so it needs no room: a full disk does not refuse it. */
  readonly isMove?: boolean | undefined
}

/** What a handler or a transaction decided beside the progress: commits with it, or not at all. */
export interface Effects {
  readonly outputs: readonly Output[]
  /** Only where {@link BrokerCapabilities.effects} is set. */
  readonly parts: readonly CommitPart[]
}

/** What was accepted, and waits for the disk. */
export interface Accepted {
  /** Where each output went, in their order. */
  readonly results: readonly SendResult[]
  /** Bytes of the outputs. */
  readonly bytes: number
}

/** Messages of one member that a transaction acknowledges. */
export interface Acknowledgement {
  readonly membership: Membership
  readonly partitions: readonly PartitionSettlement[]
}

export interface Membership {
  /** Identifies the member inside its group. */
  readonly id: string
  /**
   * Makes a settlement durable, and with it everything that the member had accepted before.
   *
   * @throws `FENCED` when any of its partitions has another owner by now; nothing of it is kept then.
   */
  settle(settlement: Settlement): Promise<void>
  /**
   * Takes a settlement together with effects. It takes effect at once, in the order of the calls: whoever reads state
   * afterwards sees it, and nothing that builds on it can be on disk without it. It is durable when a
   * {@link Membership.settle} that began afterwards is.
   *
   * @throws `FENCED`, `CONFLICT`, `STORE_FULL`, `TOPIC_DELETED`, or what a part's check threw: nothing has changed then
   */
  accept(settlement: Settlement, effects: Effects): Accepted
  /** Gives everything back. With `abandon` at once: what still runs is fenced. */
  leave(options?: { abandon?: boolean }): Promise<void>
}

export interface GroupDescription {
  readonly name: string
  readonly members: readonly string[]
  readonly topics: readonly string[]
}

/** How the lives of the process that owns the store end: whether the last one was closed, and what is known if it was not. */
export interface LifeEnds {
  /** Ends without a close in a row, each of which left open which message was to blame; 0 after a close. */
  readonly unclean: number
  /** From now on messages may run side by side, so that an end tells nothing of one of them; settles when that is durable. */
  sideBySide(): Promise<void>
  /** The ends so far count no more. */
  forget(): void
}

/** A group's place in one partition. */
export interface GroupPosition {
  readonly topic: string
  readonly partition: number
  /** The lowest unfinished offset. */
  readonly position: number
  /** How many offsets above it are finished already. */
  readonly finishedAbove: number
  /** The member that owns the partition. */
  readonly owner: string | undefined
  readonly backlog: Backlog
}

/** What producers and consumers need from any log. The embedded engine and Apache Kafka implement it; one suite holds for both. */
export interface Broker {
  readonly capabilities: BrokerCapabilities
  /** Creates the topic, or opens it. @throws `TOPIC_CONFLICT` */
  createTopic(name: string, settings: Partial<TopicSettings>): Promise<BrokerTopic>
  /**
   * Finds the topic, whatever its settings are, or creates it at once: it is stored by the next commit, and so together
   * with what is accepted in the same stretch. Only where {@link BrokerCapabilities.effects} is set.
   */
  ensureTopic(name: string, settings: Partial<TopicSettings>): BrokerTopic
  topic(name: string): BrokerTopic | undefined
  topics(): readonly BrokerTopic[]
  deleteTopic(name: string): Promise<void>
  /** The user's own state beside the log; undefined where the broker has none. */
  readonly state: State | undefined
  /** Producers that have names; undefined where the broker knows none. */
  readonly producers?: Producers | undefined
  /** Messages that wait for a decision before they go into the log; undefined where the broker has none. */
  readonly prepared: PreparedMessages | undefined
  /** Undefined where the broker does not keep it, or is not asked to. */
  readonly ends: LifeEnds | undefined
  /**
   * Commits effects together with acknowledgements of any members, or nothing of it. It takes effect at once, or when it
   * is let in where too much waits for the disk; settles when it is durable.
   *
   * @returns a result for each output, in their order
   * @throws as {@link Membership.accept}; `IN_FLIGHT_FULL`, `ABORTED`
   */
  transact(effects: Effects, acks: readonly Acknowledgement[], options: AppendOptions): Promise<SendResult[]>
  /** Settles when everything appended before is flushed. */
  flush(): Promise<void>
  join(request: JoinRequest): Promise<Membership>
  /** Without those of the engine, whose names begin with the reserved prefix. */
  groups(): readonly GroupDescription[]
  positions(group: string): readonly GroupPosition[]
  /** Moves a group, with or without members: revokes, sets the position, grants again. */
  seek(group: string, to: StartPosition, where?: { topic?: string; partition?: number }): Promise<void>
  deleteGroup(name: string): Promise<void>
  close(): Promise<void>
}
