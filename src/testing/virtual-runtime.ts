import type { Runtime, Timer } from '../runtime/runtime.ts'

interface VirtualTimer extends Timer {
  readonly dueAt: number
  readonly order: number
  readonly label: string
  readonly isBackground: boolean
  readonly task: () => void
  isCancelled: boolean
}

/** Where a virtual runtime starts and what its chance is made of. */
export interface VirtualRuntimeOptions {
  /** Wall clock at the start, in milliseconds since 1970. @defaultValue 2030-01-01 */
  readonly start?: number
  /** Seed of every random stream. @defaultValue `1` */
  readonly seed?: number
  /** See `Runtime.point`. */
  readonly point?: (name: string, detail?: unknown) => void
}

/** 2030-01-01T00:00:00Z. */
const defaultStart = 1_893_456_000_000

/** Tasks that one {@link VirtualRuntime.settle} may run before it counts as endless. */
const maxTasks = 10_000_000

/**
 * A runtime whose time stands still until it is told to move. Everything that the engine does "later" is a task here, run
 * in a fixed order, so that the same calls give the same trace every time.
 */
export class VirtualRuntime implements Runtime {
  readonly point?: (name: string, detail?: unknown) => void
  readonly warnings: string[] = []
  #now: number
  #monotonic = 0
  #order = 0
  readonly #seed: number
  readonly #streams = new Map<string, () => number>()
  #timers: VirtualTimer[] = []
  #later: (() => void)[] = []
  /** Tasks of {@link VirtualRuntime.soon} that have not run yet. */
  #soon = 0

  constructor(options: VirtualRuntimeOptions = {}) {
    this.#now = options.start ?? defaultStart
    this.#seed = options.seed ?? 1
    if (options.point) this.point = options.point
  }

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#monotonic
  }

  timer(delayMs: number, label: string, task: () => void, options?: { background?: boolean }): Timer {
    const timer: VirtualTimer = {
      dueAt: this.#monotonic + Math.max(0, delayMs),
      order: this.#order++,
      label,
      isBackground: options?.background ?? false,
      task,
      isCancelled: false,
      cancel: () => {
        timer.isCancelled = true
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
    this.#timers.push(timer)
    return timer
  }

  soon(_label: string, task: () => void): void {
    this.#soon++
    void Promise.resolve().then(() => {
      this.#soon--
      task()
    })
  }

  later(_label: string, task: () => void): void {
    this.#later.push(task)
  }

  random(stream: string): number {
    let next = this.#streams.get(stream)
    if (next === undefined) this.#streams.set(stream, (next = mulberry32(hash(stream) ^ this.#seed)))
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
    return [...this.#timers]
      .sort(byDueTime)
      .map(({ label, dueAt, isBackground }) => ({ label, inMs: dueAt - this.#monotonic, isBackground }))
  }

  /** Runs everything that can run without time passing. */
  async settle(): Promise<void> {
    for (let ran = 0; ran < maxTasks; ran++) {
      await microtasks()
      const due = this.#takeDue()
      const task = due?.task ?? this.#later.shift()
      if (task === undefined) {
        if (this.#soon === 0) return
        continue
      }
      task()
    }
    throw new Error(`still busy after ${maxTasks} tasks: something schedules itself without end`)
  }

  /** Lets time pass; every timer fires at its time, in order, also those set meanwhile. */
  async advance(byMs: number): Promise<void> {
    const end = this.#monotonic + byMs
    await this.settle()
    for (;;) {
      const [next] = [...this.#timers].sort(byDueTime)
      if (next === undefined || next.dueAt > end) break
      this.#moveTo(next.dueAt)
      await this.settle()
    }
    this.#moveTo(end)
    await this.settle()
  }

  /** Awaits a promise of the engine, running what it needs, and time too when nothing else can go on. */
  async resolve<T>(promise: Promise<T>): Promise<T> {
    let isOver = false
    const outcome = promise.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    void outcome.then(() => (isOver = true))
    for (;;) {
      await this.settle()
      if (isOver) break
      const [next] = [...this.#timers].filter(({ isBackground }) => !isBackground).sort(byDueTime)
      if (next === undefined)
        throw new Error('the promise waits for something that never comes: no timer, no task is left')
      this.#moveTo(next.dueAt)
    }
    const settled = await outcome
    if ('error' in settled) throw settled.error
    return settled.value
  }

  #moveTo(time: number): void {
    this.#now += time - this.#monotonic
    this.#monotonic = time
  }

  #takeDue(): VirtualTimer | undefined {
    const [first] = this.#timers.filter(({ dueAt }) => dueAt <= this.#monotonic).sort(byDueTime)
    if (first) this.#timers = this.#timers.filter((other) => other !== first)
    return first
  }
}

function byDueTime(a: VirtualTimer, b: VirtualTimer): number {
  return a.dueAt - b.dueAt || a.order - b.order
}

/** One hop of the real event loop runs every promise job that is queued, and those that they queue. */
function microtasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
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
