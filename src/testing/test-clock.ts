import { clockOf, type Clock } from './clock.ts'
import { nextTurn } from './real-loop.ts'
import type { Simulation } from './simulation/simulation.ts'
import { durationMs, showDuration } from './duration.ts'
import { TestError } from './test-error.ts'

/** Turns of the real event loop in which the body of a test may call a verb after it began to sleep. */
const patienceTurns = 5

/** The clock for the body of a test: a sleep that no verb is going to end says so instead of hanging. */
export function testClock(simulation: Simulation): Clock {
  // The body of a test is outside of the process: its time goes on over crashes.
  const clock = clockOf(simulation)
  return {
    now: clock.now,
    every: clock.every,
    sleep: (duration, options) => {
      const ms = durationMs(duration, 'duration')
      return new Promise((resolve, reject) => {
        let isOver = false
        clock
          .sleep(ms, options)
          .finally(() => (isOver = true))
          .then(resolve, reject)
        void watch(simulation, () => isOver).then((isStuck) => {
          if (!isStuck) return
          reject(
            new TestError(
              'WOULD_HANG',
              `clock.sleep(${showDuration(ms)}) in the body of the test waits for time that nobody moves: call advance, next or drain, and await the sleep after it`,
            ),
          )
        })
      })
    },
  }
}

/** True when the body of the test does nothing for a while that could move time. */
async function watch(simulation: Simulation, isOver: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < patienceTurns; turn++) {
    await new Promise<void>(nextTurn)
    if (isOver() || simulation.runtime.isDriven) return false
  }
  return simulation.outside.pending === 0
}
