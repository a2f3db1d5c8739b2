import type { BatchSettings } from './batch-gatherer.ts'
import type { LaneLimits } from './key-lanes.ts'
import type { RetryPolicy } from './retry-policy.ts'
import type { TimeLimitSettings } from './time-limit.ts'

/** When a message is finished: after its handler, or before it. */
export type AckMode = 'after' | 'before'

/** How a subscription hands out its messages; every field is set. */
export interface DispatcherSettings extends LaneLimits {
  readonly group: string
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly ackMode: AckMode
  readonly retry: RetryPolicy
  /** Undefined where handlers may take as long as they like. */
  readonly timeLimit: TimeLimitSettings | undefined
  readonly batch: BatchSettings | undefined
  readonly onGap: 'error' | 'skip'
}

/** The one lane of a partition with `ordering: 'partition'`. */
export const wholePartition = ''

/** The key of the lane that messages of a key are in; undefined where nothing has to wait for another. */
export function laneKeyOf(ordering: DispatcherSettings['ordering'], key: string | undefined): string | undefined {
  if (ordering === 'key') return key
  return ordering === 'partition' ? wholePartition : undefined
}
