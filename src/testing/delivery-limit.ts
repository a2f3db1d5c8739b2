import { cycleOf } from './cycle.ts'
import type { HistoryEvent } from './history.ts'
import type { Simulation } from './simulation/simulation.ts'
import { TestError } from './test-error.ts'

/** Messages that one verb may hand out, unless it says otherwise. */
export const mostDeliveries = 10_000

/** Ends work that makes new work without end, also where no time passes in between. */
export class DeliveryLimit {
  /** Whether it has been passed: the simulation is in the middle of something and can only be thrown away. */
  isBroken = false
  readonly #simulation: Simulation
  #what = 'the test'
  #most = mostDeliveries
  #count = 0
  #from = 0

  constructor(simulation: Simulation) {
    this.#simulation = simulation
    simulation.history.listen(({ kind }) => {
      if (kind === 'deliver' && ++this.#count > this.#most && !this.isBroken) this.#break()
    })
  }

  /** Counts anew for what is named `what`. */
  begin(what: string, most: number = mostDeliveries): void {
    this.#what = what
    this.#most = most
    this.#count = 0
    this.#from = this.#simulation.history.events.length
  }

  /** Says that work does not end, with the cycle that repeats. */
  endless(limit: string): TestError {
    const { events } = this.#simulation.history
    const deliveries: HistoryEvent<'deliver'>[] = []
    for (let i = this.#from; i < events.length; i++) {
      const event = events[i]!
      if (event.kind === 'deliver') deliveries.push(event)
    }
    const what = cycleOf(deliveries) ?? 'no cycle was found: something makes work without end'
    return new TestError('ENDLESS', `${this.#what}: still work to do after ${limit}: ${what}`)
  }

  #break(): void {
    this.isBroken = true
    this.#simulation.runtime.stop(this.endless(`${this.#most} deliveries`))
  }
}
