import type { StoredBatch } from './record-batch.ts'

/** What the tail needs of a partition: to let its oldest batch go. */
export interface TailOwner {
  /** Drops the oldest batch of the partition's tail if it is on disk; false when it has to stay. */
  evictOldest(): boolean
}

/**
 * The memory budget of all partitions' newest batches.
 *
 * Consumers that keep up read here, so a message is decoded once for all groups and the disk is not read at all. Batches
 * that are not flushed yet always stay, whatever the budget says: nothing else has them.
 */
export class Tail {
  readonly #limit: number
  /** Owners in the order their batches came: an entry for each batch held, and one for each in `#skips`. */
  #order: TailOwner[] = []
  #first = 0
  /** How many of an owner's first entries stand for batches that it let go by itself. */
  readonly #skips = new Map<TailOwner, number>()
  #skipCount = 0
  /** Bytes held. Invariant: the sum of the batches' sizes. */
  #bytes = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Notes that `owner` appended a batch to its tail. */
  added(owner: TailOwner, batch: StoredBatch): void {
    this.#bytes += batch.bytes
    this.#order.push(owner)
  }

  /** Notes that an owner dropped a batch. */
  removed(batch: StoredBatch): void {
    this.#bytes -= batch.bytes
  }

  /** Notes that the oldest batch of an owner went without being asked for by {@link Tail.evict}. */
  skip(owner: TailOwner): void {
    this.#skips.set(owner, (this.#skips.get(owner) ?? 0) + 1)
    // Where everything is trimmed nothing has to be evicted, and the order would only grow.
    if (++this.#skipCount < 1024 || this.#skipCount * 2 < this.#order.length - this.#first) return
    this.#order = this.#order.slice(this.#first).filter((other) => !this.#isSkipped(other))
    this.#first = 0
  }

  /** Lets the oldest batches go until the budget holds or one has to stay. */
  evict(): void {
    while (this.#bytes > this.#limit && this.#first < this.#order.length) {
      const owner = this.#order[this.#first]!
      if (!this.#isSkipped(owner) && !owner.evictOldest()) break
      this.#first++
    }
    if (this.#first > 1024 && this.#first * 2 > this.#order.length) {
      this.#order = this.#order.slice(this.#first)
      this.#first = 0
    }
  }

  /** Forgets a partition that was deleted; its batches are given back by {@link Tail.removed}. */
  forget(owner: TailOwner): void {
    this.#order = this.#order.slice(this.#first).filter((other) => other !== owner)
    this.#first = 0
    this.#skipCount -= this.#skips.get(owner) ?? 0
    this.#skips.delete(owner)
  }

  /** Whether the owner's first entry stands for nothing any more; answers for one entry at a time. */
  #isSkipped(owner: TailOwner): boolean {
    const skips = this.#skips.get(owner)
    if (skips === undefined) return false
    this.#skipCount--
    if (skips === 1) this.#skips.delete(owner)
    else this.#skips.set(owner, skips - 1)
    return true
  }
}

/** The batches that were read from disk last, so that groups which catch up side by side share a read and its decoding. */
export class RecentReads {
  readonly #limit: number
  #entries: { owner: object; batch: StoredBatch }[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  find(owner: object, offset: number): StoredBatch | undefined {
    for (const entry of this.#entries) {
      if (entry.owner === owner && offset >= entry.batch.baseOffset && offset < entry.batch.nextOffset)
        return entry.batch
    }
    return undefined
  }

  add(owner: object, batch: StoredBatch): void {
    if (this.#entries.length === this.#limit) this.#entries.shift()
    this.#entries.push({ owner, batch })
  }

  forget(owner: object): void {
    this.#entries = this.#entries.filter((entry) => entry.owner !== owner)
  }
}
