import { afterReal, liveResources, nextTurn } from '../real-loop.ts'
import type { History } from '../history.ts'
import type { RunningCall } from './running-call.ts'
import type { VirtualRuntime } from '../virtual-runtime.ts'

/** Turns of the real event loop in which user code may go on before it counts as waiting. */
const turns = 2
/** How often resources of the process are looked at while a handler waits for one, in real milliseconds. */
const lookEveryMs = 2
/** Real time that a declared wait may take, in milliseconds. */
const declaredWaitMs = 30_000
/** Resources that are always there or say nothing. */
const ordinary = new Set(['TTYWrap', 'PipeWrap', 'MessagePort', 'Immediate', 'SignalWrap', 'ProcessWrap'])

/** Timers of the kit itself that are set now. */
let polls = 0

/** What there is to look at. */
export interface OutsideHost {
  readonly runtime: VirtualRuntime
  readonly history: History
  readonly life: { readonly running: ReadonlySet<RunningCall>; readonly open: ReadonlyMap<number, unknown> }
  /** Whether a wiring is running. */
  readonly isStarting: boolean
}

/**
 * Notices handlers that wait for something that virtual time does not move: real I/O. Such a wait is given real time and
 * the run is marked, since it can't be repeated exactly.
 */
export class Outside {
  /** Handlers that waited for real I/O without saying so. */
  readonly undeclared: Set<string> = new Set()
  /** Code of the test, beside handlers, that may be waiting: a scenario. */
  pending = 0
  readonly #simulation: OutsideHost
  readonly #waitMs: number
  readonly #baseline: ReadonlyMap<string, number> = resources()
  /** Calls that had all the real time they may have. */
  readonly #given = new WeakSet<RunningCall>()
  /** Waits that are known to end. */
  #declared = 0
  /** Those of handlers, in the order in which they began. */
  readonly #waits: { isOver: boolean; tell: () => void }[] = []
  #wake: (() => void) | undefined

  constructor(simulation: OutsideHost, waitMs: number) {
    this.#simulation = simulation
    this.#waitMs = waitMs
  }

  /** Called when nothing can run; true when something may be there by now. */
  async look(): Promise<boolean> {
    const { runtime } = this.#simulation
    const isBusy = this.pending > 0 || this.#declared > 0 || this.#simulation.isStarting
    if (!isBusy && !this.isWaiting) return false
    for (let turn = 0; turn < turns; turn++) {
      await new Promise<void>(nextTurn)
      if (runtime.ready > 0) return true
    }
    if (this.#declared > 0) return this.#real(declaredWaitMs)
    if (this.#waitMs === 0 || !this.#hasNewResource()) return false
    const calls = [...this.#simulation.life.running].filter((call) => call.isInside && !this.#given.has(call))
    // Who waits for virtual time or for the queue is not outside.
    if (calls.length <= this.#virtualWaits && !this.#simulation.isStarting) return false
    return this.#poll(calls)
  }

  /** Lets real time pass until `wait` is over: it is known to end, and what it gives is the same in every run. */
  async during<T>(wait: PromiseLike<T>): Promise<T> {
    this.#declared++
    try {
      return await wait
    } finally {
      if (--this.#declared === 0) this.#wake?.()
    }
  }

  /**
   * A wait that a handler has declared. What it gives comes back when all such waits are over, in the order in which they
   * began, each as an action of its own: their real durations decide nothing.
   */
  declared<T>(wait: PromiseLike<T>, later: (task: () => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const entry = { isOver: false, tell: () => {} }
      this.#waits.push(entry)
      const over = (tell: () => void): void => {
        entry.isOver = true
        entry.tell = () => later(tell)
        if (this.#waits.some(({ isOver }) => !isOver)) return
        for (const { tell: tellNext } of this.#waits.splice(0)) tellNext()
      }
      this.during(wait).then(
        (value) => over(() => resolve(value)),
        (error: unknown) => over(() => reject(error as Error)),
      )
    })
  }

  /** Handlers that are inside the user's function now, in words. */
  waiting(): string[] {
    return [...this.#simulation.life.running].map(describe)
  }

  /** Whether a handler has not ended that no fault holds. */
  get isWaiting(): boolean {
    for (const { isInside } of this.#simulation.life.running) if (isInside) return true
    return false
  }

  #real(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = afterReal(ms, () => resolve(false))
      this.#wake = () => {
        this.#wake = undefined
        cancel()
        resolve(true)
      }
    })
  }

  /** Waits in real time for something to happen; who then had waited is marked, who is still held is not asked again. */
  async #poll(calls: readonly RunningCall[]): Promise<boolean> {
    const { runtime, life, isStarting } = this.#simulation
    const running = life.running.size
    for (let waited = 0; waited < this.#waitMs; waited += lookEveryMs) {
      polls++
      await new Promise<void>((resolve) => afterReal(lookEveryMs, resolve))
      polls--
      if (runtime.ready === 0 && life.running.size === running && this.#simulation.isStarting === isStarting) continue
      this.#mark(calls)
      return true
    }
    for (const call of calls) this.#given.add(call)
    return false
  }

  #mark(calls: readonly RunningCall[]): void {
    for (const { text } of calls) {
      if (this.undeclared.has(text)) continue
      this.undeclared.add(text)
      this.#simulation.history.add('external', { text, isDeclared: false })
    }
  }

  /** Sleeps in virtual time and sends that are not answered: so many handlers may be waiting for them. */
  get #virtualWaits(): number {
    let waits = this.#simulation.life.open.size
    for (const { label } of this.#simulation.runtime.timers()) if (label === 'sleep') waits++
    return waits
  }

  #hasNewResource(): boolean {
    const now = resources()
    // The timers with which this and other simulations look are no reason to look.
    now.set('Timeout', (now.get('Timeout') ?? 0) - polls)
    for (const [name, count] of now) if (count > (this.#baseline.get(name) ?? 0)) return true
    return false
  }
}

function describe({ text, external }: RunningCall): string {
  return external.size === 0 ? text : `${text} (${[...external].join(', ')})`
}

/** How many of each kind of thing keep the process alive. */
export function resources(): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of liveResources()) {
    if (!ordinary.has(name)) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}
