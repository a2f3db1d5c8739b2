import { channel, type Channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'eventemitter3'
import type { DeadLetterReason } from './dead-letter-facts.ts'
import type { ExhaustedReason, QueueError } from './errors.ts'

/** Which message of which group an event is about. */
export interface MessageFacts {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
}

/** Names and payloads of everything a queue reports. Correctness never waits on an event: promises tell outcomes. */
export interface QueueEvents {
  /** A topic was created (not merely opened). */
  'topic:created': { readonly topic: string; readonly partitions: number }
  'topic:deleted': { readonly topic: string }
  /** Retention or {@link Topic.trim} removed everything below `start`. */
  'topic:trimmed': { readonly topic: string; readonly partition: number; readonly start: number }
  /** Partitions of a group changed owners. */
  'group:rebalanced': { readonly group: string; readonly members: number }
  /** Retention removed messages that the group had not finished: [from, to), `count` of them unfinished. */
  'group:gap': {
    readonly group: string
    readonly topic: string
    readonly partition: number
    readonly from: number
    readonly to: number
    readonly count: number
  }
  /** A handler failed; it is tried again in `retryInMs`, or not again when that is undefined: `onExhausted` says what then. */
  'message:failed': MessageFacts & {
    readonly attempt: number
    readonly error: unknown
    readonly retryInMs: number | undefined
  }
  /**
   * A handler was not done within `handlerTimeoutMs`, and its signal was aborted with `error`. The attempt counts as failed:
   * `message:failed` tells so when the handler has ended or, with `isAbandoned`, at once.
   */
  'message:timed-out': MessageFacts & {
    readonly attempt: number
    readonly error: QueueError
    /** Whether the handler is not waited for (`onTimeout: 'abandon'`). */
    readonly isAbandoned: boolean
  }
  /**
   * A message is handed out again although its handler did not fail, in `retryInMs`: its effects were refused (`CONFLICT`,
   * `STORE_FULL`), another message of its array failed, its idempotency key is busy (`IDEMPOTENCY_BUSY`), or something that
   * it needs was not to be had. Its attempt does not count.
   */
  'message:deferred': MessageFacts & {
    readonly attempt: number
    /** Why. */
    readonly reason: unknown
    readonly retryInMs: number
  }
  /** A message is not tried again: the later messages of its key wait until {@link Subscription.release}. */
  'key:parked': MessageFacts & {
    readonly error: QueueError
    readonly reason: ExhaustedReason
  }
  /** A message counts as finished although its handler failed, because of `onExhausted: 'skip'`. */
  'message:skipped': MessageFacts & {
    readonly attempts: number
    /** `HANDLER_FAILED`; its cause is what the handler threw, where that is known. */
    readonly error: QueueError
    readonly reason: ExhaustedReason
  }
  /** A named producer was opened again: what the older one, of `epoch`, still sends is refused. */
  'producer:fenced': { readonly producer: string; readonly epoch: number }
  /**
   * The work for a message was done before, as the idempotency store of the subscription says: the message is finished
   * without a call of the handler. `result` is what the handler returned then; the bytes, where they are not JSON.
   */
  'message:duplicate': MessageFacts & {
    readonly idempotencyKey: string
    readonly result: unknown
  }
  /** The idempotency store of a group does not do its part: the group's messages wait, and it is asked again and again. */
  'idempotency:unavailable': { readonly group: string; readonly error: unknown }
  /** The idempotency store of a group does its part again. */
  'idempotency:available': { readonly group: string }
  /** A checker was asked about a prepared message. */
  'prepared:checked': {
    readonly producer: string
    readonly id: string
    readonly topic: string
    readonly key: string | undefined
    /** How often it was asked about that message, from 1. */
    readonly check: number
    readonly answer: 'commit' | 'rollback' | 'unknown'
    /** Why the answer is `'unknown'`, where the checker did not say so itself: it threw, was late, or said something else. */
    readonly error: unknown
    /** When it is asked again; undefined when it is not. */
    readonly nextInMs: number | undefined
  }
  /** The checker did not know after its last attempt either: the message is in the topic `deadLetters`. */
  'prepared:dead-lettered': {
    readonly producer: string
    readonly id: string
    readonly topic: string
    readonly key: string | undefined
    readonly checks: number
    readonly deadLetters: string
    /** Why the last answer was `'unknown'`, as in `prepared:checked`. */
    readonly error: unknown
  }
  /**
   * A message was moved to the dead letters. It is finished, and what was sent and written with it has happened, as soon as
   * the commit under way is on disk.
   */
  'message:dead-lettered': MessageFacts & {
    /** How often it was handed out. */
    readonly attempts: number
    /** Why; text of the handler's where it asked for it. */
    readonly reason: DeadLetterReason
    /** What the last attempt threw; undefined where that is not known, or nothing was thrown. */
    readonly error: unknown
    /** Where it is now. */
    readonly deadLetterTopic: string
  }
  /** So many letters were sent back to their topic, and are on disk there: a slice of a redrive. */
  'dead-letters:redriven': {
    readonly group: string
    /** Where they came from, and are again. */
    readonly topic: string
    readonly deadLetterTopic: string
    readonly count: number
  }
  /** So many letters were deleted, a slice of them. */
  'dead-letters:deleted': {
    readonly group: string
    readonly topic: string
    readonly deadLetterTopic: string
    readonly count: number
  }
  /** A subscription ended by itself, because of `error`. */
  'subscription:ended': { readonly group: string; readonly error: QueueError }
  /** Free disk space fell below the reserve: sends are refused until `store:available`. */
  'store:full': { readonly freeBytes: number }
  'store:available': { readonly freeBytes: number }
  /** The store stopped itself; reopen the queue in a new process. */
  'store:failed': { readonly error: QueueError }
}

/** The name of an event in {@link QueueEvents}. */
export type QueueEventName = keyof QueueEvents

/** Every event is published on the `node:diagnostics_channel` of this prefix too: `lanemq:message:failed` and so on. */
export const channelPrefix = 'lanemq:'

/**
 * Carries events to listeners and diagnostics channels. A listener that throws never reaches the engine; without a
 * listener an event costs a look-up.
 *
 * @internal
 */
export class EventHub {
  readonly #emitter = new EventEmitter()
  readonly #channels = new Map<string, Channel>()
  readonly #report: (error: unknown) => void

  /** `report` gets what a listener threw. */
  constructor(report: (error: unknown) => void) {
    this.#report = report
  }

  on<N extends QueueEventName>(name: N, listener: (payload: QueueEvents[N]) => void): void {
    this.#emitter.on(name, listener)
  }

  off<N extends QueueEventName>(name: N, listener: (payload: QueueEvents[N]) => void): void {
    this.#emitter.off(name, listener)
  }

  emit<N extends QueueEventName>(name: N, payload: QueueEvents[N]): void {
    for (const listener of this.#emitter.listeners(name)) {
      try {
        const result = (listener as (payload: QueueEvents[N]) => unknown)(payload)
        if (result instanceof Promise) result.catch(this.#report)
      } catch (error) {
        this.#report(error)
      }
    }
    const diagnostics = this.#channel(name)
    if (diagnostics.hasSubscribers) diagnostics.publish(payload)
  }

  /** Removes every listener. */
  clear(): void {
    this.#emitter.removeAllListeners()
  }

  #channel(name: string): Channel {
    let found = this.#channels.get(name)
    if (found === undefined) this.#channels.set(name, (found = channel(channelPrefix + name)))
    return found
  }
}
