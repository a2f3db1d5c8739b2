import type { Broker, GroupPosition, StartPosition } from '../contracts/broker.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { lagOf, type Lag } from './lag.ts'
import { checkStartPosition } from './resolve.ts'
import type { Subscription } from './subscription.ts'

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

  /** Forgets the group and its progress for good. @throws `GROUP_CONFLICT` while it has members */
  delete(): Promise<void> {
    return this.#broker.deleteGroup(this.name)
  }
}
