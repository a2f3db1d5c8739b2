import type { Remembering } from '../../client/observer.ts'
import type { Membership } from '../../contracts/broker.ts'
import type { DispatchHandler } from '../../dispatch/deliveries.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { ConsumedTopic } from '../../dispatch/partition-intake.ts'
import type { DispatcherSettings } from '../../dispatch/settings.ts'

/** A member of a group as the simulation knows it: enough to let another one like it join, and to let it leave. */
export interface SimulatedMember {
  /** Such as `billing#1`; counted per group over all lives. */
  readonly name: string
  readonly group: string
  readonly settings: DispatcherSettings
  readonly consumed: readonly ConsumedTopic[]
  /** The user's function. */
  readonly handler: DispatchHandler
  /** Makes what stands before a handler like this one's, where there is an idempotency store. */
  readonly remembering: (handler: DispatchHandler) => Remembering | undefined
  /** Set when the member has joined. */
  dispatcher: Dispatcher | undefined
  membership: Membership | undefined
  hasLeft: boolean
  /** It was told to leave and waits for what it runs. */
  isLeaving: boolean
  /** Of the last grant of each partition, by `topic/partition`. */
  readonly fences: Map<string, number>
}
