import type { Message } from '../../message.ts'
import type { Delivery } from '../history.ts'
import type { SimulatedMember } from './member.ts'

/** A handler call that has not ended. */
export interface RunningCall {
  readonly deliveries: readonly Delivery[]
  readonly messages: readonly Message<unknown>[]
  readonly member: SimulatedMember
  /** In words: `billing orders[0]@4`. */
  readonly text: string
  /** Its messages were handed to it a second time, by a fault. */
  isDuplicate: boolean
  /** Its outcome was noted; in an explored schedule the engine is told later. */
  hasEnded: boolean
  /** Set when its time was over. */
  timeout: { readonly error: unknown; readonly isAbandoned: boolean } | undefined
  /** Whether the user's function runs (and not a fault or a schedule that holds it). */
  isInside: boolean
  /** What it says that it waits for, see `context.external`. */
  readonly external: Set<string>
}
