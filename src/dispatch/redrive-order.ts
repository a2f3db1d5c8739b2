/** What decides when a letter is sent back. */
export interface OrderedLetter {
  /** Stands for its key; undefined where it has none. */
  readonly lane: number | undefined
  /** Where its message was at first. */
  readonly origin: { readonly partition: number; readonly offset: number }
}

/**
 * Puts letters into the order in which they are sent back: that in which they were given up, but those of one key among
 * themselves by where they were at first. They differ where a message was sent back and given up again, behind later ones
 * of its key.
 */
export function inKeyOrder<T extends OrderedLetter>(letters: readonly T[]): T[] {
  const byLane = new Map<number, number[]>()
  letters.forEach(({ lane }, index) => {
    if (lane === undefined) return
    const places = byLane.get(lane)
    if (places === undefined) byLane.set(lane, [index])
    else places.push(index)
  })
  const ordered = [...letters]
  for (const places of byLane.values()) {
    if (places.length === 1) continue
    const sorted = places.map((index) => letters[index]!).sort(byOrigin)
    places.forEach((index, i) => (ordered[index] = sorted[i]!))
  }
  return ordered
}

function byOrigin({ origin: one }: OrderedLetter, { origin: other }: OrderedLetter): number {
  return one.partition - other.partition || one.offset - other.offset
}
