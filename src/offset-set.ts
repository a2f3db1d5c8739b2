/** Offsets that one page of the set covers; 1 KiB as bits. */
export const pageSize = 8192
const wordsPerPage = pageSize / 32

/** One page: which of its offsets are finished. */
interface Page {
  readonly bits: Uint32Array
  /** How many bits are set, also below the position. */
  count: number
}

/**
 * The finished offsets of a group in one partition: a position, below which everything is finished, and the exact set of
 * finished ones above it, in pages of bits.
 *
 * Pages that changed since the last {@link OffsetSet.takeChanges} are known, so that a settlement writes only those: one
 * stuck offset under millions of finished ones costs nothing per settlement.
 */
export class OffsetSet {
  /** The lowest unfinished offset. Only moves up. Invariant: not in the set itself. */
  #position: number
  /** One above the highest finished offset, at least the position. */
  #ceiling: number
  /** How many offsets above the position are finished. */
  #above = 0
  /** Pages that hold a finished offset above the position. */
  readonly #pages = new Map<number, Page>()
  readonly #changed = new Set<number>()
  #positionChanged = false

  constructor(position: number) {
    this.#position = position
    this.#ceiling = position
  }

  get position(): number {
    return this.#position
  }

  get ceiling(): number {
    return this.#ceiling
  }

  /** How many offsets above the position are finished. */
  get above(): number {
    return this.#above
  }

  has(offset: number): boolean {
    if (offset < this.#position) return true
    if (offset >= this.#ceiling) return false
    const page = this.#pages.get(Math.floor(offset / pageSize))
    return page !== undefined && hasBit(page, offset % pageSize)
  }

  countIn(from: number, to: number): number {
    let count = Math.max(0, Math.min(to, this.#position) - from)
    const start = Math.max(from, this.#position)
    const end = Math.min(to, this.#ceiling)
    for (let offset = start; offset < end;) {
      const page = this.#pages.get(Math.floor(offset / pageSize))
      const pageEnd = Math.min(end, (Math.floor(offset / pageSize) + 1) * pageSize)
      if (page === undefined) offset = pageEnd
      else for (; offset < pageEnd; offset++) if (hasBit(page, offset % pageSize)) count++
    }
    return count
  }

  /** Adds [from, to); what is in the set already stays. */
  add(from: number, to: number): void {
    if (to > this.#ceiling) this.#ceiling = to
    if (from <= this.#position) {
      if (to > this.#position) this.#advance(to)
      return
    }
    for (let offset = from; offset < to; offset++) this.#set(offset)
  }

  #set(offset: number): void {
    const number = Math.floor(offset / pageSize)
    let page = this.#pages.get(number)
    if (page === undefined) this.#pages.set(number, (page = { bits: new Uint32Array(wordsPerPage), count: 0 }))
    const bit = offset % pageSize
    const word = bit >>> 5
    const mask = 1 << (bit & 31)
    if (page.bits[word]! & mask) return
    page.bits[word]! |= mask
    page.count++
    this.#above++
    this.#changed.add(number)
  }

  /** Moves the position to `offset` and on over finished offsets behind it. */
  #advance(offset: number): void {
    this.#positionChanged = true
    if (this.#above > 0) {
      this.#above -= this.countIn(this.#position, offset)
      const first = Math.floor(this.#position / pageSize)
      this.#position = offset
      while (this.#above > 0 && this.#skipFinished()) continue
      this.#dropPages(first)
    } else this.#position = offset
    if (this.#ceiling < this.#position) this.#ceiling = this.#position
    if (this.#above === 0 && this.#pages.size > 0) this.#dropPages(Math.floor(offset / pageSize))
  }

  /** Moves the position over one run of finished offsets, at most to the end of a page; false at an unfinished one. */
  #skipFinished(): boolean {
    const page = this.#pages.get(Math.floor(this.#position / pageSize))
    if (page === undefined) return false
    let bit = this.#position % pageSize
    const start = bit
    while (bit < pageSize && hasBit(page, bit)) {
      if (bit % 32 === 0 && page.bits[bit >>> 5] === 0xffff_ffff) bit += 32
      else bit++
    }
    const moved = bit - start
    this.#position += moved
    this.#above -= moved
    return moved > 0 && bit === pageSize
  }

  /** Forgets pages from `first` on that lie wholly below the position, or all that are empty above it. */
  #dropPages(first: number): void {
    const end = Math.floor(this.#position / pageSize)
    if (this.#above > 0 && end - first <= this.#pages.size) {
      for (let number = first; number < end; number++) this.#drop(number)
      return
    }
    for (const number of [...this.#pages.keys()]) if (number < end || this.#above === 0) this.#drop(number)
  }

  #drop(number: number): void {
    if (this.#pages.delete(number)) this.#changed.add(number)
  }

  /**
   * What a settlement has to write: the position if it moved, and each changed page (`undefined` when it is to be removed).
   * The changes count as taken.
   */
  takeChanges(): { position: number | undefined; pages: [number, Uint8Array | undefined][] } {
    const position = this.#positionChanged ? this.#position : undefined
    const pages: [number, Uint8Array | undefined][] = []
    for (const number of this.#changed) {
      const page = this.#pages.get(number)
      pages.push([number, page && encodePage(page)])
    }
    this.#positionChanged = false
    this.#changed.clear()
    return { position, pages }
  }

  /** The pages that exist, or did when changes were last taken. */
  pageNumbers(): number[] {
    return [...new Set([...this.#pages.keys(), ...this.#changed])]
  }

  /** Whether {@link OffsetSet.takeChanges} has something to give. */
  get isChanged(): boolean {
    return this.#positionChanged || this.#changed.size > 0
  }

  /** Puts back a page that {@link OffsetSet.takeChanges} gave. */
  restorePage(number: number, stored: Uint8Array): void {
    const bits = new Uint32Array(wordsPerPage)
    if (stored.length === 1) bits.fill(0xffff_ffff)
    else new Uint8Array(bits.buffer).set(stored.subarray(0, pageSize / 8))
    const page: Page = { bits, count: 0 }
    for (let bit = 0; bit < pageSize; bit++) {
      if (!hasBit(page, bit)) continue
      page.count++
      const offset = number * pageSize + bit
      if (offset <= this.#position) continue
      this.#above++
      if (offset >= this.#ceiling) this.#ceiling = offset + 1
    }
    this.#pages.set(number, page)
  }
}

function hasBit(page: Page, bit: number): boolean {
  return (page.bits[bit >>> 5]! & (1 << (bit & 31))) !== 0
}

/** A full page is one byte; others are their bits, little-endian. */
function encodePage(page: Page): Uint8Array {
  if (page.count === pageSize) return Uint8Array.of(1)
  return new Uint8Array(page.bits.buffer.slice(0))
}
