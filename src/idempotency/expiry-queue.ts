/** Something whose time ends, and may be moved while it waits. */
export interface Expiring {
  /** `Infinity` for what never ends. */
  endsAt: number
}

interface Place<T> {
  readonly at: number
  readonly item: T
}

/**
 * What ends next, by a binary heap. An item that was moved or dropped leaves its old place behind; old places are told by
 * their time and skipped, and thrown out together once they are most of the heap.
 */
export class ExpiryQueue<T extends Expiring> {
  #heap: Place<T>[] = []
  readonly #items = new Set<T>()

  /** Adds an item, or takes note of its new end. */
  set(item: T): void {
    this.#items.add(item)
    if (item.endsAt === Infinity) return
    this.#heap.push({ at: item.endsAt, item })
    this.#rise(this.#heap.length - 1)
    if (this.#heap.length > 2 * this.#items.size + 64) this.#rebuild()
  }

  delete(item: T): void {
    this.#items.delete(item)
  }

  /** The item that ended first, if any has ended at `now`; it stays. */
  firstEnded(now: number): T | undefined {
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      if (this.#isCurrent(first)) return first.item
      this.#removeFirst()
    }
    return undefined
  }

  #isCurrent({ at, item }: Place<T>): boolean {
    return item.endsAt === at && this.#items.has(item)
  }

  #rebuild(): void {
    this.#heap = [...this.#items]
      .filter(({ endsAt }) => endsAt !== Infinity)
      .map((item) => ({ at: item.endsAt, item }))
      .sort((a, b) => a.at - b.at)
  }

  #removeFirst(): void {
    const last = this.#heap.pop()
    if (last === undefined || this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink()
  }

  #rise(from: number): void {
    const heap = this.#heap
    for (let i = from; i > 0;) {
      const parent = (i - 1) >> 1
      if (heap[parent]!.at <= heap[i]!.at) return
      ;[heap[parent], heap[i]] = [heap[i]!, heap[parent]!]
      i = parent
    }
  }

  #sink(): void {
    const heap = this.#heap
    for (let i = 0; ;) {
      const left = 2 * i + 1
      if (left >= heap.length) return
      const child = left + 1 < heap.length && heap[left + 1]!.at < heap[left]!.at ? left + 1 : left
      if (heap[i]!.at <= heap[child]!.at) return
      ;[heap[child], heap[i]] = [heap[i]!, heap[child]!]
      i = child
    }
  }
}
