import type { AckMode } from '../dispatch/settings.ts'
import type { OnExhausted } from '../dispatch/retry-policy.ts'
import type { DedupeSettings } from '../contracts/broker.ts'
import type { RedriveFacts } from '../dead-letter-facts.ts'
import type { Acks, Headers } from '../message.ts'
import type { LogSnapshot } from './log-snapshot.ts'

/** What every event of a history carries. */
export interface Stamp {
  /** Number of the event, from 0. */
  readonly seq: number
  /** Virtual milliseconds since the test began. */
  readonly at: number
  /** Which life of the process it belongs to, from 1; a restart begins the next one. */
  readonly life: number
}

/** A message in its log. */
export interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
}

/** One message of one handler call. Messages that were handed out together in an array share the number of the call. */
export interface Delivery extends Place {
  readonly group: string
  /** The member that the message was handed to. */
  readonly member: string
  /** Number of the handler call, unique in the history. */
  readonly call: number
  readonly attempt: number
  /** Of the partition, when the message was handed out. */
  readonly fence: number
  /** Handed out a second time on purpose (a fault): at-least-once allows that. */
  readonly isDuplicate: boolean
}

/** A range of finished offsets as pairs: first, end (exclusive), first, end, … */
export type OffsetPairs = readonly number[]

/** What takes effect as one piece: a settlement with what its handler wanted done, or a transaction; by its number. */
export type EffectSource = { readonly settlement: number } | { readonly transaction: number }

/** An entry of a store of state; engine stores have names with spaces. The value is what JSON reads, or the bytes. */
export interface StateEntrySnapshot {
  readonly store: string
  readonly key: string
  readonly value: unknown
}

/** How far a group is in a partition at a moment. */
export interface ProgressSnapshot {
  readonly group: string
  readonly topic: string
  readonly partition: number
  /** The lowest unfinished offset. */
  readonly position: number
  /** Finished offsets at or above the position. */
  readonly finishedAbove: readonly number[]
}

/** A message that a named producer prepared. */
export interface PreparedIdentity {
  readonly producer: string
  /** Names it among those of its producer. */
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
}

/** What can be decided about a prepared message; `give-up` moves it to the dead letters. */
export type PreparedDecision = 'commit' | 'rollback' | 'give-up'

/** What is bounded in a subscription. */
export interface MemberLimits {
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly attempts: number
  /** What becomes of a message that is not tried again; `'park-key'` when left out. */
  readonly onExhausted?: OnExhausted
  /** `'after'` when left out. */
  readonly ackMode?: AckMode
  /** Most messages of a call; undefined where messages are handed out one by one. */
  readonly batchMax: number | undefined
}

/**
 * Everything that can happen, by its name. Whatever a later version of the engine can do gets its line here; inspection,
 * timeline and invariants are made of these alone.
 */
export interface HistoryEvents {
  /** A life begins: the wiring has run when this comes. */
  wired: {}
  'topic:created': { readonly topic: string; readonly partitions: number }
  'topic:deleted': { readonly topic: string }
  /** A send was called. */
  send: {
    /** Number of the message, unique in the history. */
    readonly send: number
    readonly topic: string
    readonly partition: number
    readonly key: string | undefined
    readonly value: unknown
    readonly headers: Headers
    /** The id that the sender gave it, and the window in which the topic knows it. */
    readonly id?: string | undefined
    readonly dedupe?: DedupeSettings | false | undefined
    /** The named producer that sends it. */
    readonly producer?:
      { readonly name: string; readonly epoch: number; readonly sequence: number | undefined } | undefined
    /** Number that all messages of one `sendBatch` share; they are kept together or not at all. */
    readonly batch: number | undefined
    readonly acks: Acks
    /** Of an output: what it commits with. */
    readonly of?: EffectSource
    /** Of a message that is sent back from the dead letters: to whom. */
    readonly redrive?: RedriveFacts
  }
  /** A send was acknowledged to its caller. */
  acked: Place & { readonly send: number; readonly acks: Acks }
  /** A send was answered with the place of a message that was there already: nothing was appended. */
  repeated: Place & { readonly send: number; readonly acks: Acks }
  /** A named producer was opened: those of a smaller epoch are fenced. */
  'producer:opened': { readonly producer: string; readonly epoch: number }
  /** A send was refused, or its outcome is not known because the store failed. */
  refused: {
    readonly send: number
    readonly topic: string
    readonly partition: number
    readonly key: string | undefined
    readonly error: unknown
  }
  /** A producer was told to prepare a message. */
  prepare: PreparedIdentity & { readonly partition: number; readonly value: unknown }
  /** A prepared message is stored. */
  prepared: PreparedIdentity
  /** It was refused, or it is not known whether it is stored because the store failed. */
  unprepared: PreparedIdentity & { readonly error: unknown }
  /** Somebody decides about a prepared message: the producer, or its checker. */
  decide: PreparedIdentity & {
    readonly decision: PreparedDecision
    /** Number of the send that makes it visible. */
    readonly send: number | undefined
  }
  /** What was decided is stored. The place is that of the message where it is visible now. */
  decided: PreparedIdentity & {
    readonly decision: PreparedDecision
    readonly partition?: number
    readonly offset?: number
  }
  /** A decision was refused, because there was another one or the producer was fenced; or its outcome is not known. */
  undecided: PreparedIdentity & { readonly decision: PreparedDecision; readonly error: unknown }
  /** A checker was asked about a prepared message. */
  checked: PreparedIdentity & {
    /** How often it was asked, from 1. */
    readonly check: number
    readonly answer: 'commit' | 'rollback' | 'unknown'
    readonly error: unknown
    readonly nextInMs: number | undefined
  }
  /** Everything below `start` was removed. */
  trimmed: { readonly topic: string; readonly partition: number; readonly start: number }
  /** A member joined a group. */
  joined: { readonly group: string; readonly member: string; readonly topics: readonly string[] } & MemberLimits
  /** A member may run so many calls at once from now on; what runs goes on. */
  resized: { readonly group: string; readonly member: string; readonly concurrency: number }
  left: { readonly group: string; readonly member: string; readonly abandoned: boolean }
  /** The membership ended by itself. */
  lost: { readonly group: string; readonly member: string; readonly error: unknown }
  /** A member may hand out messages of a partition. */
  granted: {
    readonly group: string
    readonly member: string
    readonly topic: string
    readonly partition: number
    readonly fence: number
    readonly position: number
  }
  /** A member gave a partition back: nothing of it runs any more. */
  released: {
    readonly group: string
    readonly member: string
    readonly topic: string
    readonly partition: number
    readonly fence: number
  }
  /** A group without members was removed with its positions. */
  'group:deleted': { readonly group: string }
  /** The group was moved in a partition: what was finished there at or above the position is forgotten. */
  sought: { readonly group: string; readonly topic: string; readonly partition: number; readonly position: number }
  /** The engine handed a message to the handler. */
  deliver: Delivery
  /** The handler began: between `deliver` and this an explored schedule may do other things. */
  start: Delivery & { readonly value: unknown }
  /** The handler returned. */
  done: Delivery
  /** The handler threw or, in a call whose time was over, ended; of an abandoned call that is so at once. */
  error: Delivery & { readonly error: unknown }
  /** The time of a handler call was over: its outcome counts for nothing, and with `isAbandoned` its key is free. */
  'timed-out': Delivery & { readonly isAbandoned: boolean }
  /** An abandoned call has ended after all. */
  late: Delivery
  /** Running calls of a member were to be ended: their signals were aborted. */
  cancelled: {
    readonly group: string
    readonly member: string
    readonly calls: number
    readonly error: unknown
  }
  /** The engine decided about a failed message: it is tried again in `retryInMs`, or not again when that is undefined. */
  failed: Place & {
    readonly group: string
    readonly attempt: number
    readonly error: unknown
    readonly retryInMs: number | undefined
  }
  /** The engine hands a message out again without counting its attempt, although its handler may have done its work. */
  deferred: Place & {
    readonly group: string
    readonly attempt: number
    readonly reason: unknown
    readonly retryInMs: number
  }
  /** A message is not tried again: its key waits until it is told to go on. */
  parked: Place & { readonly group: string; readonly error: unknown }
  /** A message was moved to the dead letters; durable with the settlement that has it. */
  'dead-lettered': Place & {
    readonly group: string
    readonly attempts: number
    readonly reason: string
    readonly error: unknown
    readonly deadLetterTopic: string
  }
  /** A message was given up and counts as finished. */
  skipped: Place & { readonly group: string; readonly attempts: number; readonly error: unknown }
  /** The idempotency store of a group knew that a message was done: it is finished without a call. */
  duplicate: Place & { readonly group: string }
  /**
   * Keys of a member were told to go on at once, parked ones with their attempts counted anew; all of them where no key is
   * named.
   */
  renewed: { readonly group: string; readonly member: string; readonly key: string | undefined }
  /** A member asked for a settlement. */
  settle: {
    readonly group: string
    readonly member: string
    /** Number of the settlement, unique in the history. */
    readonly settlement: number
    /** Set where a transaction acknowledges: its messages are done if it commits, whatever their handlers do. */
    readonly byTransaction?: true
    readonly partitions: readonly {
      readonly topic: string
      readonly partition: number
      readonly fence: number
      readonly finished: OffsetPairs
      /** Messages that failed, with how often; 0 where they begin anew. */
      readonly failed: readonly { readonly offset: number; readonly attempts: number }[]
      /** Offsets that are finished because a dead letter takes their place in the same commit. */
      readonly deadLettered?: readonly number[]
      /** Messages that are marked before they run alone, with the attempt that is about to begin. */
      readonly marked?: readonly { readonly offset: number; readonly attempt: number }[]
    }[]
  }
  /** A settlement is durable. The positions are those of its partitions at this moment. */
  settled: {
    readonly group: string
    readonly member: string
    readonly settlement: number
    readonly positions: readonly { readonly topic: string; readonly partition: number; readonly position: number }[]
  }
  /** A settlement was refused, because a partition has another owner (`FENCED`) or the store failed. */
  unsettled: { readonly group: string; readonly member: string; readonly settlement: number; readonly error: unknown }
  /** A transaction's callback has returned; it acknowledges with so many settlements, by their numbers. */
  'transaction:begun': {
    readonly transaction: number
    readonly acks: Acks
    readonly sends: readonly number[]
    readonly settlements: readonly number[]
  }
  /** A transaction has reached the level that it waits for. */
  'transaction:committed': { readonly transaction: number }
  /** A transaction was refused, or its outcome is not known because the store failed. */
  'transaction:refused': { readonly transaction: number; readonly error: unknown }
  /** A row of a store of state was written, for everyone to see; removed when the value is undefined. */
  state: {
    readonly store: string
    readonly key: string
    readonly value: unknown
    readonly of: EffectSource | undefined
  }
  /** A settlement with effects, or a transaction, took effect; on disk it is with the next commit. */
  accepted: {
    readonly of: EffectSource
    /** Where its outputs are. */
    readonly outputs: readonly (Place & { readonly send: number })[]
  }
  /** A transaction finishes dead letters: it sends them back, or deletes them. */
  'letters:finished': {
    readonly transaction: number
    /** Where the letters are. */
    readonly topic: string
    readonly partition: number
    readonly letters: readonly number[]
  }
  /** Retention removed what the group had not finished: [from, to), `count` of them unfinished. */
  gap: {
    readonly group: string
    readonly topic: string
    readonly partition: number
    readonly from: number
    readonly to: number
    readonly count: number
  }
  /** A fault was injected. `text` says what, in words. */
  fault: { readonly name: string; readonly text: string }
  /** The process died. What its handlers still do is a zombie's. */
  crash: { readonly power: boolean; readonly point: string }
  /** Something of a life that is over did something: a handler ended, or called the queue. */
  zombie: { readonly text: string }
  /** What the store holds: after a restart, and at the end. */
  snapshot: {
    readonly reason: 'restart' | 'end'
    readonly logs: readonly LogSnapshot[]
    readonly progress: readonly ProgressSnapshot[]
    /** Letters that were deleted or sent back, as the keepers of their topics have them; left out where there are none. */
    readonly kept?: readonly ProgressSnapshot[]
    /** Prepared messages that nobody decided about; left out where there are none. */
    readonly prepared?: readonly PreparedIdentity[]
    /** Rows of the stores of state; undefined where the broker keeps none. */
    readonly state?: readonly StateEntrySnapshot[] | undefined
  }
  /** Free space fell below the reserve, or is there again. */
  'store:full': {}
  'store:available': {}
  'store:failed': { readonly error: unknown }
  /** The wall clock jumped. */
  jumped: { readonly byMs: number }
  /** A handler waits for something outside of the test. */
  external: { readonly text: string; readonly isDeclared: boolean }
  /** A task of the engine threw, which would end a process. */
  thrown: { readonly error: unknown }
  /** `drain` ended: no finite work is left but what `left` counts, which is parked or paused. */
  drained: { readonly idle: 'empty' | 'parked' | 'external'; readonly left: number }
}

/** The name of an event of a history. */
export type HistoryKind = keyof HistoryEvents

/** One event, told apart by its `kind`. */
export type HistoryEvent<K extends HistoryKind = HistoryKind> = {
  readonly [Kind in K]: { readonly kind: Kind } & Stamp & HistoryEvents[Kind]
}[K]

/** Called with every event as it happens. */
export type HistoryListener = (event: HistoryEvent) => void

/** Everything that happened in a test, in order. */
export class History {
  readonly events: HistoryEvent[] = []
  /** The life that new events belong to. */
  life = 1
  readonly #now: () => number
  readonly #listeners: HistoryListener[] = []

  /** `now` tells the virtual milliseconds since the test began. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Calls `listener` with every event from now on. */
  listen(listener: HistoryListener): void {
    this.#listeners.push(listener)
  }

  /** @internal */
  add<K extends HistoryKind>(kind: K, facts: HistoryEvents[K]): void {
    const event = { kind, seq: this.events.length, at: this.#now(), life: this.life, ...facts } as HistoryEvent
    this.events.push(event)
    for (const listener of this.#listeners) listener(event)
  }

  /** Events of one kind, in order. */
  of<K extends HistoryKind>(kind: K): HistoryEvent<K>[] {
    return this.events.filter((event) => event.kind === kind) as readonly HistoryEvent[] as HistoryEvent<K>[]
  }
}
