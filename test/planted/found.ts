/** Where a planted bug is looked for, and in which run it was found when this was measured. */
export interface Found {
  /** Name of the flow. */
  readonly flow: string
  readonly runs: number
}

/** By the name of the bug. */
export const found: Readonly<Record<string, Found>> = {
  'commit-highest-finished': { flow: 'orders', runs: 1 },
  'gap-set-lost-on-restart': { flow: 'orders', runs: 119 },
  'attempts-lost-on-restart': { flow: 'orders', runs: 120 },
  'wait-lost-on-restart': { flow: 'orders', runs: 120 },
  'resumed-key-is-overtaken': { flow: 'orders', runs: 120 },
  'restored-page-off-by-one': { flow: 'bulk', runs: 10 },
  'forgets-after-gap': { flow: 'orders', runs: 120 },
  'settled-before-commit': { flow: 'batches', runs: 31 },
  'lost-wake-up-after-settlement': { flow: 'orders', runs: 11 },
  'finished-at-batch-boundary': { flow: 'narrow', runs: 1 },
  'key-twice-after-reassignment': { flow: 'orders', runs: 21 },
  'granted-before-released': { flow: 'paused', runs: 10 },
  'finished-lost-on-revoke': { flow: 'orders', runs: 66 },
  'failed-counts-as-done-on-revoke': { flow: 'orders', runs: 21 },
  'released-never-granted': { flow: 'orders', runs: 10 },
  'late-release-disowns': { flow: 'restless', runs: 1 },
  'fence-ignored': { flow: 'restless', runs: 1 },
  'drop-on-close': { flow: 'pulled', runs: 1 },
  'gathered-finished-on-close': { flow: 'batches', runs: 9 },
  'close-does-not-flush': { flow: 'bulk', runs: 46 },
  'next-starts-while-retry-waits': { flow: 'orders', runs: 1 },
  'arrival-overtakes-lane': { flow: 'narrow', runs: 1 },
  'one-retry-wakes-all': { flow: 'orders', runs: 1 },
  'second-retry-never-wakes': { flow: 'narrow', runs: 1 },
  'one-attempt-too-many': { flow: 'paused', runs: 14 },
  'retry-blocks-intake': { flow: 'parallel', runs: 1 },
  'slot-lost-after-error': { flow: 'narrow', runs: 1 },
  'skipped-at-batch-boundary': { flow: 'narrow', runs: 22 },
  'batch-failure-keeps-later': { flow: 'batches', runs: 1 },
  'partitions-share-a-lane': { flow: 'parallel', runs: 1 },
  'topics-share-a-lane': { flow: 'parallel', runs: 8 },
  'keyless-share-a-lane': { flow: 'parallel', runs: 1 },
  'one-handler-too-many': { flow: 'narrow', runs: 1 },
  'paused-key-loses-a-message': { flow: 'paused', runs: 1 },
  'seek-with-stale-lanes': { flow: 'moved', runs: 1 },
  'seek-without-release': { flow: 'moved', runs: 1 },
  'seek-leaves-finished-rows': { flow: 'moved', runs: 158 },
  'acked-before-commit': { flow: 'orders', runs: 40 },
  'shown-before-flushed': { flow: 'orders', runs: 40 },
  'send-batch-in-two-commits': { flow: 'bulk', runs: 31 },
  'send-overtakes': { flow: 'bulk', runs: 1 },
  'trim-takes-too-much': { flow: 'trimmed', runs: 67 },
  'trim-finishes-one-more': { flow: 'trimmed', runs: 1 },
}
