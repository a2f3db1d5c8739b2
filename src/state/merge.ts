import type { StorageEntry } from '../contracts/storage.ts'

/** A key whose stored value does not count any more. */
export interface KeyChange {
  readonly key: Uint8Array
  /** `undefined` when the key was removed. */
  readonly value: Uint8Array | undefined
}

/** What {@link mergePage} merges. */
export interface MergeRequest {
  /** Reads at most `limit` entries of [from, to) from below, in the direction asked for. */
  readonly read: (from: Uint8Array, to: Uint8Array, limit: number) => readonly StorageEntry[]
  /** What covers it, in the order of the keys. */
  readonly changes: readonly KeyChange[]
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly limit: number
  readonly reverse: boolean
}

/** One page of entries as they are under a layer of changes. */
export function mergePage({ read, changes, from, to, limit, reverse }: MergeRequest): StorageEntry[] {
  const covering = changes.slice(lowerBound(changes, from), lowerBound(changes, to))
  if (covering.length === 0) return [...read(from, to, limit)]
  if (reverse) covering.reverse()
  const page: StorageEntry[] = []
  const order = reverse ? -1 : 1
  let next = 0
  let start = from
  let end = to
  for (;;) {
    // Each removed key may hide one that was read.
    const below = read(start, end, limit)
    for (const entry of below) {
      while (next < covering.length && Buffer.compare(covering[next]!.key, entry.key) * order < 0) {
        add(page, covering[next++]!)
        if (page.length === limit) return page
      }
      const covered = next < covering.length && Buffer.compare(covering[next]!.key, entry.key) === 0
      if (covered) add(page, covering[next++]!)
      else page.push(entry)
      if (page.length === limit) return page
    }
    if (below.length < limit) break
    const last = below[below.length - 1]!.key
    if (reverse) end = last
    else start = Buffer.concat([last, Buffer.of(0)])
  }
  for (; next < covering.length && page.length < limit; next++) add(page, covering[next]!)
  return page
}

function add(page: StorageEntry[], { key, value }: KeyChange): void {
  if (value !== undefined) page.push({ key, value })
}

/** Where the first change stands that is not below `key`. */
function lowerBound(changes: readonly KeyChange[], key: Uint8Array): number {
  let low = 0
  let high = changes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (Buffer.compare(changes[middle]!.key, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
