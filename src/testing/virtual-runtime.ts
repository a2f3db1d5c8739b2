import type { Runtime, Timer } from '../runtime/runtime.ts'
import { afterPromiseJobs, asPromiseJob, nextTurn } from './real-loop.ts'
import { TestError } from './test-error.ts'
import { TimerQueue, type VirtualTimer } from './timer-queue.ts'

/** Something that could run now. */
export interface ReadyAction {
  /** What it is, in words that are the same in every run. */
  readonly label: string
}

interface Action extends ReadyAction {
  readonly run: () => void | Promise<void>
  isCancelled?: boolean
}

/** Where a virtual runtime starts and what its chance is made of. */
export interface VirtualRuntimeOptions {
  /** Wall clock at the start, in milliseconds since 1970. @defaultValue 2030-01-01 */
  readonly start?: number
  /** Seed of every random stream. @defaultValue `1` */
  readonly seed?: number
  /** See `Runtime.point`. */
  readonly point?: (name: string, detail?: unknown) => void
  /** Chooses which of two or more actions runs next, by its index. @defaultValue the oldest */
  readonly choose?: (ready: readonly ReadyAction[]) => number
  /** Called when nothing can run; resolves to true when something may be there by now. @defaultValue one turn of the event loop */
  readonly outside?: () => Promise<boolean>
  /** Whether what is ready runs by itself when no verb is under way; time stands still. @defaultValue `false` */
  readonly autorun?: boolean
  /** Asked before each task: what it returns ends the verb under way. @defaultValue no limit but that of a settling */
  readonly limit?: (() => Error | undefined) | undefined
  /** Told what a task threw. @defaultValue the verb under way rejects */
  readonly thrown?: (error: unknown) => void
}

/** 2030-01-01T00:00:00Z. */
export const defaultStart = 1_893_456_000_000

/** Tasks that one {@link VirtualRuntime.settle} may run before it counts as endless. */
const maxTasks = 10_000_000
/** After so many tasks the real event loop has its turn, so that user code with real I/O is not starved. */
const tasksPerTurn = 512

/**
 * A runtime whose time stands still until it is told to move. Everything that the engine does "later" is an action here, run
 * one at a time in a fixed order, each with all promise jobs that follow from it, so that the same calls give the same
 * trace every time.
 */
export class VirtualRuntime implements Runtime {
  readonly point?: (name: string, detail?: unknown) => void
  readonly warnings: string[] = []
  #now: number
  #monotonic = 0
  readonly #options: VirtualRuntimeOptions
  readonly #streams = new Map<string, () => number>()
  readonly #timers = new TimerQueue()
  /** What could run now, oldest first. */
  readonly #ready: Action[] = []
  /** The loop that runs actions until none is ready. */
  #loop: Promise<void> | undefined
  /** A loop begins by itself in a moment. */
  #isWoken = false
  /** Calls of verbs that have not ended; while there are any, nothing begins by itself. */
  #verbs = 0
  /** What a task threw, for the loop to tell. */
  #thrown: { readonly error: unknown } | undefined

  constructor(options: VirtualRuntimeOptions = {}) {
    this.#now = options.start ?? defaultStart
    this.#options = options
    if (options.point) this.point = options.point
  }

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#monotonic
  }

  timer(delayMs: number, label: string, task: () => void, options?: { background?: boolean }): Timer {
    return this.#timers.add(this.#monotonic + Math.max(0, delayMs), label, task, options?.background ?? false)
  }

  soon(_label: string, task: () => void): void {
    asPromiseJob(() => {
      try {
        task()
      } catch (error) {
        this.#throw(error)
      }
    })
  }

  later(label: string, task: () => void): void {
    this.act(label, task)
  }

  /** Adds something that could run now; a promise that it returns is awaited before anything else runs. */
  act(label: string, run: () => void | Promise<void>): Timer {
    const action: Action = { label, run }
    this.#ready.push(action)
    this.#wake()
    return { cancel: () => this.#drop(action) }
  }

  random(stream: string): number {
    let next = this.#streams.get(stream)
    if (next === undefined) this.#streams.set(stream, (next = mulberry32(hash(stream) ^ (this.#options.seed ?? 1))))
    return next()
  }

  warn(text: string): void {
    this.warnings.push(text)
  }

  /** Moves the wall clock, as an operator or a time service does; monotonic time is not touched. */
  jumpWallClock(byMs: number): void {
    this.#now += byMs
  }

  /** Timers that are set, in the order they fire. */
  timers(): { readonly label: string; readonly inMs: number; readonly isBackground: boolean }[] {
    return this.#timers
      .sorted()
      .map(({ label, dueAt, isBackground }) => ({ label, inMs: dueAt - this.#monotonic, isBackground }))
  }

  /** The first timer that is set, background timers left out unless `matches` takes them. */
  nextTimer(matches: (timer: VirtualTimer) => boolean = isForeground): VirtualTimer | undefined {
    return this.#timers.first(matches)
  }

  /** Ends the verb under way with an error, before the next action; without one, the next verb. */
  stop(error: Error): void {
    this.#thrown = { error }
  }

  /** Whether a verb is under way, so that time may move. */
  get isDriven(): boolean {
    return this.#verbs > 0
  }

  /** How many actions could run now. */
  get ready(): number {
    return this.#ready.length
  }

  /** Runs everything that can run without time passing. */
  settle(): Promise<void> {
    return this.#asVerb(() => this.#run())
  }

  /** Lets time pass; every timer fires at its time, in order, also those set meanwhile. */
  advance(byMs: number): Promise<void> {
    return this.#asVerb(async () => {
      const end = this.#monotonic + byMs
      await this.#run()
      for (;;) {
        const next = this.#timers.first()
        if (next === undefined || next.dueAt > end) break
        this.#moveTo(next.dueAt)
        await this.#run()
      }
      this.#moveTo(end)
      await this.#run()
    })
  }

  /** Lets time pass until the next timer that holds a test open has fired; false when there is none. */
  async step(): Promise<boolean> {
    const next = this.nextTimer()
    if (next === undefined) return false
    await this.advance(next.dueAt - this.#monotonic)
    return true
  }

  /**
   * Awaits a promise of the engine, running what it needs, and time too when nothing else can go on.
   *
   * @throws `WOULD_HANG`, naming `what`
   */
  resolve<T>(promise: Promise<T>, what = 'the promise'): Promise<T> {
    return this.#asVerb(async () => {
      let isOver = false
      const over = (): void => {
        isOver = true
      }
      promise.then(over, over)
      for (;;) {
        await this.#run()
        if (isOver) return promise
        const next = this.nextTimer()
        if (next === undefined)
          throw new TestError('WOULD_HANG', `${what} waits for something that never comes: no timer, no task is left`)
        this.#moveTo(next.dueAt)
      }
    })
  }

  async #asVerb<T>(verb: () => Promise<T>): Promise<T> {
    this.#verbs++
    try {
      return await verb()
    } finally {
      this.#verbs--
      if (this.#ready.length > 0) this.#wake()
    }
  }

  #wake(): void {
    if (!this.#options.autorun || this.#isWoken || this.#verbs > 0 || this.#loop !== undefined) return
    this.#isWoken = true
    nextTurn(() => {
      this.#isWoken = false
      if (this.#verbs === 0) void this.#run().catch((error: unknown) => this.#throw(error))
    })
  }

  /** One loop at a time: who comes while it runs waits for its end. */
  #run(): Promise<void> {
    return (this.#loop ??= new Promise((resolve, reject) => {
      let ran = 0
      const end = (error?: unknown): void => {
        this.#loop = undefined
        if (error === undefined) resolve()
        else reject(error as Error)
      }
      const step = (): void => {
        const thrown = this.#thrown
        this.#thrown = undefined
        if (thrown !== undefined) return end(thrown.error)
        const over = this.#options.limit?.()
        if (over !== undefined) return end(over)
        const action = this.#take()
        if (action === undefined) {
          this.#outside().then((isMore) => (isMore ? step() : end()), end)
          return
        }
        if (++ran > maxTasks)
          return end(new Error(`still busy after ${maxTasks} tasks: something schedules itself without end`))
        this.#perform(action, next)
      }
      const next = (): void => {
        if (ran % tasksPerTurn === tasksPerTurn - 1) nextTurn(step)
        else afterPromiseJobs(step)
      }
      next()
    }))
  }

  #perform(action: Action, next: () => void): void {
    try {
      const result = action.run()
      if (result === undefined) return next()
      result.then(next, (error: unknown) => {
        this.#throw(error)
        next()
      })
    } catch (error) {
      this.#throw(error)
      next()
    }
  }

  #throw(error: unknown): void {
    if (this.#options.thrown) this.#options.thrown(error)
    else this.#thrown ??= { error }
  }

  #take(): Action | undefined {
    for (let due = this.#timers.takeDue(this.#monotonic); due; due = this.#timers.takeDue(this.#monotonic)) {
      const timer = due
      // A timer that is due may still be cancelled by what runs before it.
      const action: Action = { label: timer.label, run: () => timer.task() }
      timer.onCancel = () => this.#drop(action)
      this.#ready.push(action)
    }
    const ready = this.#ready
    if (ready.length <= 1) return ready.pop()
    const index = this.#options.choose?.(ready) ?? 0
    if (index === 0) return ready.shift()
    return ready.splice(index, 1)[0]
  }

  #drop(action: Action): void {
    const index = this.#ready.indexOf(action)
    if (index >= 0) this.#ready.splice(index, 1)
  }

  async #outside(): Promise<boolean> {
    if (this.#options.outside) return this.#options.outside()
    await new Promise<void>(nextTurn)
    return this.#ready.length > 0 || this.#timers.isDue(this.#monotonic)
  }

  #moveTo(time: number): void {
    this.#now += time - this.#monotonic
    this.#monotonic = time
  }
}

function isForeground(timer: VirtualTimer): boolean {
  return !timer.isBackground
}

function hash(text: string): number {
  let h = 2166136261
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h >>> 0
}

/** A small seeded generator of numbers in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
