const MEGABYTE = 1_000_000

/** Heap that is really in use, in MB. Needs --expose-gc, which run.js gives to every bench. */
export function heapAfterGc() {
  globalThis.gc?.()
  return heap()
}

/** @returns {number} MB, garbage included */
export const heap = () => process.memoryUsage().heapUsed / MEGABYTE

/** The highest heap seen since the start, garbage included. Call `look` where timers would starve. */
export function watchHeap(intervalMs = 20) {
  let peak = heap()
  const look = () => void (peak = Math.max(peak, heap()))
  const timer = setInterval(look, intervalMs)
  return {
    look,
    stop() {
      clearInterval(timer)
      look()
      return peak
    },
  }
}
