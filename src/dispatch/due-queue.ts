/** Items in the order they become due; ties come out in the order they went in. A binary heap. */
export class DueQueue<T> {
  readonly #heap: { readonly dueAt: number; readonly order: number; readonly item: T }[] = []
  #added = 0

  get size(): number {
    return this.#heap.length
  }

  /** When the first item is due; `Infinity` when there is none. */
  get nextDueAt(): number {
    return this.#heap[0]?.dueAt ?? Infinity
  }

  push(dueAt: number, item: T): void {
    const heap = this.#heap
    const entry = { dueAt, order: this.#added++, item }
    let place = heap.length
    heap.push(entry)
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!isBefore(entry, heap[parent]!)) break
      heap[place] = heap[parent]!
      place = parent
    }
    heap[place] = entry
  }

  /** The first item if it is due at `now`. */
  shiftDue(now: number): T | undefined {
    const heap = this.#heap
    const first = heap[0]
    if (first === undefined || first.dueAt > now) return undefined
    const last = heap.pop()!
    if (heap.length > 0) this.#sink(last)
    return first.item
  }

  /** Forgets everything but what `isMeant`. */
  keep(isMeant: (item: T) => boolean): void {
    const kept = this.#heap.splice(0).filter(({ item }) => isMeant(item))
    // In order it is a heap.
    for (const entry of kept.toSorted((a, b) => a.dueAt - b.dueAt || a.order - b.order)) this.#heap.push(entry)
  }

  #sink(entry: { readonly dueAt: number; readonly order: number; readonly item: T }): void {
    const heap = this.#heap
    let place = 0
    for (;;) {
      let child = 2 * place + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, entry)) break
      heap[place] = heap[child]!
      place = child
    }
    heap[place] = entry
  }
}

function isBefore(a: { dueAt: number; order: number }, b: { dueAt: number; order: number }): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.order < b.order)
}
