import { compare, type StoredEntry } from './bytes.ts'

const chunkLimit = 512

/**
 * Entries in the byte order of their keys: sorted chunks of at most 512, found by two binary searches.
 *
 * A put moves half a chunk of pointers at worst, so 100,000 entries cost what 500 do. Chunks are never empty.
 */
export class OrderedMap {
  #chunks: StoredEntry[][] = []
  #size = 0
  #bytes = 0

  get size(): number {
    return this.#size
  }

  /** Bytes of all keys and values. */
  get bytes(): number {
    return this.#bytes
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const chunk = this.#chunks[this.#chunkOf(key)]
    if (chunk === undefined) return undefined
    const at = lowerBound(chunk, key)
    const entry = chunk[at]
    return entry !== undefined && compare(entry.key, key) === 0 ? entry.value : undefined
  }

  /** Keeps the arrays it is given: the caller hands over copies. */
  set(key: Uint8Array, value: Uint8Array): void {
    const index = this.#chunkOf(key)
    const chunk = this.#chunks[index]
    if (chunk === undefined) {
      this.#chunks.push([{ key, value }])
      this.#grow(1, key.byteLength + value.byteLength)
      return
    }
    const at = lowerBound(chunk, key)
    const present = chunk[at]
    if (present !== undefined && compare(present.key, key) === 0) {
      this.#bytes += value.byteLength - present.value.byteLength
      chunk[at] = { key: present.key, value }
      return
    }
    chunk.splice(at, 0, { key, value })
    this.#grow(1, key.byteLength + value.byteLength)
    // Appending is the common case of a log: split off a short tail, so that full chunks stay full.
    if (chunk.length > chunkLimit) {
      const cut = at === chunk.length - 1 ? chunk.length - 1 : chunk.length >> 1
      this.#chunks.splice(index + 1, 0, chunk.splice(cut))
    }
  }

  delete(key: Uint8Array): void {
    const index = this.#chunkOf(key)
    const chunk = this.#chunks[index]
    if (chunk === undefined) return
    const at = lowerBound(chunk, key)
    const entry = chunk[at]
    if (entry === undefined || compare(entry.key, key) !== 0) return
    chunk.splice(at, 1)
    this.#grow(-1, -(entry.key.byteLength + entry.value.byteLength))
    if (chunk.length === 0) this.#chunks.splice(index, 1)
  }

  /** At most `limit` entries with `from <= key < to`, smallest first, or greatest first when `reverse`. */
  range(from: Uint8Array, to: Uint8Array, limit: number, reverse: boolean): StoredEntry[] {
    return reverse ? this.#descending(from, to, limit) : this.#ascending(from, to, limit)
  }

  /** A copy that shares the entries, which are never changed in place. */
  clone(): OrderedMap {
    const copy = new OrderedMap()
    copy.#chunks = this.#chunks.map((chunk) => chunk.slice())
    copy.#size = this.#size
    copy.#bytes = this.#bytes
    return copy
  }

  #grow(entries: number, bytes: number): void {
    this.#size += entries
    this.#bytes += bytes
  }

  #ascending(from: Uint8Array, to: Uint8Array, limit: number): StoredEntry[] {
    const found: StoredEntry[] = []
    let index = this.#chunkOf(from)
    let at = lowerBound(this.#chunks[index] ?? [], from)
    for (; index < this.#chunks.length; index++, at = 0) {
      const chunk = this.#chunks[index] ?? []
      for (; at < chunk.length; at++) {
        const entry = chunk[at]
        if (entry === undefined || found.length >= limit || compare(entry.key, to) >= 0) return found
        found.push(entry)
      }
    }
    return found
  }

  #descending(from: Uint8Array, to: Uint8Array, limit: number): StoredEntry[] {
    const found: StoredEntry[] = []
    let index = this.#chunkOf(to)
    let at = lowerBound(this.#chunks[index] ?? [], to) - 1
    for (; index >= 0; index--, at = (this.#chunks[index] ?? []).length - 1) {
      const chunk = this.#chunks[index] ?? []
      for (; at >= 0; at--) {
        const entry = chunk[at]
        if (entry === undefined || found.length >= limit || compare(entry.key, from) < 0) return found
        found.push(entry)
      }
    }
    return found
  }

  /** The last chunk whose first key is not above `key`, or the first one. */
  #chunkOf(key: Uint8Array): number {
    let low = 0
    let high = this.#chunks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      const first = this.#chunks[middle]?.[0]
      if (first !== undefined && compare(first.key, key) <= 0) low = middle
      else high = middle - 1
    }
    return low
  }
}

function lowerBound(chunk: readonly StoredEntry[], key: Uint8Array): number {
  let low = 0
  let high = chunk.length
  while (low < high) {
    const middle = (low + high) >> 1
    const entry = chunk[middle]
    if (entry !== undefined && compare(entry.key, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
