/** Offsets in one block of the queue; a block takes 12 bytes an offset. */
const largestBlock = 4096
const smallestBlock = 16

interface Block {
  readonly offsets: Float64Array
  readonly sources: Uint32Array
  start: number
  end: number
}

/** A first-in-first-out queue of offsets, a few bytes each, for messages that wait without being held in memory. */
export class OffsetQueue {
  #blocks: Block[] = []
  #first = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Offset at the front. Only valid while {@link OffsetQueue.size} is above zero, as the next. */
  get offset(): number {
    const block = this.#blocks[this.#first]!
    return block.offsets[block.start]!
  }

  /** The partition intake (by number) that the offset at the front belongs to. */
  get source(): number {
    const block = this.#blocks[this.#first]!
    return block.sources[block.start]!
  }

  push(source: number, offset: number): void {
    let block = this.#blocks[this.#blocks.length - 1]
    if (block === undefined || block.end === block.offsets.length) {
      const size = block === undefined ? smallestBlock : Math.min(largestBlock, block.offsets.length * 2)
      this.#blocks.push((block = newBlock(size)))
    }
    block.offsets[block.end] = offset
    block.sources[block.end++] = source
    this.#size++
  }

  /** Puts entries before everything else; the first of them comes out first. */
  prepend(entries: readonly { readonly source: number; readonly offset: number }[]): void {
    if (entries.length === 0) return
    const block = newBlock(entries.length)
    for (const { source, offset } of entries) {
      block.offsets[block.end] = offset
      block.sources[block.end++] = source
    }
    this.#blocks = [block, ...this.#blocks.slice(this.#first)]
    this.#first = 0
    this.#size += entries.length
  }

  shift(): void {
    const block = this.#blocks[this.#first]!
    this.#size--
    if (++block.start < block.end) return
    this.#first++
    if (this.#size === 0) {
      this.#blocks = []
      this.#first = 0
    } else if (this.#first > 64) {
      this.#blocks = this.#blocks.slice(this.#first)
      this.#first = 0
    }
  }

  /** Drops every entry of one source; returns how many went. */
  dropSource(source: number): number {
    const kept = new OffsetQueue()
    const before = this.#size
    for (; this.#size > 0; this.shift()) if (this.source !== source) kept.push(this.source, this.offset)
    this.#blocks = kept.#blocks
    this.#first = kept.#first
    this.#size = kept.#size
    return before - this.#size
  }
}

function newBlock(size: number): Block {
  return { offsets: new Float64Array(size), sources: new Uint32Array(size), start: 0, end: 0 }
}
