// Captured when the module loads, so that fake timers installed later by a test framework can't freeze a test.
/** The real functions of the platform; only the kit's own loop uses them, never the engine under test. @internal */
export const { setImmediate, setTimeout, clearTimeout, queueMicrotask } = globalThis
export const nextTick: (task: () => void) => void = process.nextTick.bind(process)
