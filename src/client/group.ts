import type { Broker, GroupPosition, StartPosition } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import { checkTopicName, invalid } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { DeadLetters, type DeadLettersHost } from './dead-letters.ts'
import { lagOf, type Lag } from './lag.ts'
import { checkStartPosition } from './resolve.ts'
import type { BlockedKey, ParkedKey } from '../dispatch/retries.ts'
import { listLimit, type KeyListOptions, type ReleaseOptions, type Subscription } from './subscription.ts'

/** A consumer group, whether it has members or not. */
export class Group {
  readonly name: string
  readonly #broker: Broker
  readonly #runtime: Runtime
  readonly #host: DeadLettersHost
  readonly #subscriptions: () => Iterable<Subscription>

  /** @internal */
  constructor(name: string, host: DeadLettersHost, subscriptions: () => Iterable<Subscription>) {
    this.name = name
    this.#broker = host.broker
    this.#runtime = host.runtime
    this.#host = host
    this.#subscriptions = subscriptions
  }

  /** Where the group is in each partition. A settlement shows at once, its commit may still be under way: `flush()` waits for it. */
  positions(): readonly GroupPosition[] {
    return this.#broker.positions(this.name)
  }

  /** How far the group is behind, over all its partitions. */
  lag(): Lag {
    return lagOf(this.positions(), this.#runtime.now())
  }

  /** Names of its members in this process. */
  members(): readonly string[] {
    return this.#broker.groups().find(({ name }) => name === this.name)?.members ?? []
  }

  /** Moves the group, with or without members, in all partitions or those chosen. @throws `OFFSET_OUT_OF_RANGE` */
  async seek(to: StartPosition, where?: { readonly topic?: string; readonly partition?: number }): Promise<void> {
    checkStartPosition(to, 'seek', 'to')
    await this.#broker.seek(this.name, to, where)
  }

  /** Pauses every subscription that the group has now. Not stored. */
  pause(): void {
    for (const subscription of this.#subscriptions()) subscription.pause()
  }

  /** Undoes {@link Group.pause}. */
  resume(): void {
    for (const subscription of this.#subscriptions()) subscription.resume()
  }

  /** Parked keys of the subscriptions that the group has now; see {@link Subscription.parkedKeys}. */
  parkedKeys(options?: KeyListOptions): ParkedKey[] {
    return this.#list(listLimit(options, 'parkedKeys'), (subscription, limit) => subscription.parkedKeys({ limit }))
  }

  /** Keys that wait for a retry in the subscriptions that the group has now; see {@link Subscription.blockedKeys}. */
  blockedKeys(options?: KeyListOptions): BlockedKey[] {
    return this.#list(listLimit(options, 'blockedKeys'), (subscription, limit) => subscription.blockedKeys({ limit }))
  }

  /** Lets a key, or all of them, go on in every subscription that the group has now; see {@link Subscription.release}. */
  release(key?: string, options?: ReleaseOptions): number {
    let count = 0
    for (const subscription of this.#subscriptions()) {
      if (subscription.isOpen) count += subscription.release(key, options)
    }
    return count
  }

  /**
   * The dead letters of the group from a topic: to look at, to delete, and to send back.
   *
   * @param topic - its name; it may be left out where the group consumes one topic
   * @throws `INVALID_OPTION` when it is left out and the group has another number of topics; `UNSUPPORTED` where the broker
   * moves no messages to dead letters
   */
  deadLetters(topic?: string): DeadLetters {
    if (topic !== undefined) checkTopicName(topic)
    if (!this.#broker.capabilities.effects) {
      throw new QueueError('UNSUPPORTED', 'this broker moves no messages to dead letters', { group: this.name })
    }
    const topics = this.#broker.groups().find(({ name }) => name === this.name)?.topics ?? []
    const source = topic ?? (topics.length === 1 ? topics[0] : undefined)
    if (source !== undefined) return new DeadLetters(this.name, source, this.#host)
    throw invalid(
      'deadLetters',
      'topic',
      topic,
      `one of the topics of the group: ${topics.join(', ') || 'it has none'}`,
    )
  }

  #list<T>(limit: number, of: (subscription: Subscription, limit: number) => T[]): T[] {
    const found: T[] = []
    for (const subscription of this.#subscriptions()) {
      if (found.length < limit) found.push(...of(subscription, limit - found.length))
    }
    return found
  }

  /** Forgets the group and its progress for good. @throws `GROUP_CONFLICT` while it has members */
  delete(): Promise<void> {
    return this.#broker.deleteGroup(this.name)
  }
}
