import type { DedupeSettings } from '../contracts/broker.ts'

/** Where the first message of an id went. */
export interface FirstPlace {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
}

interface KnownId extends FirstPlace {
  readonly id: string
  /** When it was sent, by the monotonic clock; never less than that of the one before. */
  readonly at: number
  /** Number of the stored row that it is in. */
  readonly row: number
}

/**
 * The ids of a topic that are known: the newest ones, up to a count and an age. Bounded by the count.
 *
 * Age is monotonic time, so that a jump of the wall clock neither forgets an id nor keeps it.
 */
export class DedupeWindow {
  /** What counts; with false nothing is known. */
  limits: DedupeSettings | false
  /** In the order in which they came, from `#first` on. */
  #known: KnownId[] = []
  #first = 0
  readonly #byId = new Map<string, KnownId>()

  constructor(limits: DedupeSettings | false) {
    this.limits = limits
  }

  get count(): number {
    return this.#known.length - this.#first
  }

  /** The row of the oldest id; undefined when there is none. */
  get oldestRow(): number | undefined {
    return this.#known[this.#first]?.row
  }

  find(id: string, now: number): FirstPlace | undefined {
    if (this.#byId.size === 0) return undefined
    this.expire(now)
    return this.#byId.get(id)
  }

  /** Notes an id that is not known. */
  add(id: string, { partition, offset, timestamp }: FirstPlace, row: number, at: number): void {
    const known = { id, partition, offset, timestamp, row, at: Math.max(at, this.#known.at(-1)?.at ?? at) }
    this.#known.push(known)
    this.#byId.set(id, known)
    this.expire(at)
  }

  /** Lets go of what is too old or too much. */
  expire(now: number): void {
    const { maxCount, maxAgeMs } = this.limits || { maxCount: 0, maxAgeMs: 0 }
    while (this.#first < this.#known.length) {
      const known = this.#known[this.#first]!
      if (this.count <= maxCount && now - known.at <= maxAgeMs) break
      // Sent again after it had been forgotten, it is the later one that counts.
      if (this.#byId.get(known.id) === known) this.#byId.delete(known.id)
      this.#first++
    }
    if (this.#first === this.#known.length) this.#known = []
    else if (this.#first > 1024 && this.#first * 2 > this.#known.length) this.#known = this.#known.slice(this.#first)
    else return
    this.#first = 0
  }
}
