/** So many of the last changes are always remembered, and twice as many at most; who read before those runs again. */
const minChanges = 50_000

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
  #changes = new Map<string, number>()
  /** Those before: let go all at once when there are as many newer ones, so that who began lately meets no conflict by it. */
  #older = new Map<string, number>()
  /** Where {@link StateLog.#changes} begin. */
  #middle = 0
  /** Changes up to here are not known any more. */
  #floor = 0
  #open = 0
  readonly #minChanges: number

  constructor(least: number = minChanges) {
    this.#minChanges = least
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
      this.#middle = this.#sequence
      return
    }
    this.#changes.set(placeOf(space, key), this.#sequence)
    if (this.#changes.size >= this.#minChanges) this.#age()
  }

  /** Whether a key is as it was at a place in the sequence. */
  isSame(space: number, key: string, since: number): boolean {
    if (since < this.#floor) return false
    if (since === this.#sequence) return true
    const place = placeOf(space, key)
    return (this.#changes.get(place) ?? this.#older.get(place) ?? 0) <= since
  }

  /** Whether no key of a space that `matches` accepts has changed since a place in the sequence. */
  isSameIn(space: number, matches: (key: string) => boolean, since: number): boolean {
    if (since < this.#floor) return false
    const prefix = placeOf(space, '')
    for (const changes of [this.#changes, this.#older]) {
      for (const [place, at] of changes) {
        if (at > since && place.startsWith(prefix) && matches(place.slice(prefix.length))) return false
      }
    }
    return true
  }

  #age(): void {
    this.#older = this.#changes
    this.#changes = new Map()
    this.#floor = this.#middle
    this.#middle = this.#sequence
  }

  #forget(): void {
    if (this.#changes.size > 0) this.#changes.clear()
    if (this.#older.size > 0) this.#older.clear()
    this.#floor = this.#sequence
    this.#middle = this.#sequence
  }
}

/** A key of all stores: the number of the store, and the key. */
export function placeOf(space: number, key: string): string {
  return `${space} ${key}`
}
