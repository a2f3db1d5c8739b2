import { durationMs, showDuration, type Duration } from './duration.ts'
import type { HistoryEvent } from './history.ts'
import type { Inspection } from './inspect.ts'
import type { Simulation } from './simulation/simulation.ts'
import { TestError } from './test-error.ts'
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

/** The longest cycle of deliveries that is looked for when work does not end. */
const longestCycle = 32

/** Runs a simulation until no finite work is left, and says why it can't. */
export class Drainer {
  readonly #simulation: Simulation
  readonly #inspection: Inspection

  constructor(simulation: Simulation, inspection: Inspection) {
    this.#simulation = simulation
    this.#inspection = inspection
  }

  async drain(options: DrainOptions): Promise<void> {
    const { allowDead = 0, horizon = '30d', maxDeliveries = 10_000, until } = options
    const { runtime, history, outside } = this.#simulation
    const endAt = runtime.monotonic() + durationMs(horizon, 'horizon')
    const from = history.events.length
    const seen = { events: from, deliveries: 0 }
    for (;;) {
      await runtime.settle()
      if (this.#simulation.isCrashed) return
      if (until?.()) return
      seen.deliveries += countDeliveries(history.events, seen.events)
      seen.events = history.events.length
      if (seen.deliveries > maxDeliveries) throw this.#endless(`${maxDeliveries} deliveries`, from)
      const next = runtime.nextTimer()
      if (next === undefined) break
      if (next.dueAt > endAt) throw this.#endless(`${showDuration(endAt)} of virtual time`, from)
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
    history.add('drained', { idle: idle === 'waiting' ? 'parked' : idle, left: this.#left() })
    this.#checkDead(allowDead, from)
  }

  /** What is left to do, seen when nothing can run. */
  idle(): VerbResult['idle'] {
    const { runtime, outside } = this.#simulation
    if (this.#simulation.isCrashed) return 'parked'
    if (outside.isWaiting && runtime.nextTimer() === undefined) return 'external'
    if (runtime.nextTimer() !== undefined) return 'waiting'
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

  /** Nothing is stopped or paused, so everything should have been handed out: the invariants judge what is left. */
  #isIdle(): boolean {
    return this.#simulation.life.members.every(({ dispatcher, hasLeft }) => {
      if (hasLeft || dispatcher === undefined) return true
      return dispatcher.retries.stoppedCount === 0 && !dispatcher.pauses.holdsAny
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

  #endless(limit: string, from: number): TestError {
    const starts = this.#simulation.history.events.slice(from).filter((event) => event.kind === 'deliver')
    const cycle = cycleOf(starts)
    const what = cycle ?? 'no cycle was found: something makes work without end'
    return new TestError('ENDLESS', `drain: still work to do after ${limit}: ${what}`)
  }
}

function countDeliveries(events: readonly HistoryEvent[], from: number): number {
  let count = 0
  for (let i = from; i < events.length; i++) if (events[i]!.kind === 'deliver') count++
  return count
}

/** The shortest sequence of deliveries that the last ones repeat: `reminders[0] -> reminders[0] every 1d, 417 times`. */
export function cycleOf(deliveries: readonly HistoryEvent<'deliver'>[]): string | undefined {
  const names = deliveries.map(({ group, topic, partition }) => `${group} ${topic}[${partition}]`)
  for (let length = 1; length <= longestCycle && length * 3 <= names.length; length++) {
    let repeated = 0
    while (isRepeated(names, length, repeated + 1)) repeated++
    if (repeated < 2) continue
    const last = names.slice(-length)
    const times = repeated + 1
    const first = deliveries[deliveries.length - length * times]!
    const elapsed = deliveries.at(-length)!.at - first.at
    return `${[...last, last[0]].join(' -> ')} every ${showDuration(elapsed / repeated)}, ${times} times`
  }
  return undefined
}

/** Whether the `back`-th group of names before the last one is equal to it. */
function isRepeated(names: readonly string[], length: number, back: number): boolean {
  const start = names.length - length * (back + 1)
  if (start < 0) return false
  for (let i = 0; i < length; i++) if (names[start + i] !== names[names.length - length + i]) return false
  return true
}
