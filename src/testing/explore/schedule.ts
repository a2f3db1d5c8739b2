import type { Fault, FaultSource, Point } from '../simulation/point.ts'
import type { ReadyAction } from '../virtual-runtime.ts'
import { faultOf, type Deviation } from './deviation.ts'

/** A moment at which more than one action could run. */
export interface Decision {
  /** What the plain policy runs, and for the how manieth time. */
  readonly at: string
  readonly nth: number
  /** What else could run, in the order of age. */
  readonly others: readonly string[]
  /** How many points had been passed. */
  readonly passed: number
}

/** A point that was passed. */
export interface PassedPoint {
  readonly point: Point
  readonly nth: number
  /** How many decisions had been made. */
  readonly decided: number
}

/** Decides on its own what the list of deviations leaves open. */
export interface Strategy {
  /** Index of the action to run; `plain` is what the plain policy takes. */
  choose(ready: readonly ReadyAction[], plain: number, decision: number): number
  /** A fault for this point, if any. */
  strike(point: Point, nth: number): Extract<Deviation, { kind: 'fault' }> | undefined
}

type FaultDeviation = Extract<Deviation, { kind: 'fault' }>

interface Armed {
  readonly deviation: FaultDeviation
  left: number
}

/** Follows the plain policy but for a list of deviations, and writes down what was decided. */
export class Schedule implements FaultSource {
  /** Everything that departed from the plain run, in order; running these again gives the same run. */
  readonly taken: Deviation[] = []
  /** Numbers of the decisions at which another action than the plain one was run, with its name. */
  readonly choices: { readonly decision: number; readonly instead: string }[] = []
  /** Deviations whose moment came, but what they name was not there. */
  readonly diverged: string[] = []
  readonly decisions: Decision[] = []
  readonly points: PassedPoint[] = []
  readonly #named: ReadonlyMap<string, Deviation>
  readonly #faults = new Map<string, Armed[]>()
  readonly #strategy: Strategy | undefined
  readonly #isRecording: boolean
  readonly #choiceCounts = new Map<string, number>()
  readonly #pointCounts = new Map<string, number>()
  readonly #held = new WeakSet<ReadyAction>()
  readonly #used = new Set<Deviation>()
  readonly #deviations: readonly Deviation[]
  /** Whether every name may come to matter; otherwise only those count that a deviation has. */
  readonly #isFree: boolean
  /** Names of the points that faults wait for: others need not be told apart by their labels. */
  readonly #pointNames = new Set<string>()
  #decided = 0
  #passed = 0
  #isOver = false

  /** With `isRecording` every decision and every point is kept, to find deviations among them. */
  constructor(deviations: readonly Deviation[], strategy?: Strategy, isRecording = false) {
    this.#deviations = deviations
    this.#strategy = strategy
    this.#isRecording = isRecording
    const choices = new Map<string, Deviation>()
    for (const deviation of deviations) {
      if (deviation.kind !== 'fault') {
        choices.set(`${deviation.at}#${deviation.nth}`, deviation)
        continue
      }
      const armed = this.#faults.get(deviation.at) ?? []
      armed.push({ deviation, left: deviation.times === 0 ? Infinity : deviation.times })
      this.#faults.set(deviation.at, armed)
      this.#pointNames.add(deviation.at.split(' ', 1)[0]!)
    }
    this.#named = choices
    this.#isFree = isRecording || strategy !== undefined
  }

  /** From now on everything is plain. */
  end(): void {
    this.#isOver = true
  }

  /** Deviations that never had their moment. */
  get unused(): Deviation[] {
    return this.#deviations.filter((deviation) => !this.#used.has(deviation))
  }

  readonly choose = (ready: readonly ReadyAction[]): number => {
    for (;;) {
      const plain = this.#plain(ready)
      if (this.#isOver || (!this.#isFree && this.#named.size === 0)) return plain
      const at = ready[plain]!.label
      const nth = count(this.#choiceCounts, at)
      const decision = this.#decided++
      if (this.#isRecording) this.#record(ready, plain, at, nth)
      const deviation = this.#named.size === 0 ? undefined : this.#named.get(`${at}#${nth}`)
      if (deviation === undefined) return this.#strategy ? this.#free(ready, plain, at, nth, decision) : plain
      this.#used.add(deviation)
      if (deviation.kind === 'hold') {
        this.taken.push(deviation)
        this.#held.add(ready[plain]!)
        continue
      }
      const chosen = ready.findIndex(({ label }) => deviation.kind === 'run' && label === deviation.instead)
      if (chosen >= 0) {
        this.taken.push(deviation)
        this.choices.push({ decision, instead: ready[chosen]!.label })
        return chosen
      }
      const found = ready.map(({ label }) => label).join(', ')
      this.diverged.push(
        `at decision ${decision}: expected "${(deviation as { instead: string }).instead}", found ${found}`,
      )
      return plain
    }
  }

  strike(point: Point): readonly Fault[] {
    if (this.#isOver || (!this.#isFree && !this.#pointNames.has(point.name))) return none
    const nth = count(this.#pointCounts, point.label)
    this.#passed++
    if (this.#isRecording) this.points.push({ point, nth, decided: this.#decided })
    let faults: Fault[] | undefined
    if (this.#faults.size > 0) {
      faults = this.#armed(point.label, nth, faults)
      // A poisoned key is named by the key instead of the place.
      if (point.name === 'handler:start' && point.key !== undefined) faults = this.#armed(keyLabel(point), 1, faults)
    }
    const free = this.#strategy?.strike(point, nth)
    if (free === undefined) return faults ?? none
    this.taken.push(free)
    if (free.times !== 1) {
      const armed = this.#faults.get(free.at) ?? []
      armed.push({ deviation: free, left: free.times === 0 ? Infinity : free.times - 1 })
      this.#faults.set(free.at, armed)
    }
    ;(faults ??= []).push(faultOf(free.fault))
    return faults
  }

  #armed(label: string, nth: number, faults: Fault[] | undefined): Fault[] | undefined {
    const list = this.#faults.get(label)
    if (list === undefined) return faults
    for (const armed of list) {
      const { deviation } = armed
      if (armed.left === 0 || (nth < deviation.nth && !label.includes(keyMark))) continue
      armed.left--
      if (!this.#used.has(deviation) && this.#deviations.includes(deviation)) this.taken.push(deviation)
      this.#used.add(deviation)
      ;(faults ??= []).push(faultOf(deviation.fault))
    }
    return faults
  }

  /** The oldest action that is not held back. */
  #plain(ready: readonly ReadyAction[]): number {
    for (let i = 0; i < ready.length; i++) if (!this.#held.has(ready[i]!)) return i
    return 0
  }

  #free(ready: readonly ReadyAction[], plain: number, at: string, nth: number, decision: number): number {
    const chosen = this.#strategy!.choose(ready, plain, decision)
    const instead = ready[chosen]!.label
    // Of two actions with one name the older one is meant: names are all that a replay has.
    const first = ready.findIndex(({ label }) => label === instead)
    if (instead === at) return plain
    this.taken.push({ kind: 'run', at, nth, instead })
    this.choices.push({ decision, instead })
    return first
  }

  #record(ready: readonly ReadyAction[], plain: number, at: string, nth: number): void {
    const others = ready.filter((action, i) => i !== plain && !this.#held.has(action)).map(({ label }) => label)
    this.decisions.push({ at, nth, others, passed: this.#passed })
  }
}

const none: readonly Fault[] = []
const keyMark = ' key '

/** The name of all handler calls of one key. */
export function keyLabel({ group, topic, key }: Point): string {
  return `handler:start ${group} ${topic}${keyMark}${key}`
}

function count(counts: Map<string, number>, name: string): number {
  const next = (counts.get(name) ?? 0) + 1
  counts.set(name, next)
  return next
}
