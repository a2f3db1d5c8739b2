import type { GroupPosition } from '../contracts/broker.ts'

/** How far behind a consumer is. */
export interface Lag {
  /** Messages that are not finished, exactly. */
  readonly count: number
  /** Stored bytes from the lowest unfinished message of each partition to its end. */
  readonly bytes: number
  /** How long ago the oldest unfinished message was appended, in milliseconds; 0 when there is none. */
  readonly oldestAgeMs: number
}

/** The sum over partitions. */
export function lagOf(positions: readonly GroupPosition[], now: number): Lag {
  let count = 0
  let bytes = 0
  let oldestAgeMs = 0
  for (const { backlog } of positions) {
    count += backlog.count
    bytes += backlog.bytes
    if (backlog.oldestTimestamp !== undefined) oldestAgeMs = Math.max(oldestAgeMs, now - backlog.oldestTimestamp)
  }
  return { count, bytes, oldestAgeMs }
}
