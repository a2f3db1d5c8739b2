import type { Deviation } from './deviation.ts'
import type { RunResult } from './run.ts'

/** A failing run, made as small as could be. */
export interface Shrunk {
  readonly result: RunResult
  readonly deviations: readonly Deviation[]
  readonly runs: number
}

/** Runs that shrinking may take. */
const mostRuns = 400

/**
 * Finds fewer deviations that fail in the same way: first by leaving out halves, quarters and so on, then one by one, again
 * and again until none can be left out; in each try what the run really took is what counts.
 */
export async function shrink(
  failing: RunResult,
  again: (deviations: readonly Deviation[]) => Promise<RunResult>,
): Promise<Shrunk> {
  let runs = 0
  let best: readonly Deviation[] = failing.schedule.taken
  let result = failing
  const attempt = async (deviations: readonly Deviation[]): Promise<boolean> => {
    if (runs >= mostRuns || deviations.length >= best.length) return false
    runs++
    const tried = await again(deviations)
    if (tried.failure === undefined || !isSame(tried, failing)) return false
    // Deviations that never had their moment fall away by themselves.
    best = tried.schedule.taken.length < deviations.length ? [...tried.schedule.taken] : deviations
    result = tried
    return true
  }
  await attempt([])
  for (let size = Math.ceil(best.length / 2); size >= 1 && best.length > 0;) {
    let hasShrunk = false
    for (let start = 0; start < best.length;) {
      if (await attempt([...best.slice(0, start), ...best.slice(start + size)])) hasShrunk = true
      else start += size
    }
    if (size === 1 && !hasShrunk) break
    size = size === 1 ? 1 : Math.ceil(size / 2)
  }
  return { result, deviations: best, runs }
}

function isSame(tried: RunResult, failing: RunResult): boolean {
  return tried.failure!.what === failing.failure!.what
}
