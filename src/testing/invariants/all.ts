import { atLeastOnce } from './at-least-once.ts'
import { atomicOutputs } from './atomic-outputs.ts'
import { blame } from './blame.ts'
import { bounds } from './bounds.ts'
import { commitWatermark } from './commit-watermark.ts'
import { effectivelyOnce } from './effectively-once.ts'
import { generation } from './generation.ts'
import type { Invariant } from './invariant.ts'
import { keyOrder } from './key-order.ts'
import { liveness } from './liveness.ts'
import { log } from './log.ts'
import { noLoss } from './no-loss.ts'
import { noOverlap } from './no-overlap.ts'
import { noRepeat } from './no-repeat.ts'
import { prepared } from './prepared.ts'
import { redriven } from './redriven.ts'
import { sentOnce } from './sent-once.ts'
import { store } from './store.ts'
import { time } from './time.ts'

/** What must hold in every history of the queue, whatever the test is about. */
export const defaultInvariants: readonly Invariant[] = Object.freeze([
  noLoss,
  keyOrder,
  noOverlap,
  atLeastOnce,
  effectivelyOnce,
  noRepeat,
  commitWatermark,
  generation,
  // Later: the bytes and messages that wait, when the history tells of them.
  bounds,
  log,
  // Later: nothing before its `notBefore` and nothing after its expiry, when messages have them.
  time,
  atomicOutputs,
  sentOnce,
  blame,
  liveness,
  store,
  prepared,
  redriven,
])
