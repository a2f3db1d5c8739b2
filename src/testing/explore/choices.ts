import { TestError } from '../test-error.ts'
import { storeOf } from '../open-test.ts'
import type { Point } from '../simulation/point.ts'
import type { ReadyAction } from '../virtual-runtime.ts'
import { deviationKinds, type Deviation, type DeviationKind } from './deviation.ts'
import type { ExploreOptions } from './exploration.ts'
import { faultsAt } from './random-strategy.ts'
import { failureText } from './report.ts'
import { runSchedule } from './run.ts'
import type { Strategy } from './schedule.ts'

/** The constructors of fast-check that {@link fcSchedule} needs. */
export interface ArbitraryMaker<A> {
  /** Always `value`. */
  constant(value: number): A
  /** A whole number. */
  integer(range: { readonly min: number; readonly max: number }): A
  /** One of several, by weight. */
  oneof(...choices: readonly { readonly weight: number; readonly arbitrary: A }[]): A
  /** A list. */
  array(arbitrary: A, options: { readonly size: 'max'; readonly maxLength: number }): unknown
}

/** Most of what a schedule leaves open is decided plainly: one choice in so many is not. */
const plainWeight = 30
const mostChoices = 600
const greatestChoice = 8

/**
 * An arbitrary of fast-check for schedules: `fc.assert(fc.asyncProperty(fcSchedule(fc), (choices) => runChoices(options, choices)))`.
 *
 * A schedule is a list of small numbers, one for each decision and each point, 0 for the plain one; so fast-check shrinks it
 * and repeats it by its own `seed` and `path`.
 */
export function fcSchedule<A>(fc: ArbitraryMaker<A>): ReturnType<ArbitraryMaker<A>['array']> {
  const choice = fc.oneof(
    { weight: plainWeight, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: greatestChoice }) },
  )
  return fc.array(choice, { size: 'max', maxLength: mostChoices })
}

/** Runs one schedule that fast-check made. @throws `EXPLORATION_FAILED` with the story and the token of {@link explore} */
export async function runChoices<W>(options: ExploreOptions<W>, choices: readonly number[]): Promise<void> {
  const kinds = new Set(options.faults ?? deviationKinds)
  const strategy = new ChoiceStrategy(choices, kinds)
  const plan = { seed: options.seed ?? 1, isGated: true, deviations: [], strategy }
  const result = await runSchedule(options, plan, storeOf(options))
  if (result.failure === undefined) return
  const finding = { name: options.name ?? 'explore', foundIn: 0, before: 0, runs: 0, ms: 0, isCut: false }
  throw new TestError('EXPLORATION_FAILED', failureText(result, finding), { cause: result.failure.cause })
}

/** Takes one number for each decision and each point; after the last one everything is plain. */
class ChoiceStrategy implements Strategy {
  readonly #choices: readonly number[]
  readonly #kinds: ReadonlySet<DeviationKind>
  #next = 0

  constructor(choices: readonly number[], kinds: ReadonlySet<DeviationKind>) {
    this.#choices = choices
    this.#kinds = kinds
  }

  choose(ready: readonly ReadyAction[], plain: number): number {
    const choice = this.#choices[this.#next++] ?? 0
    return choice === 0 || !this.#kinds.has('schedule') ? plain : (plain + choice) % ready.length
  }

  strike(point: Point, nth: number): Extract<Deviation, { kind: 'fault' }> | undefined {
    const choice = this.#choices[this.#next++] ?? 0
    if (choice === 0) return undefined
    const options = faultsAt(point, this.#kinds, () => choice / (greatestChoice + 1))
    if (options.length === 0) return undefined
    const [fault, times] = options[(choice - 1) % options.length]!
    return { kind: 'fault', at: point.label, nth, fault, times }
  }
}
