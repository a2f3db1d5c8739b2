import type { QueueOptions } from '../../client/queue-options.ts'
import type { Invariant } from '../invariants/invariant.ts'
import type { TestStore, Wire } from '../open-test.ts'
import type { TestQueue } from '../test-queue.ts'
import type { DeviationKind } from './deviation.ts'
import type { FastCheckLike, Pick } from './pick.ts'

/** Something that should hold; returning false or throwing says that it does not. */
export type Property<W> = (test: TestQueue<W>) => unknown

/** Options of {@link explore}. */
export interface ExploreOptions<W = unknown> {
  /** The application's own wiring; called again after each crash. */
  readonly wire: Wire<W>
  /**
   * What comes in. Sends go by `test.send`, which outlives crashes: each message of the scenario is in the log exactly once in
   * the end. Chance comes from `pick` only.
   */
  readonly scenario: (test: TestQueue<W>, pick: Pick) => unknown
  /** Called when the faults have ended and everything is drained: throws when the outcome is wrong. */
  readonly check?: (test: TestQueue<W>) => unknown
  /** Called before each run: puts what the wiring shares with the test (a ledger, a mock) back to its beginning. */
  readonly reset?: () => void
  /** What may happen. @defaultValue every {@link DeviationKind} */
  readonly faults?: readonly DeviationKind[]
  /**
   * Ends at whichever comes first: real milliseconds (finite, above 0) or schedules (a whole number from 1). Pairs of departures
   * use at most 70 % of it; what fails is made small after it.
   *
   * @defaultValue `{ ms: 3_000 }`
   * @throws `INVALID_OPTION` when a value is out of range
   */
  readonly budget?: { readonly ms?: number; readonly runs?: number }
  /** Seed of the inputs of the first scenario and of all chance. @defaultValue `1` */
  readonly seed?: number
  /** Checked at every event, by name. */
  readonly always?: Readonly<Record<string, Property<W>>>
  /** Checked when everything is drained, by name. */
  readonly eventually?: Readonly<Record<string, Property<W>>>
  /** Has to hold at some event of some run, by name: shows that the exploration got there. */
  readonly sometimes?: Readonly<Record<string, Property<W>>>
  /** Messages that may be given up after the faults have ended. @defaultValue `0` */
  readonly allowDead?: number
  /** Names the exploration inside its replay tokens. @defaultValue `'explore'` */
  readonly name?: string
  readonly start?: Date | string | number
  readonly store?: TestStore
  readonly queue?: QueueOptions
  readonly invariants?: readonly Invariant[]
  /** The module `fast-check`, for `pick.from(arbitrary)`. */
  readonly fastCheck?: FastCheckLike
  /** Gets the guarantee of a passing exploration. @defaultValue prints it */
  readonly report?: (text: string) => void
}

/** @internal */
export const exploreOptionNames: readonly (keyof ExploreOptions)[] = [
  'wire',
  'scenario',
  'check',
  'reset',
  'faults',
  'budget',
  'seed',
  'always',
  'eventually',
  'sometimes',
  'allowDead',
  'name',
  'start',
  'store',
  'queue',
  'invariants',
  'fastCheck',
  'report',
]

/** How far one level of an exploration went. */
export interface LevelReport {
  readonly done: number
  /** Whether nothing was left to do on this level. */
  readonly isComplete: boolean
}

/** What a passing exploration did. */
export interface ExploreReport {
  /** Schedules that were run. */
  readonly schedules: number
  /** Histories among them that differ. */
  readonly distinct: number
  /** Departures from the plain run up to which everything was tried. */
  readonly depth: 0 | 1 | 2
  readonly singles: LevelReport
  readonly pairs: LevelReport
  readonly random: number
  /** How often each kind of fault struck. */
  readonly landed: Readonly<Record<string, number>>
  readonly seed: number
  readonly elapsedMs: number
  /** In a sentence: what was tried and what that says. */
  readonly guarantee: string
}
