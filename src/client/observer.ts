import type { Codec } from '../codec.ts'
import type { Broker } from '../contracts/broker.ts'
import type { CarefulTurns } from '../dispatch/careful-turns.ts'
import type { DispatchHandler } from '../dispatch/deliveries.ts'
import type { DispatcherSettings } from '../dispatch/settings.ts'
import type { ConsumedTopic } from '../dispatch/partition-intake.ts'
import type { EventHub } from '../events.ts'

/** Stands between a dispatcher and a handler, and remembers what was done. */
export interface Remembering {
  readonly handle: DispatchHandler
  start(hold: (isHeld: boolean) => void): void
  close(): void
}

/**
 * Stands at the seams of a queue: its broker, its events, its handlers. Only simulations have one, so production pays
 * nothing for what they want to know.
 *
 * @internal
 */
export interface QueueObserver {
  /** The queue is about to be made of these. */
  opened(broker: Broker, events: EventHub, turns: CarefulTurns | undefined): void
  /** A topic was opened with a codec. */
  topic(name: string, codec: Codec<unknown>): void
  /**
   * A subscription begins, its member joins the group next: returns the handler to call instead. `remembering` makes what
   * stands before such a handler where the subscription has an idempotency store.
   */
  handler(
    settings: DispatcherSettings,
    consumed: readonly ConsumedTopic[],
    handler: DispatchHandler,
    remembering: (handler: DispatchHandler) => Remembering | undefined,
  ): DispatchHandler
}
