import { realMs } from '../real-loop.ts'
import { TestError } from '../test-error.ts'

/** Tasks that one run may take: about half a minute of them, and months of virtual time in which only retention looks around. */
const mostTasks = 3_000_000
/** Real time that one run may take, in milliseconds. */
const mostRealMs = 60_000

/**
 * Ends a run that would go on for ever. `drain` and the limit of deliveries see only work that hands out messages; a handler
 * that sleeps in a loop, a scenario that calls verbs in a loop, or a client that finds no room ever does not.
 */
export class RunLimit {
  readonly #endsAt = realMs() + mostRealMs
  #tasks = 0

  /** Counts a task that is about to begin; the error when it is one too many. */
  count(): TestError | undefined {
    if (++this.#tasks > mostTasks) return endless(`${mostTasks} tasks`)
    if (realMs() > this.#endsAt) return endless(`${mostRealMs} ms of real time`)
    return undefined
  }
}

function endless(limit: string): TestError {
  return new TestError('ENDLESS', `the run has not ended after ${limit}: something in it goes on without end`)
}
