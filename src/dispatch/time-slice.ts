import type { Runtime } from '../runtime/runtime.ts'

/** How long one run of the loop may hold the event loop, in milliseconds. */
const sliceMs = 2
/** Messages between two looks at the clock. */
const stepsPerLook = 64

/** Says when a run of the loop has taken long enough. Most runs are short: the clock is asked only in long ones. */
export class TimeSlice {
  readonly #runtime: Runtime
  #steps = 0
  #startedAt: number | undefined

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  begin(): void {
    this.#steps = 0
    this.#startedAt = undefined
  }

  /** Counts a step; true when others should have their turn: I/O, timers, and the commits that the loop needs itself. */
  isOver(): boolean {
    if (++this.#steps % stepsPerLook !== 0) return false
    const now = this.#runtime.monotonic()
    this.#startedAt ??= now
    return now - this.#startedAt > sliceMs
  }
}
