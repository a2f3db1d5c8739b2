import type { Point } from '../simulation/point.ts'
import { mulberry32, type ReadyAction } from '../virtual-runtime.ts'
import type { Deviation, DeviationFault, DeviationKind } from './deviation.ts'
import type { Strategy } from './schedule.ts'

/** At most so many faults strike in one run: more hide each other. */
const mostFaults = 4
/** Decisions within which the change points lie. */
const changeSpan = 200

type FaultDeviation = Extract<Deviation, { kind: 'fault' }>

/**
 * Random priorities with few change points, and a random subset of the kinds of faults.
 *
 * @remarks Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs": every kind of action
 * gets a priority, the highest runs, and at few moments the running one falls to the lowest. The subset of faults differs
 * from run to run (swarm testing), since some faults prevent what others would show.
 */
export class RandomStrategy implements Strategy {
  readonly #random: () => number
  readonly #priorities = new Map<string, number>()
  readonly #changes = new Set<number>()
  readonly #kinds: ReadonlySet<DeviationKind>
  readonly #chance: number
  readonly #isPlainOrder: boolean
  #lowest = 0
  #faults = 0

  constructor(seed: number, kinds: ReadonlySet<DeviationKind>) {
    this.#random = mulberry32(seed)
    this.#kinds = new Set([...kinds].filter(() => this.#random() < 0.5))
    this.#isPlainOrder = !this.#kinds.has('schedule')
    const changes = Math.floor(this.#random() * 4)
    for (let i = 0; i < changes; i++) this.#changes.add(Math.floor(this.#random() * changeSpan))
    this.#chance = 0.002 + 0.05 * this.#random() ** 3
  }

  choose(ready: readonly ReadyAction[], plain: number, decision: number): number {
    if (this.#isPlainOrder) return plain
    let chosen = plain
    let highest = -Infinity
    for (let i = 0; i < ready.length; i++) {
      const priority = this.#priority(ready[i]!.label)
      if (priority <= highest) continue
      highest = priority
      chosen = i
    }
    if (this.#changes.has(decision)) this.#priorities.set(ready[chosen]!.label, --this.#lowest)
    return chosen
  }

  strike(point: Point, nth: number): FaultDeviation | undefined {
    if (this.#faults >= mostFaults || this.#random() >= this.#chance) return undefined
    const options = faultsAt(point, this.#kinds, this.#random)
    if (options.length === 0) return undefined
    const [fault, times] = options[Math.floor(this.#random() * options.length)]!
    this.#faults++
    return { kind: 'fault', at: point.label, nth, fault, times }
  }

  #priority(label: string): number {
    let priority = this.#priorities.get(label)
    if (priority === undefined) this.#priorities.set(label, (priority = this.#random()))
    return priority
  }
}

/** What may strike at a point, and how often; `random` gives the sizes. */
export function faultsAt(
  { name }: Point,
  kinds: ReadonlySet<DeviationKind>,
  random: () => number,
): [fault: DeviationFault, times: number][] {
  const found: [DeviationFault, number][] = []
  const add = (kind: DeviationKind, fault: DeviationFault, times = 1): void => {
    if (kinds.has(kind)) found.push([fault, times])
  }
  add('crash', { kind: 'crash', power: false })
  if (name.startsWith('commit:')) {
    add('power', { kind: 'crash', power: true })
    add('storeFull', { kind: 'full', ms: 1 + Math.floor(random() * 5_000) })
    add('wallClock', { kind: 'jump', byMs: Math.floor((random() - 0.5) * 7_200_000) })
  }
  if (name === 'handler:start') {
    add('handlerError', { kind: 'error' }, 1 + Math.floor(random() * 3))
    add('poison', { kind: 'error' }, 0)
    add('slow', { kind: 'slow', ms: 1 + Math.floor(random() * 60_000) })
    add('stuck', { kind: 'hang' })
  }
  if (name === 'handler:done') add('duplicate', { kind: 'duplicate' })
  if (name === 'deliver') {
    add('rebalance', { kind: 'join' })
    add('rebalance', { kind: 'leave' })
  }
  return found
}
