import type { Broker, GroupPosition, StartPosition } from '../contracts/broker.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { lagOf, type Lag } from './lag.ts'
import { checkStartPosition } from './resolve.ts'
import type { BlockedKey, ParkedKey } from '../dispatch/retries.ts'
import { listLimit, type KeyListOptions, type Subscription } from './subscription.ts'

/** A consumer group, whether it has members or not. */
export class Group {
  readonly name: string
  readonly #broker: Broker
  readonly #runtime: Runtime
  readonly #subscriptions: () => Iterable<Subscription>

  /** @internal */
  constructor(name: string, broker: Broker, runtime: Runtime, subscriptions: () => Iterable<Subscription>) {
    this.name = name
    this.#broker = broker
    this.#runtime = runtime
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
  release(key?: string): number {
    let count = 0
    for (const subscription of this.#subscriptions()) if (subscription.isOpen) count += subscription.release(key)
    return count
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
