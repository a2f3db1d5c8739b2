/** A timer that has been set; cancelling one that fired or was cancelled does nothing. */
export interface Timer {
  cancel(): void
}

/**
 * The engine's only door to time, chance and "later".
 *
 * Production runs on {@link realRuntime}; tests run the same engine on a virtual one. A tidy test bans
 * `Date`, timers, `Math.random`, `performance`, `process`, `queueMicrotask` and `setImmediate` elsewhere.
 *
 * @internal
 */
export interface Runtime {
  /** Wall clock, in whole milliseconds since 1970. For timestamps only: it may jump either way. */
  now(): number
  /** Monotonic clock, in milliseconds with fractions. For deadlines, back-off and latency. */
  monotonic(): number
  /** Runs `task` after `delayMs` of monotonic time. A background timer is upkeep: it never holds a process or a test open. */
  timer(delayMs: number, label: string, task: () => void, options?: { background?: boolean }): Timer
  /** Runs `task` before control returns to the event loop (a microtask in production). */
  soon(label: string, task: () => void): void
  /** Runs `task` after I/O and timers that are due had their turn. */
  later(label: string, task: () => void): void
  /** A number in [0, 1) from the stream of that name; streams are independent of each other. */
  random(stream: string): number
  /** Tells the user's process something that no promise can carry. */
  warn(text: string): void
  /**
   * A named place where a simulation may crash, fail or delay; `undefined` in production, so call it as
   * `runtime.point?.(...)`.
   */
  readonly point?: (name: string, detail?: unknown) => void
}
