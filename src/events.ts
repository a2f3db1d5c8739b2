import { channel, type Channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'eventemitter3'
import type { QueueError } from './errors.ts'

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
  /** A handler failed; it is tried again in `retryInMs`, or its key is stopped when that is undefined. */
  'message:failed': {
    readonly group: string
    readonly topic: string
    readonly partition: number
    readonly offset: number
    readonly key: string | undefined
    readonly attempt: number
    readonly error: unknown
    readonly retryInMs: number | undefined
  }
  /** A message used up its attempts: the later messages of its key wait until {@link Subscription.retry}. */
  'key:stopped': {
    readonly group: string
    readonly topic: string
    readonly partition: number
    readonly offset: number
    readonly key: string | undefined
    readonly error: QueueError
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
