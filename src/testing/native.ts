// Captured when the module loads, so that fake timers installed later by a test framework can't freeze a test.
/** The real functions of the platform; only the kit's own loop uses them, never the engine under test. @internal */
export const setImmediate: typeof globalThis.setImmediate = globalThis.setImmediate
export const setTimeout: typeof globalThis.setTimeout = globalThis.setTimeout
export const clearTimeout: typeof globalThis.clearTimeout = globalThis.clearTimeout
export const queueMicrotask: typeof globalThis.queueMicrotask = globalThis.queueMicrotask
export const nextTick: (task: () => void) => void = process.nextTick.bind(process)

/** Whether a test framework has replaced the timers of the platform. */
export function nativeTimersAreReplaced(): boolean {
  const present = globalThis.setTimeout as typeof globalThis.setTimeout & { clock?: unknown; _isMockFunction?: boolean }
  return present !== setTimeout || 'clock' in present || present._isMockFunction === true
}

/** Real milliseconds, for budgets only. */
export const now: () => number = globalThis.performance.now.bind(globalThis.performance)

/** Calls `task` when every promise job that is queued, and those that they queue, have run. */
export function afterPromiseJobs(task: () => void): void {
  queueMicrotask(() => nextTick(task))
}
