import type { Runtime, Timer } from '../../runtime/runtime.ts'
import type { WriteList } from '../../storage/write-list.ts'
import type { VirtualRuntime } from '../virtual-runtime.ts'

/** One life's door to the time that all lives share. When the life is over, nothing that it planned happens any more. */
export class LifeRuntime implements Runtime {
  readonly #shared: VirtualRuntime
  readonly #commit: (name: string, writes: readonly WriteList[]) => void
  /** What is planned and has not happened. */
  readonly #planned = new Set<Timer>()
  #isOver = false

  /** `commit` is told of the store's points. */
  constructor(shared: VirtualRuntime, commit: (name: string, writes: readonly WriteList[]) => void) {
    this.#shared = shared
    this.#commit = commit
  }

  readonly point = (name: string, detail?: unknown): void => {
    if (!this.#isOver) this.#commit(name, detail as readonly WriteList[])
  }

  now(): number {
    return this.#shared.now()
  }

  monotonic(): number {
    return this.#shared.monotonic()
  }

  timer(delayMs: number, label: string, task: () => void, options?: { background?: boolean }): Timer {
    if (this.#isOver) return { cancel: () => {} }
    const timer = this.#shared.timer(delayMs, label, () => void this.#happens(planned, task), options)
    const planned: Timer = {
      cancel: () => {
        this.#planned.delete(planned)
        timer.cancel()
      },
    }
    this.#planned.add(planned)
    return planned
  }

  soon(label: string, task: () => void): void {
    this.#shared.soon(label, () => {
      if (!this.#isOver) task()
    })
  }

  later(label: string, task: () => void | Promise<void>): void {
    if (this.#isOver) return
    const planned: Timer = this.#shared.act(label, () => this.#happens(planned, task))
    this.#planned.add(planned)
  }

  random(stream: string): number {
    return this.#shared.random(stream)
  }

  warn(text: string): void {
    this.#shared.warn(text)
  }

  /** The process is dead. */
  end(): void {
    this.#isOver = true
    for (const planned of this.#planned) planned.cancel()
    this.#planned.clear()
  }

  #happens(planned: Timer, task: () => void | Promise<void>): void | Promise<void> {
    this.#planned.delete(planned)
    return task()
  }
}
