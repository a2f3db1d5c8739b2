import type { StoredBatch } from './record-batch.ts'

/** Consecutive batches of one partition, oldest first: batches come at the end and go at the start. */
export class BatchWindow {
  #batches: (StoredBatch | undefined)[] = []
  /** Place of the oldest one; what is before it has gone. */
  #first = 0

  get size(): number {
    return this.#batches.length - this.#first
  }

  get oldest(): StoredBatch | undefined {
    return this.#batches[this.#first]
  }

  push(batch: StoredBatch): void {
    this.#batches.push(batch)
  }

  shift(): StoredBatch | undefined {
    const batch = this.#batches[this.#first]
    if (batch === undefined) return undefined
    // Whoever let it go must not keep its memory.
    this.#batches[this.#first++] = undefined
    if (this.#first > 64 && this.#first * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#first)
      this.#first = 0
    }
    return batch
  }

  /** The batch that holds `offset`. */
  find(offset: number): StoredBatch | undefined {
    const batch = this.#batches[this.#placeOf(offset)]
    return batch !== undefined && offset >= batch.baseOffset && offset < batch.nextOffset ? batch : undefined
  }

  /** The end of the run of buffered batches that begins at `offset`; `offset` itself when there is none. */
  bufferedEnd(offset: number): number {
    let end = offset
    for (let place = this.#placeOf(offset); place < this.#batches.length; place++) {
      const batch = this.#batches[place]!
      if (batch.nextOffset <= end) continue
      if (batch.baseOffset !== end || !batch.buffered) break
      end = batch.nextOffset
    }
    return end
  }

  /** Binary search: the last batch that begins at or before `offset`, else the oldest. */
  #placeOf(offset: number): number {
    let low = this.#first
    let high = this.#batches.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#batches[middle]!.baseOffset <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}
