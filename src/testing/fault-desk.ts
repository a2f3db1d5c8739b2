import type { Message } from '../message.ts'
import { durationMs, type Duration } from './duration.ts'
import type { Simulation } from './simulation/simulation.ts'
import { pointNames, type Fault, type FaultSource, type Point, type PointName } from './simulation/point.ts'
import { TestError } from './test-error.ts'

/** Which of the points of a name a fault strikes; what is left out matches all. */
export interface PointMatch {
  readonly group?: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly key?: string
  /** Strikes at the n-th point that matches, from 1. @defaultValue `1` */
  readonly nth?: number
}

/** Where and how a process ends. */
export interface CrashOptions extends PointMatch {
  /** A named place, see {@link PointName}. */
  readonly at: PointName
  /**
   * - `process`: what was applied to the store survives, as after `kill -9`.
   * - `power`: only what was flushed survives.
   *
   * @defaultValue `'process'`
   */
  readonly kind?: 'process' | 'power'
}

/** Messages that a fault concerns. */
export interface MessageMatch {
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly key?: string
  /** Accepts or refuses a message by what it holds; only where a handler is called. */
  readonly where?: (message: Message<unknown>) => boolean
}

interface Rule {
  readonly name: PointName
  readonly match: Omit<PointMatch, 'nth'> & MessageMatch
  readonly fault: Fault
  /** Points that match and are passed by before it strikes. */
  skip: number
  /** How often it still strikes. */
  left: number
}

const day = 86_400_000

/** What goes wrong in one test: rules that wait for their point. */
export class FaultDesk implements FaultSource {
  readonly #simulation: Simulation
  readonly #rules: Rule[] = []

  /** @internal */
  constructor(simulation: Simulation) {
    this.#simulation = simulation
    simulation.sources.push(this)
  }

  /**
   * Ends the process at a named place, as `kill -9` or a power failure would; `restart()` begins the next one on what
   * survived. Handlers of the dead process that still do something are zombies, and noted as such.
   */
  crash(options: CrashOptions): void {
    const { at, kind = 'process', nth, ...match } = options
    if (kind !== 'process' && kind !== 'power') throw refused('kind', kind, `'process' or 'power'`)
    this.#add(at, match, { kind: 'crash', power: kind === 'power' }, nth ?? 1, 1)
  }

  /** Ends the process at the same place in `times` lives, one after the other. */
  crashLoop(options: CrashOptions & { readonly times: number }): void {
    const { at, kind = 'process', nth, times, ...match } = options
    this.#add(at, match, { kind: 'crash', power: kind === 'power' }, nth ?? 1, times)
  }

  /** Hands a message out once more after it was handled, as at-least-once allows. */
  duplicate(group: string, match: MessageMatch & { readonly nth?: number } = {}): void {
    const { nth, ...rest } = match
    this.#add('handler:done', { group, ...rest }, { kind: 'duplicate' }, nth ?? 1, 1)
  }

  /** Lets a handler take so much longer, in virtual time: the next call that matches, or `times` of them. */
  slow(group: string, by: Duration, match: MessageMatch & { readonly times?: number } = {}): void {
    const { times, ...rest } = match
    this.#add('handler:start', { group, ...rest }, { kind: 'slow', ms: durationMs(by, 'by') }, 1, times ?? 1)
  }

  /** A message whose handler always fails. */
  poison(group: string, match: MessageMatch, error?: () => unknown): void {
    this.#add('handler:start', { group, ...match }, { kind: 'error', error: error ?? injected }, 1, Infinity)
  }

  /** The next handler call of a group never ends, until {@link FaultDesk.lift}. */
  stuck(group: string, match: MessageMatch = {}): void {
    this.#add('handler:start', { group, ...match }, { kind: 'hang' }, 1, 1)
  }

  /** Another member joins a group while a message that matches is being handed out. */
  join(group: string, during: MessageMatch & { readonly nth?: number } = {}): void {
    const { nth, ...match } = during
    this.#add('deliver', { group, ...match }, { kind: 'join' }, nth ?? 1, 1)
  }

  /** The member that is handed a message that matches leaves its group. */
  leave(group: string, during: MessageMatch & { readonly nth?: number } = {}): void {
    const { nth, ...match } = during
    this.#add('deliver', { group, ...match }, { kind: 'leave' }, nth ?? 1, 1)
  }

  /** The store has no room for sends (`STORE_FULL`) from the n-th commit on, for so much virtual time. */
  storeFull(options: { readonly afterCommits?: number; readonly for?: Duration } = {}): void {
    const ms = options.for === undefined ? 365 * day : durationMs(options.for, 'for')
    const fault: Fault = { kind: 'full', ms }
    if (options.afterCommits) this.#add('commit:flushed', {}, fault, options.afterCommits, 1)
    else this.#simulation.setFullFor(ms)
  }

  /** Moves the wall clock at once, back or on; monotonic time goes on as ever. */
  wallClock(by: Duration): void {
    const byMs = durationMs(by, 'by', { allowNegative: true })
    this.#simulation.runtime.jumpWallClock(byMs)
    this.#simulation.history.add('jumped', { byMs })
  }

  /** Handlers of different keys begin and end in an order that a seed chooses; within a key the order stays. */
  interleave(options: { readonly seed: number }): void {
    this.#simulation.interleave(options.seed)
  }

  /** Ends every fault that goes on: stuck handlers run, the store has room again, parked keys go on. */
  lift(): Promise<void> {
    this.#rules.length = 0
    return this.#simulation.lift()
  }

  /** Lets handlers of a group fail; what {@link HandlerFaults} does. @internal */
  fail(group: string, times: number, match: MessageMatch, error: (() => unknown) | undefined): void {
    this.#add('handler:start', { group, ...match }, { kind: 'error', error: error ?? injected }, 1, times)
  }

  /** @internal */
  strike(point: Point): readonly Fault[] {
    let found: Fault[] | undefined
    for (const rule of this.#rules) {
      if (rule.left === 0 || !rulePasses(rule, point)) continue
      if (rule.skip > 0) {
        rule.skip--
        continue
      }
      rule.left--
      ;(found ??= []).push(rule.fault)
    }
    return found ?? []
  }

  /** A fault for a name that nobody has would wait for ever, without a word. */
  #checkNames({ group, topic }: Rule['match']): void {
    const { history } = this.#simulation
    const groups = new Set(history.of('joined').map((event) => event.group))
    if (group !== undefined && !groups.has(group)) throw unknown('group', group, groups)
    const topics = new Set(history.of('topic:created').map((event) => event.topic))
    if (topic !== undefined && !topics.has(topic)) throw unknown('topic', topic, topics)
  }

  #add(name: PointName, match: Rule['match'], fault: Fault, nth: number, times: number): void {
    if (!pointNames.includes(name)) throw refused('at', name, pointNames.join(', '))
    if (!Number.isInteger(nth) || nth < 1) throw refused('nth', nth, 'a whole number from 1')
    if (times !== Infinity && (!Number.isInteger(times) || times < 1))
      throw refused('times', times, 'a whole number from 1')
    // What is about to be created has no name yet.
    if (!/^(group|topic):/.test(name)) this.#checkNames(match)
    this.#simulation.isLifted = false
    this.#rules.push({ name, match, fault, skip: nth - 1, left: times })
  }
}

/** Lets the handlers of one group fail. */
export class HandlerFaults {
  readonly #desk: FaultDesk
  readonly #group: string
  readonly #topic: string | undefined

  /** @internal */
  constructor(desk: FaultDesk, group: string, topic: string | undefined) {
    this.#desk = desk
    this.#group = group
    this.#topic = topic
  }

  /** The next `times` calls that match throw instead of running. */
  failTimes(times: number, error?: () => unknown, match: MessageMatch = {}): void {
    this.#desk.fail(this.#group, times, this.#at(match), error)
  }

  /** Every call throws whose message is accepted by `match`, until the faults are lifted. */
  failWhen(match: MessageMatch, error?: () => unknown): void {
    this.#desk.poison(this.#group, this.#at(match), error)
  }

  /** The next call that matches takes so much longer. */
  slow(by: Duration, match: MessageMatch = {}): void {
    this.#desk.slow(this.#group, by, this.#at(match))
  }

  #at(match: MessageMatch): MessageMatch {
    return this.#topic === undefined ? match : { topic: this.#topic, ...match }
  }
}

/** What a handler throws that fails on purpose. */
export class InjectedFailure extends Error {
  override readonly name = 'InjectedFailure'
}

export function injected(): Error {
  return new InjectedFailure('a failure injected by the test')
}

function rulePasses({ name, match }: Rule, point: Point): boolean {
  if (point.name === name) return fits(match, point)
  return point.parts !== undefined && point.parts.some((part) => part.name === name && fits(match, part))
}

function fits(match: Rule['match'], point: Point): boolean {
  for (const field of ['group', 'topic', 'partition', 'offset', 'key'] as const) {
    if (match[field] !== undefined && match[field] !== point[field]) return false
  }
  return match.where === undefined || (point.message !== undefined && match.where(point.message))
}

function unknown(what: string, name: string, known: ReadonlySet<string>): TestError {
  const names = known.size === 0 ? 'none yet' : [...known].join(', ')
  return new TestError('UNKNOWN_NAME', `no ${what} ${name} in this test; there are: ${names}`)
}

function refused(name: string, value: unknown, allowed: string): TestError {
  return new TestError('INVALID_OPTION', `${name} is ${String(value)}; allowed is ${allowed}`)
}
