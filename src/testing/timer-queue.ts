import type { Timer } from '../runtime/runtime.ts'

/** A timer of a virtual runtime. */
export interface VirtualTimer extends Timer {
  /** On the monotonic clock. */
  readonly dueAt: number
  /** Ties fire in the order in which they were set. */
  readonly order: number
  readonly label: string
  readonly isBackground: boolean
  readonly task: () => void
  /** Called when it is cancelled after it was taken as due. */
  onCancel: (() => void) | undefined
}

/** Timers in the order in which they fire: a sorted array, since a test has a handful of them. */
export class TimerQueue {
  readonly #timers: VirtualTimer[] = []
  #order = 0

  add(dueAt: number, label: string, task: () => void, isBackground: boolean): VirtualTimer {
    const timers = this.#timers
    const timer: VirtualTimer = {
      dueAt,
      order: this.#order++,
      label,
      isBackground,
      task,
      onCancel: undefined,
      cancel: () => {
        const place = timers.indexOf(timer)
        if (place >= 0) timers.splice(place, 1)
        else timer.onCancel?.()
      },
    }
    let place = timers.length
    while (place > 0 && timers[place - 1]!.dueAt > dueAt) place--
    timers.splice(place, 0, timer)
    return timer
  }

  /** The first timer that fits. */
  first(matches: (timer: VirtualTimer) => boolean = () => true): VirtualTimer | undefined {
    return this.#timers.find(matches)
  }

  isDue(now: number): boolean {
    return this.#timers.length > 0 && this.#timers[0]!.dueAt <= now
  }

  /** Takes the first timer out if it is due. */
  takeDue(now: number): VirtualTimer | undefined {
    return this.isDue(now) ? this.#timers.shift() : undefined
  }

  sorted(): readonly VirtualTimer[] {
    return this.#timers
  }
}
