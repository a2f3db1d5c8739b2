import type { SequencedPlace, SequenceFinding } from '../contracts/producers.ts'

/** Places that are remembered, so that a repeated send can be told where the first one went. */
const maxPlaces = 1_000

/**
 * Which sequences of one producer were accepted. It takes O(1) of memory and for ever: what is not above the last one was
 * accepted, as far as it can't be known better.
 */
export class AcceptedSequences {
  /** The newest places, in the order of their sequences. */
  #places: SequencedPlace[] = []
  /** What is above it, and not among the places, was never accepted. */
  #floor = -1
  readonly #maxPlaces: number

  /** `last` is what the store knows. */
  constructor(last: SequencedPlace | undefined, limit: number = maxPlaces) {
    this.#maxPlaces = limit
    if (last === undefined) return
    this.#places.push(last)
    this.#floor = last.sequence
  }

  get last(): SequencedPlace | undefined {
    return this.#places.at(-1)
  }

  find(sequence: number): SequenceFinding {
    const { last } = this
    if (last === undefined || sequence > last.sequence) return { kind: 'new' }
    const place = this.#place(sequence)
    if (place === undefined && sequence > this.#floor) return { kind: 'late' }
    return { kind: 'duplicate', place }
  }

  /** Notes a sequence that is greater than the last one. */
  add(place: SequencedPlace): void {
    this.#places.push(place)
    if (this.#places.length <= this.#maxPlaces * 2) return
    const dropped = this.#places.length - this.#maxPlaces
    this.#floor = this.#places[dropped - 1]!.sequence
    this.#places = this.#places.slice(dropped)
  }

  #place(sequence: number): SequencedPlace | undefined {
    let low = 0
    let high = this.#places.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#places[middle]!.sequence < sequence) low = middle + 1
      else high = middle
    }
    const found = this.#places[low]
    return found?.sequence === sequence ? found : undefined
  }
}
