import { mulberry32 } from '../virtual-runtime.ts'
import { TestError } from '../test-error.ts'

/** An arbitrary of fast-check, as far as it is needed. */
export interface ArbitraryLike<T> {
  /** Makes a value. */
  generate(random: unknown, biasFactor: number | undefined): { readonly value: T }
}

/** What fast-check exports, as far as it is needed to draw from its arbitraries. */
export interface FastCheckLike {
  /** Draws values from an arbitrary. */
  sample<T>(arbitrary: ArbitraryLike<T>, options: { readonly seed: number; readonly numRuns: number }): T[]
}

/** Draws the inputs of a scenario; the same seed gives the same inputs. */
export class Pick {
  readonly #random: () => number
  readonly #fastCheck: FastCheckLike | undefined

  constructor(seed: number, fastCheck: FastCheckLike | undefined) {
    this.#random = mulberry32(seed)
    this.#fastCheck = fastCheck
  }

  /** A whole number from `min` to `max`, both included. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.#random() * (max - min + 1))
  }

  /** One of a list. */
  one<T>(list: readonly T[]): T {
    if (list.length === 0)
      throw new TestError('INVALID_OPTION', 'pick.one: list is empty; allowed is at least one element')
    return list[this.integer(0, list.length - 1)]!
  }

  /** True with the given chance. @param chance - from 0 to 1 */
  boolean(chance = 0.5): boolean {
    return this.#random() < chance
  }

  /** From `min` to `max` values, each made by `make`. */
  list<T>(min: number, max: number, make: (index: number) => T): T[] {
    return Array.from({ length: this.integer(min, max) }, (_, index) => make(index))
  }

  /** A value of an arbitrary of fast-check, which is passed to `explore` as `fastCheck`. */
  from<T>(arbitrary: ArbitraryLike<T>): T {
    if (this.#fastCheck === undefined) {
      throw new TestError(
        'INVALID_OPTION',
        'pick.from: fastCheck is missing; pass the module to explore({ fastCheck })',
      )
    }
    const seed = Math.floor(this.#random() * 2 ** 31)
    return this.#fastCheck.sample(arbitrary, { seed, numRuns: 1 })[0]!
  }
}
