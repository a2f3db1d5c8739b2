import { atLeastOnce } from './at-least-once.ts'
import { bounds } from './bounds.ts'
import { commitWatermark } from './commit-watermark.ts'
import { generation } from './generation.ts'
import type { Invariant } from './invariant.ts'
import { keyOrder } from './key-order.ts'
import { liveness } from './liveness.ts'
import { log } from './log.ts'
import { noLoss } from './no-loss.ts'
import { noOverlap } from './no-overlap.ts'
import { noRepeat } from './no-repeat.ts'
import { store } from './store.ts'
import { time } from './time.ts'

/** What must hold in every history of the queue, whatever the test is about. */
export const defaultInvariants: readonly Invariant[] = Object.freeze([
  noLoss,
  keyOrder,
  noOverlap,
  atLeastOnce,
  // Effects that happen once need a store of idempotency marks. Until there is one: what is settled is not repeated.
  noRepeat,
  commitWatermark,
  generation,
  // Later: the bytes and messages that wait, when the history tells of them.
  bounds,
  log,
  // Later: nothing before its `notBefore` and nothing after its expiry, when messages have them.
  time,
  // Later, with outputs that commit with the acknowledgement: all of a settlement's outputs appear, or none.
  liveness,
  store,
])
