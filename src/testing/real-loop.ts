// Captured when the module loads, so that fake timers installed later by a test framework can't freeze a test.
const { setImmediate, setTimeout, clearTimeout, performance, Date } = globalThis
const { nextTick } = process
const settled = Promise.resolve()

/**
 * The kit's own door to the real event loop, clock and process; the engine under test never comes here.
 *
 * Calls `task`, which must not throw, as a promise job. (`queueMicrotask` makes a resource for each call and costs several times that.)
 */
export function asPromiseJob(task: () => void): void {
  void settled.then(task)
}

/** Calls `task` when every promise job that is queued, and those that they queue, have run. */
export function afterPromiseJobs(task: () => void): void {
  void settled.then(() => nextTick(task))
}

/** Calls `task` in the next turn of the event loop. */
export function nextTurn(task: () => void): void {
  setImmediate(task)
}

/** Calls `task` after real time; the function returned takes that back. */
export function afterReal(ms: number, task: () => void): () => void {
  const timer = setTimeout(task, ms)
  return () => clearTimeout(timer)
}

/** Real milliseconds since some moment. */
export function realMs(): number {
  return performance.now()
}

/** A date, an ISO text or milliseconds since 1970, as the last; NaN when it is none of them. */
export function instantOf(time: Date | string | number): number {
  return typeof time === 'number' ? time : new Date(time).getTime()
}

export function isoText(ms: number): string {
  return new Date(ms).toISOString()
}

export function environmentVariable(name: string): string | undefined {
  return process.env[name]
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Names of what keeps the process alive, one for each. */
export function liveResources(): string[] {
  return process.getActiveResourcesInfo()
}

/** Whether a test framework has replaced the timers of the platform. */
export function areTimersFaked(): boolean {
  const present: object = globalThis.setTimeout
  // Those of sinon (vitest and jest use them too) have a clock; older ones of jest are mock functions.
  return present !== setTimeout || 'clock' in present || '_isMockFunction' in present
}
