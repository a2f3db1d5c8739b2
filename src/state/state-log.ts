/** Changes that are remembered at most; those who read before the ones that were let go run again. */
const maxChanges = 100_000

/**
 * Which keys changed, in what order: so that a transaction can tell whether what it read still holds.
 *
 * Nothing is kept while nobody reads. Invariant: every change after {@link StateLog.floor} is known, as long as anybody
 * is open who may ask for it.
 */
export class StateLog {
  /** Counts the changes. */
  #sequence = 0
  /** The last change of each key, by its place in the sequence; by {@link placeOf}. */
  readonly #changes = new Map<string, number>()
  /** Changes up to here are not known any more. */
  #floor = 0
  #open = 0
  readonly #maxChanges: number

  constructor(limit: number = maxChanges) {
    this.#maxChanges = limit
  }

  /** The place in the sequence of what is read now. */
  get now(): number {
    return this.#sequence
  }

  /** Someone begins to read; balanced by {@link StateLog.close}. */
  open(): void {
    this.#open++
  }

  close(): void {
    if (--this.#open === 0) this.#forget()
  }

  changed(space: number, key: string): void {
    this.#sequence++
    if (this.#open === 0) {
      this.#floor = this.#sequence
      return
    }
    this.#changes.set(placeOf(space, key), this.#sequence)
    if (this.#changes.size > this.#maxChanges) this.#forget()
  }

  /** Whether a key is as it was at a place in the sequence. */
  isSame(space: number, key: string, since: number): boolean {
    if (since < this.#floor) return false
    return since === this.#sequence || (this.#changes.get(placeOf(space, key)) ?? 0) <= since
  }

  /** Whether no key of a space that `matches` accepts has changed since a place in the sequence. */
  isSameIn(space: number, matches: (key: string) => boolean, since: number): boolean {
    if (since < this.#floor) return false
    const prefix = placeOf(space, '')
    for (const [place, at] of this.#changes) {
      if (at > since && place.startsWith(prefix) && matches(place.slice(prefix.length))) return false
    }
    return true
  }

  #forget(): void {
    if (this.#changes.size > 0) this.#changes.clear()
    this.#floor = this.#sequence
  }
}

/** A key of all stores: the number of the store, and the key. */
export function placeOf(space: number, key: string): string {
  return `${space} ${key}`
}
