import { durationMs, showDuration, type Duration } from './duration.ts'
import { mostDeliveries, type DeliveryLimit } from './delivery-limit.ts'
import type { Inspection } from './inspect.ts'
import type { Simulation } from './simulation/simulation.ts'
import { refuseUnknown, TestError } from './test-error.ts'
import type { VerbResult } from './verb-result.ts'

/** How far {@link TestQueue.drain} goes. */
export interface DrainOptions {
  /** Messages that may be given up meanwhile; more are an error. @defaultValue `0` */
  readonly allowDead?: number
  /** Virtual time that it may take. @defaultValue `'30d'` */
  readonly horizon?: Duration
  /** Messages that may be handed out. @defaultValue `10_000` */
  readonly maxDeliveries?: number
  /** Ends as soon as this is true, asked whenever nothing can run. */
  readonly until?: () => boolean
}

/** Runs a simulation until no finite work is left, and says why it can't. */
export class Drainer {
  readonly #simulation: Simulation
  readonly #inspection: Inspection
  readonly #limit: DeliveryLimit
  /** Events that the last drain has judged. */
  #drainedTo = 0

  constructor(simulation: Simulation, inspection: Inspection, limit: DeliveryLimit) {
    this.#simulation = simulation
    this.#inspection = inspection
    this.#limit = limit
  }

  async drain(options: DrainOptions): Promise<void> {
    const { allowDead, horizonMs, maxDeliveries, until } = checked(options)
    const { runtime, history, outside } = this.#simulation
    const endAt = runtime.monotonic() + horizonMs
    // What was given up since the last drain counts, whichever verb ran it.
    const from = this.#drainedTo
    this.#limit.begin('drain', maxDeliveries)
    for (;;) {
      await runtime.settle()
      if (this.#simulation.isCrashed || until?.()) return
      const next = runtime.nextTimer()
      if (next === undefined) break
      if (next.dueAt > endAt) throw this.#limit.endless(`${showDuration(horizonMs)} of virtual time`)
      await runtime.advance(next.dueAt - runtime.monotonic())
    }
    const idle = this.idle()
    if (idle === 'external') {
      const what = outside.waiting().join(', ')
      throw new TestError(
        'WOULD_HANG',
        `drain: no timer is left and these handlers have not ended: ${what}; a wait for something outside of the test is wrapped in context.external(label, call)`,
      )
    }
    this.#drainedTo = history.events.length
    history.add('drained', { idle: idle === 'waiting' ? 'parked' : idle, left: this.#left() })
    this.#checkDead(allowDead, from)
  }

  /** What was given up until now is not judged. */
  forgive(): void {
    this.#drainedTo = this.#simulation.history.events.length
  }

  /** What is left to do, seen when nothing can run. */
  idle(): VerbResult['idle'] {
    const { runtime, outside } = this.#simulation
    if (this.#simulation.isCrashed) return 'parked'
    if (outside.isWaiting && runtime.nextTimer() === undefined) return 'external'
    if (runtime.nextTimer() !== undefined) return 'waiting'
    // Held by a fault.
    if (this.#simulation.life.running.size > 0) return 'parked'
    return this.#left() === 0 || this.#isIdle() ? 'empty' : 'parked'
  }

  /** Messages that groups with members have not finished. */
  #left(): number {
    const { life } = this.#simulation
    let left = 0
    for (const { name, members } of life.broker.groups()) {
      if (members.length === 0) continue
      for (const { backlog } of life.broker.positions(name)) left += backlog.count
    }
    return left
  }

  /** Nothing is parked or paused, so everything should have been handed out: the invariants judge what is left. */
  #isIdle(): boolean {
    return this.#simulation.life.members.every(({ dispatcher, hasLeft }) => {
      if (hasLeft || dispatcher === undefined) return true
      return dispatcher.retries.parkedCount === 0 && !dispatcher.pauses.holdsAny
    })
  }

  #checkDead(allowed: number, from: number): void {
    const { dead, errors } = this.#inspection.counts(from)
    if (dead <= allowed) return
    const list = this.#inspection.dead().slice(-dead)
    const lines = list.map(({ group, topic, partition, offset, key, attempts, error }) => {
      const place = `${topic}[${partition}]@${offset}${key === undefined ? '' : ` (key ${key})`}`
      return `  ${group} gave up ${place} after ${attempts} attempts: ${String(error)}`
    })
    throw new TestError(
      'UNEXPECTED_FAILURES',
      `drain: ${dead} messages were given up, allowDead is ${allowed}\n${lines.join('\n')}`,
      { cause: new AggregateError(errors, 'what the handlers threw') },
    )
  }
}

function checked(options: DrainOptions): {
  allowDead: number
  horizonMs: number
  maxDeliveries: number
  until: (() => boolean) | undefined
} {
  refuseUnknown('drain', options, ['allowDead', 'horizon', 'maxDeliveries', 'until'])
  const { allowDead = 0, horizon = '30d', maxDeliveries = mostDeliveries, until } = options
  for (const [name, value] of Object.entries({ allowDead, maxDeliveries })) {
    if (Number.isInteger(value) && value >= 0) continue
    throw new TestError('INVALID_OPTION', `drain: ${name} is ${String(value)}; allowed is a whole number from 0`)
  }
  return { allowDead, horizonMs: durationMs(horizon, 'horizon'), maxDeliveries, until }
}
