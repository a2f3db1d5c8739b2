import type { Runtime, Timer } from '../runtime/runtime.ts'

/** Something whose time is limited. */
export interface Expiring {
  /** When its time is over, by the monotonic clock; Infinity when never. Changed by {@link Deadlines.move} only. */
  dueAt: number
  /** Its place among the deadlines; -1 while it is not there. */
  place: number
  /** Its time is over; it is not among the deadlines any more. */
  expire(): void
}

/**
 * Deadlines of what runs: one timer for all of them, and a heap that is made of them alone, so that a deadline which is met
 * costs no memory and no timer.
 */
export class Deadlines {
  readonly #runtime: Runtime
  readonly #label: string
  /** A binary heap by `dueAt`. */
  readonly #heap: Expiring[] = []
  #timer: Timer | undefined
  /** When the timer fires; Infinity when none is set. */
  #timerAt = Infinity

  constructor(runtime: Runtime, label: string) {
    this.#runtime = runtime
    this.#label = label
  }

  get size(): number {
    return this.#heap.length
  }

  add(item: Expiring): void {
    this.#heap.push(item)
    this.#rise(item, this.#heap.length - 1)
    this.#arm()
  }

  /** Its time is not limited any more. Does nothing when it is not there. */
  remove(item: Expiring): void {
    const { place } = item
    if (place < 0) return
    item.place = -1
    const last = this.#heap.pop()!
    if (last !== item) this.#settle(last, place)
  }

  move(item: Expiring, dueAt: number): void {
    item.dueAt = dueAt
    if (item.place < 0) return
    this.#settle(item, item.place)
    this.#arm()
  }

  /** Takes the timer away while there is nothing to wait for. It is left where calls follow each other without a pause. */
  rest(): void {
    if (this.#heap.length === 0) this.#disarm()
  }

  /** Nothing is late any more. */
  stop(): void {
    for (const item of this.#heap) item.place = -1
    this.#heap.length = 0
    this.#disarm()
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerAt = Infinity
  }

  /** A timer that is set for an earlier deadline stays: it finds nothing due, and is set anew then. */
  #arm(): void {
    const dueAt = this.#heap[0]?.dueAt ?? Infinity
    if (dueAt >= this.#timerAt) return
    this.#timer?.cancel()
    this.#timerAt = dueAt
    const delayMs = Math.max(0, dueAt - this.#runtime.monotonic())
    this.#timer = this.#runtime.timer(delayMs, this.#label, () => this.#fire())
  }

  #fire(): void {
    this.#timer = undefined
    this.#timerAt = Infinity
    const now = this.#runtime.monotonic()
    for (let first = this.#heap[0]; first !== undefined && first.dueAt <= now; first = this.#heap[0]) {
      this.remove(first)
      first.expire()
    }
    this.#arm()
  }

  #settle(item: Expiring, place: number): void {
    this.#rise(item, place)
    this.#sink(item, item.place)
  }

  #rise(item: Expiring, from: number): void {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (this.#heap[parent]!.dueAt <= item.dueAt) break
      this.#put(this.#heap[parent]!, place)
      place = parent
    }
    this.#put(item, place)
  }

  #sink(item: Expiring, from: number): void {
    const heap = this.#heap
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.dueAt < heap[child]!.dueAt) child++
      if (heap[child]!.dueAt >= item.dueAt) break
      this.#put(heap[child]!, place)
      place = child
    }
    this.#put(item, place)
  }

  #put(item: Expiring, place: number): void {
    this.#heap[place] = item
    item.place = place
  }
}
