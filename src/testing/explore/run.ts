import { clockOf } from '../clock.ts'
import { defaultInvariants } from '../invariants/all.ts'
import { afterPromiseJobs, instantOf } from '../real-loop.ts'
import type { HistoryEvent } from '../history.ts'
import { memoryStorage } from '../simulation/crashable-storage.ts'
import { Simulation } from '../simulation/simulation.ts'
import { TemporaryDisk } from '../simulation/temporary-disk.ts'
import { TestError } from '../test-error.ts'
import { TestQueue } from '../test-queue.ts'
import type { Deviation } from './deviation.ts'
import type { ExploreOptions, Property } from './exploration.ts'
import { Pick } from './pick.ts'
import { RunLimit } from './run-limit.ts'
import { Schedule, type Strategy } from './schedule.ts'

/** What to run. */
export interface RunPlan {
  /** Seed of the scenario's inputs. */
  readonly seed: number
  /** Whether handlers begin and end when they are chosen; otherwise they run as in production, a synchronous one at once. */
  readonly isGated: boolean
  readonly deviations: readonly Deviation[]
  readonly strategy?: Strategy | undefined
  /** Whether decisions and points are kept. */
  readonly isRecording?: boolean
}

/** What became of a run. */
export interface RunResult {
  readonly plan: RunPlan
  readonly schedule: Schedule
  /** Why it failed. */
  readonly failure: Failure | undefined
  /** The same number for the same history. */
  readonly fingerprint: number
  /** The whole history as text; made when it is asked for. */
  readonly timeline: (level: 'flow' | 'commits' | 'all') => string
  /** Names of `sometimes` that held. */
  readonly reached: ReadonlySet<string>
  /** Handlers that waited for something outside without saying so. */
  readonly impure: readonly string[]
}

/** What is wrong, in a line, and where it comes from. */
export interface Failure {
  /** `no-loss`, `check`, `scenario`, `drain`, `always x`, … */
  readonly what: string
  readonly text: string
  readonly cause: unknown
}

/** Runs one schedule from the wiring to the last check. */
export async function runSchedule<W>(
  options: ExploreOptions<W>,
  plan: RunPlan,
  store: 'memory' | 'lmdb-tmp',
): Promise<RunResult> {
  options.reset?.()
  const schedule = new Schedule(plan.deviations, plan.strategy, plan.isRecording)
  const disk = store === 'lmdb-tmp' ? new TemporaryDisk() : undefined
  const limit = new RunLimit()
  const simulation = new Simulation({
    wire: (mq, life) => options.wire(mq, { clock: clockOf(life), life: life.number }),
    openStorage: (life) => disk?.open(life) ?? memoryStorage(life.runtime),
    start: options.start === undefined ? undefined : instantOf(options.start),
    seed: plan.seed,
    queue: options.queue,
    invariants: options.invariants === undefined ? defaultInvariants : [...defaultInvariants, ...options.invariants],
    choose: schedule.choose,
    isGated: plan.isGated,
    isRestarting: true,
    autorun: false,
    externalWaitMs: 1_000,
    limit: () => limit.count(),
  })
  simulation.sources.push(schedule)
  const test = new TestQueue<W>(simulation, clockOf(simulation), true, async () => disk?.remove())
  const print = new Fingerprint()
  simulation.history.listen(print.add)
  const watch = new PropertyWatch(options, test)
  if (watch.isNeeded) simulation.history.listen(watch.look)
  const run = new Run(options, simulation, test, schedule, plan)
  let failure: Failure | undefined
  try {
    failure = (await run.whole()) ?? watch.failure
    if (simulation.isCrashed) await simulation.discard()
    else simulation.life.end()
  } finally {
    await disk?.remove()
  }
  return {
    plan,
    schedule,
    failure,
    fingerprint: print.value,
    timeline: (level) => test.timeline({ level }),
    reached: watch.reached,
    impure: test.impure,
  }
}

/** Stages in which no code of the user runs but wirings and handlers, which are waited for by themselves. */
const engineStages: ReadonlySet<string> = new Set(['wire', 'drain', 'end'])

class Run<W> {
  readonly #options: ExploreOptions<W>
  readonly #simulation: Simulation
  readonly #test: TestQueue<W>
  readonly #schedule: Schedule
  readonly #plan: RunPlan

  constructor(
    options: ExploreOptions<W>,
    simulation: Simulation,
    test: TestQueue<W>,
    schedule: Schedule,
    plan: RunPlan,
  ) {
    this.#options = options
    this.#simulation = simulation
    this.#test = test
    this.#schedule = schedule
    this.#plan = plan
  }

  async whole(): Promise<Failure | undefined> {
    const { scenario, check, eventually, fastCheck, allowDead } = this.#options
    const pick = new Pick(this.#plan.seed, fastCheck)
    return (
      (await this.#stage('wire', () => this.#begin())) ??
      (await this.#stage('scenario', async () => scenario(this.#test, pick))) ??
      (await this.#stage('drain', () => this.#drain(allowDead ?? 0))) ??
      (await this.#stage('check', async () => check?.(this.#test))) ??
      (await this.#stages('eventually', eventually)) ??
      (await this.#stage('end', () => this.#end()))
    )
  }

  /** Runs a stage to its end, time moving when nothing else can, and says what was wrong in it. */
  async #stage(what: string, stage: () => Promise<unknown>): Promise<Failure | undefined> {
    const { simulation } = { simulation: this.#simulation }
    let failure: Failure | undefined
    try {
      await this.#drive(what, stage())
    } catch (error) {
      failure = { what, text: textOf(error), cause: error }
    }
    const { wiringFault, checker } = simulation
    if (wiringFault) failure ??= { what: 'wire', text: textOf(wiringFault.error), cause: wiringFault.error }
    const [violation] = checker.violations
    // What the engine did wrong comes before what follows from it.
    if (violation) return { what: violation.invariant, text: violation.text, cause: undefined }
    return failure
  }

  async #stages(
    what: string,
    properties: Readonly<Record<string, Property<W>>> | undefined,
  ): Promise<Failure | undefined> {
    for (const [name, holds] of Object.entries(properties ?? {})) {
      const failure = await this.#stage(`${what} ${name}`, async () => {
        if ((await holds(this.#test)) === false) throw new Error('does not hold when everything is drained')
      })
      if (failure) return failure
    }
    return undefined
  }

  /** The first life may end before its wiring has run; then a later one's has to. */
  async #begin(): Promise<void> {
    const { history } = this.#simulation
    const wired = new Promise<void>((resolve) => history.listen(({ kind }) => kind === 'wired' && resolve()))
    let fault: { error: unknown } | undefined
    const begun = this.#simulation.begin().catch((error: unknown) => {
      fault = { error }
    })
    await Promise.race([wired, begun])
    if (fault) throw fault.error
  }

  async #drain(allowDead: number): Promise<void> {
    const { runtime } = this.#simulation
    await runtime.settle()
    this.#schedule.end()
    this.#test.forgive()
    await this.#simulation.lift()
    await runtime.settle()
    await this.#test.drain({ allowDead })
  }

  async #end(): Promise<void> {
    await this.#simulation.runtime.settle()
    this.#simulation.snapshot('end')
  }

  async #drive(what: string, promise: Promise<unknown>): Promise<void> {
    const { runtime } = this.#simulation
    const stage = this.#follow(what, promise)
    try {
      for (;;) {
        await runtime.settle()
        await new Promise<void>(afterPromiseJobs)
        if (stage.isOver) return void (await promise)
        if (this.#simulation.wiringFault) return
        if (this.#test.underWay) {
          await this.#test.underWay.catch(() => {})
          continue
        }
        if (runtime.isDriven || runtime.ready > 0) continue
        if (await runtime.step()) continue
        throw new TestError('WOULD_HANG', this.#hangText(what))
      }
    } finally {
      stage.over()
    }
  }

  /** Knows when a stage is over. While code of the user runs in it, the real event loop gets a turn whenever nothing else can. */
  #follow(what: string, promise: Promise<unknown>): { isOver: boolean; over: () => void } {
    const { outside } = this.#simulation
    let isUsers = !engineStages.has(what)
    if (isUsers) outside.pending++
    const stage = {
      isOver: false,
      over: (): void => {
        stage.isOver = true
        if (isUsers) outside.pending--
        isUsers = false
      },
    }
    promise.then(stage.over, stage.over)
    return stage
  }

  #hangText(what: string): string {
    const hint =
      this.#simulation.life.number > 1
        ? ' (a promise of a process that crashed never settles: test.send outlives crashes, calls on test.mq do not)'
        : ''
    return `the ${what} waits for something that never comes: no timer, no task is left${hint}`
  }
}

/** Looks at user properties on every event. */
class PropertyWatch<W> {
  failure: Failure | undefined
  readonly reached: Set<string> = new Set()
  readonly #always: [string, Property<W>][]
  readonly #sometimes: [string, Property<W>][]
  readonly #test: TestQueue<W>

  constructor({ always, sometimes }: ExploreOptions<W>, test: TestQueue<W>) {
    this.#always = Object.entries(always ?? {})
    this.#sometimes = Object.entries(sometimes ?? {})
    this.#test = test
  }

  get isNeeded(): boolean {
    return this.#always.length + this.#sometimes.length > 0
  }

  readonly look = (event: HistoryEvent): void => {
    for (const [name, holds] of this.#always) {
      if (this.failure) return
      try {
        if (holds(this.#test) === false)
          this.failure = { what: `always ${name}`, text: `does not hold at ${event.kind}`, cause: undefined }
      } catch (error) {
        this.failure = { what: `always ${name}`, text: textOf(error), cause: error }
      }
    }
    for (const [name, holds] of this.#sometimes) {
      if (!this.reached.has(name) && holds(this.#test) === true) this.reached.add(name)
    }
  }
}

const kindNumbers = new Map<string, number>()

function kindNumber(kind: string): number {
  let number = kindNumbers.get(kind)
  if (number === undefined) kindNumbers.set(kind, (number = kindNumbers.size + 1))
  return number
}

/** A number made of everything that happened, cheap enough for every run. */
class Fingerprint {
  value = 2166136261

  readonly add = (event: HistoryEvent): void => {
    this.#number(kindNumber(event.kind))
    this.#number(event.at)
    this.#number(event.life)
    const facts = event as {
      offset?: number
      partition?: number
      attempt?: number
      group?: string
      key?: string
      point?: string
      error?: unknown
    }
    if (facts.offset !== undefined) this.#number(facts.offset)
    if (facts.partition !== undefined) this.#number(facts.partition)
    if (facts.attempt !== undefined) this.#number(facts.attempt)
    if (facts.group !== undefined) this.#text(facts.group)
    if (facts.key !== undefined) this.#text(facts.key)
    if (facts.point !== undefined) this.#text(facts.point)
    if (facts.error instanceof Error) this.#text(facts.error.message)
  }

  #number(value: number): void {
    this.value = Math.imul(this.value ^ (value | 0), 16777619) >>> 0
  }

  #text(text: string): void {
    for (let i = 0; i < text.length; i++) this.value = Math.imul(this.value ^ text.charCodeAt(i), 16777619) >>> 0
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name === 'Error' ? '' : `${error.name}: `}${error.message}` : String(error)
}
