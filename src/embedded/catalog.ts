import type { Storage, WriteBatch } from '../contracts/storage.ts'
import { counterKey, metaRange, partitionKey, removedKey, storeKey } from '../key-layout.ts'
import { decodeTopicRow, type TopicRow } from './topic-row.ts'

/** Rows of `meta` read at once. */
const rowsPerPage = 1024

/** What the store knows by name: topics, groups, and the numbers that were given to them. */
export class Catalog {
  readonly #storage: Storage
  /** The next number for a partition or group; never used twice, so that rows of deleted ones can't come back. */
  #next: number
  /** The user's stores of state, by their names. */
  readonly #stores = new Map<string, number>()
  /** Stores that the next commit names. */
  #newStores: string[] = []
  /** How many groups with members consume a topic. */
  #consumers = new Map<string, number>()

  constructor(storage: Storage) {
    this.#storage = storage
    const stored = storage.get('meta', counterKey)
    this.#next = stored ? new DataView(stored.buffer, stored.byteOffset).getUint32(0) : 1
    for (const [name, value] of this.#rows('store')) this.#stores.set(name, idIn(value))
  }

  topics(): [string, TopicRow][] {
    return this.#rows('topic').map(([name, value]) => [name, decodeTopicRow(value)])
  }

  groups(): [string, number][] {
    return this.#rows('group').map(([name, value]) => [name, idIn(value)])
  }

  get stores(): ReadonlyMap<string, number> {
    return this.#stores
  }

  /** Gives a store of state its number; stored by {@link Catalog.contribute}. */
  addStore(name: string): number {
    const id = this.nextId()
    this.#stores.set(name, id)
    this.#newStores.push(name)
    return id
  }

  /** A number that no partition or group ever had; stored by {@link Catalog.contribute} in the commit that uses it. */
  nextId(): number {
    return this.#next++
  }

  contribute(writes: WriteBatch): void {
    const value = Buffer.allocUnsafe(4)
    value.writeUInt32BE(this.#next)
    writes.put('meta', counterKey, value)
    for (const name of this.#newStores) writes.put('meta', storeKey(name), idRow(this.#stores.get(name)!))
    this.#newStores = []
  }

  /** Notes that the batches of these partitions are to be removed, which may take many commits and a restart. */
  removePartitions(writes: WriteBatch, ids: readonly number[]): void {
    for (const id of ids) {
      writes.put('meta', removedKey(id), Buffer.alloc(0))
      writes.remove('meta', partitionKey(id))
    }
  }

  consumers(topic: string): number {
    return this.#consumers.get(topic) ?? 0
  }

  countConsumers(consumed: Iterable<ReadonlySet<string>>): void {
    this.#consumers = new Map()
    for (const topics of consumed) for (const topic of topics) this.#consumers.set(topic, this.consumers(topic) + 1)
  }

  #rows(kind: 'topic' | 'group' | 'store'): [string, Uint8Array][] {
    const found: [string, Uint8Array][] = []
    const { from, to } = metaRange(kind)
    let next: Uint8Array = from
    for (;;) {
      const page = this.#storage.range('meta', { from: next, to, limit: rowsPerPage })
      for (const { key, value } of page) found.push([Buffer.from(key.subarray(1)).toString(), value])
      if (page.length < rowsPerPage) return found
      next = Buffer.concat([page[page.length - 1]!.key, Buffer.of(0)])
    }
  }
}

function idIn(row: Uint8Array): number {
  return (JSON.parse(Buffer.from(row).toString()) as { id: number }).id
}

function idRow(id: number): Buffer {
  return Buffer.from(JSON.stringify({ id }))
}
