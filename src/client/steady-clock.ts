import type { Runtime } from '../runtime/runtime.ts'

/**
 * The time as the wall clock had it when this was made, and as it would have gone on: for due times that are stored, and
 * that a jump of the wall clock may not move.
 */
export class SteadyClock {
  readonly #runtime: Runtime
  /** Of the monotonic clock. */
  #offset: number

  constructor(runtime: Runtime) {
    this.#runtime = runtime
    this.#offset = runtime.now() - runtime.monotonic()
  }

  /** In whole milliseconds since 1970. */
  now(): number {
    return Math.floor(this.#runtime.monotonic() + this.#offset)
  }

  /**
   * Nothing that is stored may be further away than that. If it is, the wall clock went back while nobody was there: then
   * this clock goes on from where it had been.
   */
  limit(dueAt: number, longestMs: number): void {
    const excess = dueAt - this.now() - longestMs
    if (excess > 0) this.#offset += excess
  }
}
