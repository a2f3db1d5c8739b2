import type { Broker } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { IdempotencyStore } from '../contracts/idempotency-store.ts'
import { IdempotentHandler, type IdempotentHost } from './idempotent-handler.ts'
import { LocalIdempotentHandler } from './local-idempotent-handler.ts'

/** How the subscriptions of a queue use idempotency stores. */
export class IdempotentSubscriptions {
  readonly #broker: Broker
  /** Stores that were warned of. */
  readonly #warned = new WeakSet<IdempotencyStore>()

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** What is called in place of the user's handler. Where the store is in the queue, marks commit with the acknowledgement. */
  handler(host: IdempotentHost): IdempotentHandler | LocalIdempotentHandler {
    const { store } = host.settings
    const marks = store.marksIn?.(this.#broker)
    if (marks !== undefined) return new LocalIdempotentHandler({ ...host, marks, commit: (part) => this.#commit(part) })
    this.#warnOf(store, host)
    return new IdempotentHandler(host)
  }

  #commit(part: CommitPart): void {
    // It is on disk with what comes next; when the store fails everyone is told.
    this.#broker.transact({ outputs: [], parts: [part] }, [], { acks: 'flushed' }).catch(() => {})
  }

  /** Who keeps messages and forgets what was done for them has to know, once for each store. */
  #warnOf(store: IdempotencyStore, { group, runtime }: IdempotentHost): void {
    if (store.capabilities.durable || !this.#broker.capabilities.durable || this.#warned.has(store)) return
    this.#warned.add(store)
    runtime.warn(
      `The idempotency store of group ${group} is not durable, but its messages are: what it forgets at a restart is worked on again.`,
    )
  }
}
