import type { Deviation } from './deviation.ts'
import type { RunResult } from './run.ts'
import type { Schedule, Strategy } from './schedule.ts'
import type { ReadyAction } from '../virtual-runtime.ts'

/** A failing run, made as small as could be. */
export interface Shrunk {
  readonly result: RunResult
  readonly deviations: readonly Deviation[]
  readonly runs: number
  /** Whether it might have become smaller, had there been more time or runs. */
  readonly isCut: boolean
}

/** Runs that shrinking may take. */
const mostRuns = 400

/**
 * Finds fewer deviations that fail in the same way: first by leaving out halves, quarters and so on, then one by one, again
 * and again until none can be left out; in each try what the run really took is what counts. Names count how often
 * something came up, so leaving one choice out may rename the later ones: what is left is then tried by positions, where the
 * later choices stay at their decisions, and named anew.
 *
 * @param isOver - asked before each run; once it is true the smallest failure so far is the result
 */
export async function shrink(
  failing: RunResult,
  again: (deviations: readonly Deviation[], strategy?: Strategy) => Promise<RunResult>,
  isOver: () => boolean = () => false,
): Promise<Shrunk> {
  let runs = 0
  let isCut = false
  const isSpent = (): boolean => (isCut ||= runs >= mostRuns || isOver())
  let best: readonly Deviation[] = failing.schedule.taken
  let result = failing
  const attempt = async (deviations: readonly Deviation[]): Promise<boolean> => {
    if (deviations.length >= best.length || isSpent()) return false
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
  for (let place = 0; place < result.schedule.choices.length && !isSpent();) {
    const choices = result.schedule.choices.filter((_, i) => i !== place)
    runs++
    const tried = await again(faultsOf(best), new ByPosition(choices))
    const { taken } = tried.schedule
    // What is told in the end are names: they have to fail as well.
    const isFewer = tried.failure !== undefined && isSame(tried, failing) && taken.length < best.length
    if (!isFewer || !(await attempt([...taken]))) place++
  }
  return { result, deviations: best, runs, isCut }
}

/** Makes the same choices at the same decisions as another run. */
class ByPosition implements Strategy {
  readonly #choices: ReadonlyMap<number, string>

  constructor(choices: Schedule['choices']) {
    this.#choices = new Map(choices.map(({ decision, instead }) => [decision, instead]))
  }

  choose(ready: readonly ReadyAction[], plain: number, decision: number): number {
    const instead = this.#choices.get(decision)
    const index = instead === undefined ? -1 : ready.findIndex(({ label }) => label === instead)
    return index < 0 ? plain : index
  }

  strike(): undefined {}
}

function faultsOf(deviations: readonly Deviation[]): Deviation[] {
  return deviations.filter(({ kind }) => kind === 'fault')
}

function isSame(tried: RunResult, failing: RunResult): boolean {
  return tried.failure!.what === failing.failure!.what
}
