/** Ends the current event turn, so that I/O gets its chance. */
export const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/**
 * Sends `count` batches: `perTurn` in one event turn, with at most `turnsInFlight` turns not yet on disk. The same pump
 * drives the engine and the bare log.
 *
 * @param {{ count: number, perTurn?: number, turnsInFlight?: number }} plan
 * @param {(index: number) => PromiseLike<unknown>} send
 */
export async function pump({ count, perTurn = 10, turnsInFlight = 4 }, send) {
  const inFlight = []
  for (let next = 0; next < count;) {
    const turn = []
    for (const end = Math.min(count, next + perTurn); next < end; next++) turn.push(send(next))
    inFlight.push(Promise.all(turn))
    if (inFlight.length === turnsInFlight) await inFlight.shift()
    else await nextTurn()
  }
  await Promise.all(inFlight)
}
