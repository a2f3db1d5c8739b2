import type { Message } from '../../message.ts'

/** Named places at which a fault may strike. A later version of the engine adds its own here. */
export const pointNames = [
  'send:before',
  'send:applied',
  'send:flushed',
  'deliver',
  'handler:start',
  'handler:done',
  'handler:error',
  'settle:before',
  'settle:applied',
  'settle:flushed',
  'trim:before',
  'trim:applied',
  'trim:flushed',
  'topic:applied',
  'topic:flushed',
  'group:before',
  'group:applied',
  'group:flushed',
  'state:applied',
  'state:flushed',
  'transaction:before',
  'prepare:before',
  'decide:before',
  'prepared:applied',
  'prepared:flushed',
  'commit:before',
  'commit:applied',
  'commit:flushed',
] as const

/**
 * The name of a place at which a fault may strike.
 *
 * - `send`, `settle`, `trim`, `group`: `before` is when the call is made; `applied` is within the commit that holds it (it
 *   survives the process, not the power); `flushed` is when that commit is on disk and nobody has been told.
 * - `state`: rows of a store of the user's state; `transaction:before` is when a transaction is about to take effect.
 * - `prepared`: rows of prepared messages; `prepare:before` and `decide:before` are when one is about to be prepared, and to
 *   be committed, rolled back or given up.
 * - `deliver`: the engine hands a message out; `handler:start`, `handler:done`, `handler:error`: around the user's function.
 * - `commit`: every commit, whatever it holds.
 */
export type PointName = (typeof pointNames)[number]

/** What a fault is asked about: a passed point. */
export interface Point {
  readonly name: PointName
  /** The point and what it concerns, in words that are the same in every run. */
  readonly label: string
  readonly group?: string | undefined
  readonly topic?: string | undefined
  readonly partition?: number | undefined
  readonly offset?: number | undefined
  readonly key?: string | undefined
  readonly member?: string | undefined
  /** Of prepared messages. */
  readonly producer?: string | undefined
  /** Of rows of the user's state: the name of the store. */
  readonly store?: string | undefined
  readonly attempt?: number | undefined
  /** Of a handler call: its first message. */
  readonly message?: Message<unknown> | undefined
  /** Of a commit: what it holds, each a point of its own. */
  readonly parts?: readonly Point[] | undefined
}

/** Something that goes wrong, or otherwise than usual, on purpose. */
export type Fault =
  | { readonly kind: 'crash'; readonly power: boolean }
  /** The handler throws what `error` makes instead of running. */
  | { readonly kind: 'error'; readonly error: () => unknown }
  /** The handler runs later by so much virtual time. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** The handler runs when the faults are lifted. */
  | { readonly kind: 'hang' }
  /** The message is handed out once more after it was handled. */
  | { readonly kind: 'duplicate' }
  /** Another member joins the group. */
  | { readonly kind: 'join' }
  /** The member that was handed the message leaves its group. */
  | { readonly kind: 'leave' }
  /** The store has no room for sends, for so much virtual time. */
  | { readonly kind: 'full'; readonly ms: number }
  /** The wall clock jumps. */
  | { readonly kind: 'jump'; readonly byMs: number }

/** The name of a kind of fault. */
export type FaultKind = Fault['kind']

/** Says which faults strike at a point. */
export interface FaultSource {
  strike(point: Point): readonly Fault[]
}

/** A message's place, as labels have it. */
export function placeLabel(topic: string, partition: number, offset: number): string {
  return `${topic}[${partition}]@${offset}`
}
