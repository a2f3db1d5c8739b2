import type { Runtime, Timer } from './runtime.ts'

// Captured when the module loads, so that fake timers installed later by a test framework can't freeze the engine.
const { now } = Date
const { setTimeout, clearTimeout, setImmediate, queueMicrotask, performance } = globalThis
const { random } = Math

/** `setTimeout` holds at most 31 bits of milliseconds; longer waits are cut into pieces of this size. */
const longestTimeoutMs = 2 ** 31 - 1

/** A timer of any length; native timers overflow after 24.8 days and would fire at once. */
class NativeTimer implements Timer {
  #handle: NodeJS.Timeout
  constructor(delayMs: number, task: () => void, background: boolean) {
    const dueAt = performance.now() + delayMs
    const arm = (): NodeJS.Timeout => {
      const remainingMs = Math.max(0, dueAt - performance.now())
      // Native timers round down and may fire up to 1 ms early; a delay is never early, so the wait is rounded up.
      const waitMs = Math.min(Math.ceil(remainingMs), longestTimeoutMs)
      const handle = setTimeout(() => {
        if (performance.now() >= dueAt) task()
        else this.#handle = arm()
      }, waitMs)
      if (background) handle.unref()
      return handle
    }
    this.#handle = arm()
  }
  cancel(): void {
    clearTimeout(this.#handle)
  }
}

/** Real time, real chance, the real event loop. @internal */
export const realRuntime: Runtime = Object.freeze({
  now,
  monotonic: () => performance.now(),
  timer: (delayMs: number, _label: string, task: () => void, options?: { background?: boolean }): Timer =>
    new NativeTimer(delayMs, task, options?.background ?? false),
  soon: (_label: string, task: () => void): void => queueMicrotask(task),
  later: (_label: string, task: () => void): void => {
    setImmediate(task)
  },
  random: () => random(),
  warn: (text: string): void => process.emitWarning(text, 'LanemqWarning'),
})
