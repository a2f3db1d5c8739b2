/** @param {readonly number[]} samples */
export function median(samples) {
  return percentile(samples, 0.5)
}

/** The value below which `share` of the samples lie. @param {ArrayLike<number>} samples @param {number} share */
export function percentile(samples, share) {
  const sorted = Float64Array.from(samples).toSorted()
  if (sorted.length === 0) return NaN
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)]
  const above = sorted[Math.ceil(place)]
  return below + (above - below) * (place - Math.floor(place))
}

/** @param {ArrayLike<number>} samples */
export function mean(samples) {
  let sum = 0
  for (let i = 0; i < samples.length; i++) sum += samples[i]
  return sum / samples.length
}

/** Median of what each round says: rounds are interleaved, so both sides of one round saw the same machine. */
export function medianRatio(above, below) {
  return median(above.map((value, round) => value / below[round]))
}

/** A seeded generator (mulberry32), so that every run does the same work. Returns numbers in [0, 1). @param {number} seed */
export function seededRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
