/** Buckets per doubling: a value is known to within about 9 %. */
const bucketsPerDoubling = 8
const smallest = 0.001
const bucketCount = bucketsPerDoubling * 40

/** How long something took, in milliseconds; percentiles are known to within about 9 %. */
export interface LatencySummary {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

/** Counts durations in buckets that grow geometrically, from 1 microsecond to days: one addition a value, constant memory. */
export class Histogram {
  readonly #buckets = new Uint32Array(bucketCount)
  #count = 0
  #sum = 0
  #max = 0

  record(ms: number): void {
    const place = ms <= smallest ? 0 : Math.ceil(Math.log2(ms / smallest) * bucketsPerDoubling)
    this.#buckets[place < bucketCount ? place : bucketCount - 1]!++
    this.#count++
    this.#sum += ms
    if (ms > this.#max) this.#max = ms
  }

  summary(): LatencySummary {
    const count = this.#count
    return {
      count,
      mean: count === 0 ? 0 : this.#sum / count,
      p50: this.#percentile(0.5),
      p90: this.#percentile(0.9),
      p99: this.#percentile(0.99),
      max: this.#max,
    }
  }

  #percentile(share: number): number {
    let left = Math.ceil(this.#count * share)
    if (left === 0) return 0
    for (let place = 0; place < bucketCount; place++) {
      left -= this.#buckets[place]!
      if (left <= 0) return Math.min(this.#max, smallest * 2 ** (place / bucketsPerDoubling))
    }
    return this.#max
  }
}
