import type { OffsetPairs } from '../history.ts'

/**
 * Finished offsets of a partition: everything below the position, and some above it. Made anew on purpose: what is checked
 * must not vouch for itself.
 */
export class FinishedOffsets {
  #position: number
  readonly #above = new Set<number>()

  constructor(position = 0) {
    this.#position = position
  }

  /** The lowest unfinished offset. */
  get position(): number {
    return this.#position
  }

  get above(): ReadonlySet<number> {
    return this.#above
  }

  has(offset: number): boolean {
    return offset < this.#position || this.#above.has(offset)
  }

  add(offset: number): void {
    if (offset > this.#position) this.#above.add(offset)
    else if (offset === this.#position) this.#moveTo(offset + 1)
  }

  /** Adds [from, to). */
  addRange(from: number, to: number): void {
    if (from > this.#position) for (let offset = from; offset < to; offset++) this.#above.add(offset)
    else if (to > this.#position) this.#moveTo(to)
  }

  addPairs(pairs: OffsetPairs): void {
    for (let i = 0; i < pairs.length; i += 2) this.addRange(pairs[i]!, pairs[i + 1]!)
  }

  /** Adds everything below `position`, and `above`. */
  addProgress(position: number, above: Iterable<number>): void {
    this.addRange(0, position)
    for (const offset of above) this.add(offset)
  }

  /** Takes one offset out again, wherever it is. */
  remove(offset: number): void {
    this.#above.delete(offset)
    if (offset >= this.#position) return
    for (let above = offset + 1; above < this.#position; above++) this.#above.add(above)
    this.#position = offset
  }

  /** Begins anew. */
  reset(position: number, above: Iterable<number> = []): void {
    this.#position = position
    this.#above.clear()
    for (const offset of above) this.add(offset)
  }

  /** Forgets what lies at or above `end`: those offsets will be given to other messages. */
  truncate(end: number): void {
    if (this.#position > end) this.#position = end
    for (const offset of this.#above) if (offset >= end) this.#above.delete(offset)
  }

  /** The lowest offset that is here and not in `other`. */
  firstMissingIn(other: FinishedOffsets): number | undefined {
    for (let offset = other.position; offset < this.#position; offset++) if (!other.has(offset)) return offset
    let first: number | undefined
    for (const offset of this.#above) if (!other.has(offset) && (first === undefined || offset < first)) first = offset
    return first
  }

  #moveTo(position: number): void {
    if (this.#above.size > 0) {
      if (position > this.#position + 1)
        for (const offset of this.#above) if (offset < position) this.#above.delete(offset)
      while (this.#above.delete(position)) position++
    }
    this.#position = position
  }
}
