import type { Acks, Headers } from '../message.ts'

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

/** What a log holds at a moment. */
export interface LogSnapshot {
  readonly topic: string
  readonly partition: number
  /** First offset that can be read. */
  readonly start: number
  readonly end: number
  /** From `start` to `end`. */
  readonly records: readonly { readonly offset: number; readonly key: string | undefined; readonly value: unknown }[]
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

/** What is bounded in a subscription. */
export interface MemberLimits {
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly attempts: number
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
    /** Number that all messages of one `sendBatch` share; they are kept together or not at all. */
    readonly batch: number | undefined
    readonly acks: Acks
  }
  /** A send was acknowledged to its caller. */
  acked: Place & { readonly send: number; readonly acks: Acks }
  /** A send was refused, or its outcome is not known because the store failed. */
  refused: {
    readonly send: number
    readonly topic: string
    readonly partition: number
    readonly key: string | undefined
    readonly error: unknown
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
  /** The handler threw. */
  error: Delivery & { readonly error: unknown }
  /** The engine decided about a failed message: it is tried again in `retryInMs`, or its key is stopped when that is undefined. */
  failed: Place & {
    readonly group: string
    readonly attempt: number
    readonly error: unknown
    readonly retryInMs: number | undefined
  }
  /** A message used up its attempts: its key waits until it is told to go on. */
  stopped: Place & { readonly group: string; readonly error: unknown }
  /** Stopped keys of a member were told to go on, with their attempts counted anew; all of them where no key is named. */
  renewed: { readonly group: string; readonly member: string; readonly key: string | undefined }
  /** A member asked for a settlement. */
  settle: {
    readonly group: string
    readonly member: string
    /** Number of the settlement, unique in the history. */
    readonly settlement: number
    readonly partitions: readonly {
      readonly topic: string
      readonly partition: number
      readonly fence: number
      readonly finished: OffsetPairs
      /** Messages that failed, with how often; 0 where they begin anew. */
      readonly failed: readonly { readonly offset: number; readonly attempts: number }[]
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
  /** Retention removed what the group had not finished: [from, to), `count` of them unfinished. */
  gap: {
    readonly group: string
    readonly topic: string
    readonly partition: number
    readonly from: number
    readonly to: number
    readonly count: number
  }
  /** A named place was passed at which a fault may strike; only where one did, unless every point is asked for. */
  point: { readonly point: string }
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
  /** `drain` ended: no finite work is left but what `left` counts, which is stopped or paused. */
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
