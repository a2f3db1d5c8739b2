import type { RetentionSettings } from '../contracts/broker.ts'

/** Nothing is ever removed. */
export const keepEverything: RetentionSettings = Object.freeze({
  maxAgeMs: Infinity,
  maxBytes: Infinity,
  consumedBy: Object.freeze([]),
  hardMaxBytes: Infinity,
})

/** A stored batch as retention sees it. */
export interface RetainedBatch {
  readonly nextOffset: number
  readonly timestamp: number
  readonly bytes: number
}

/** What is known of a partition when retention decides. */
export interface RetentionView {
  readonly now: number
  /** Bytes of the whole partition. */
  readonly bytes: number
  /** The lowest position of the groups named in `consumedBy`; `Infinity` when none is named. */
  readonly consumed: number
}

/**
 * How far a partition may be trimmed: the end of the last batch, counted from the oldest, that may go. Whole batches only,
 * so a partition keeps up to one batch more than its limit says.
 *
 * @remarks Semantics: Kafka `UnifiedLog.deletableSegments` (oldest first, stops at the first that has to stay).
 */
export function trimPoint(
  settings: RetentionSettings,
  view: RetentionView,
  oldest: readonly RetainedBatch[],
): number | undefined {
  let point: number | undefined
  let bytes = view.bytes
  const unlimited = settings.maxAgeMs === Infinity && settings.maxBytes === Infinity
  for (const batch of oldest) {
    const expired =
      view.now - batch.timestamp > settings.maxAgeMs ||
      bytes > settings.maxBytes ||
      (unlimited && settings.consumedBy.length > 0)
    const allowed = expired && batch.nextOffset <= view.consumed
    const forced = bytes > settings.hardMaxBytes
    if (!allowed && !forced) break
    point = batch.nextOffset
    bytes -= batch.bytes
  }
  return point
}
