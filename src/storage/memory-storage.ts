import {
  type KeyRange,
  type Storage,
  type StorageEntry,
  type StorageStats,
  type Table,
  tables,
  type WriteBatch,
} from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { copyOf, keptCopyOf } from './bytes.ts'
import { storeClosed, storeFailed } from './failure.ts'
import { OrderedMap } from './ordered-map.ts'
import { WriteList, writesOf } from './write-list.ts'

/** How to open a store in memory. */
export interface MemoryStorageOptions {
  readonly runtime: Runtime
  /**
   * Whether a settled commit counts as safe from power loss, for tests of code that asks.
   *
   * @defaultValue `false`
   */
  readonly durable?: boolean
}

/** Ways in which a test can spoil the commits of a {@link MemoryStorage}. */
export interface MemoryFaults {
  /** Asked before each commit; the error it returns stops the store, as a failing disk would. */
  commit?: (() => Error | undefined) | undefined
  /** What `stats().diskFreeBytes` reports. @defaultValue `Infinity` */
  diskFreeBytes?: number
}

type Layer = Readonly<Record<Table, OrderedMap>>

interface PendingCommit {
  readonly writes: WriteList
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** What a write replaced, to take it back when the power fails before the flush. */
interface Replaced {
  readonly table: Table
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** A store without a disk: ephemeral, and able to crash as a real one would. */
export function openMemoryStorage(options: MemoryStorageOptions): MemoryStorage {
  return new MemoryStorage(options, emptyLayer(), 1)
}

/**
 * {@link Storage} in memory, for tests and for data that may be lost.
 *
 * A write passes three layers: in a transaction (lost with the process), applied (visible to reads, survives the process,
 * lost with the power) and flushed. A commit completes in a turn of {@link Runtime.later} named `commit`, which takes
 * with it every commit made until then; a simulation can therefore delay or crash it.
 */
export class MemoryStorage implements Storage {
  readonly kind = 'memory'
  readonly durable: boolean
  readonly epoch: number
  /** For tests: faults that commits run into. */
  readonly faults: MemoryFaults = {}
  readonly #options: MemoryStorageOptions
  readonly #runtime: Runtime
  readonly #applied: Layer
  /** Oldest first; empty but within a commit. */
  #unflushed: Replaced[] = []
  #queue: PendingCommit[] = []
  #idleWaiters: (() => void)[] = []
  #failure: QueueError | undefined
  #failureListeners: ((error: Error) => void)[] = []
  #closed = false
  #crashed = false

  /** @internal Use {@link openMemoryStorage}. */
  constructor(options: MemoryStorageOptions, applied: Layer, epoch: number) {
    this.#options = options
    this.#runtime = options.runtime
    this.#applied = applied
    this.durable = options.durable ?? false
    this.epoch = epoch
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    const value = this.#map(table).get(key)
    return value === undefined ? undefined : copyOf(value)
  }

  range(table: Table, { from, to, limit, reverse = false }: KeyRange): StorageEntry[] {
    const entries = this.#map(table).range(from, to, limit, reverse)
    return entries.map(({ key, value }) => ({ key: copyOf(key), value: copyOf(value) }))
  }

  keys(table: Table, { from, to, limit, reverse = false }: KeyRange): Uint8Array[] {
    return this.#map(table)
      .range(from, to, limit, reverse)
      .map(({ key }) => copyOf(key))
  }

  batch(): WriteBatch {
    return new WriteList()
  }

  commit(batch: WriteBatch): Promise<void> {
    const writes = writesOf(batch)
    if (this.#crashed) return new Promise(() => {})
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#closed) return Promise.reject(storeClosed('memory'))
    return new Promise((resolve, reject) => {
      this.#queue.push({ writes, resolve, reject })
      if (this.#queue.length === 1) this.#runtime.later('commit', () => this.#run())
    })
  }

  get diskFreeBytes(): number {
    return this.faults.diskFreeBytes ?? Infinity
  }

  stats(): StorageStats {
    const bytes = tables.reduce((sum, table) => sum + this.#map(table).bytes, 0)
    return { bytes, freeBytes: 0, diskFreeBytes: this.diskFreeBytes }
  }

  async backup(): Promise<void> {
    throw new QueueError('UNSUPPORTED', 'a store in memory has no backup: open one with a path')
  }

  async compact(): Promise<{ before: number; after: number }> {
    const { bytes } = this.stats()
    return { before: bytes, after: bytes }
  }

  async verify(): Promise<string[]> {
    return []
  }

  onFailure(listener: (error: Error) => void): void {
    if (this.#failure === undefined) this.#failureListeners.push(listener)
    else listener(this.#failure)
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#queue.length === 0 || this.#crashed) return
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
  }

  /**
   * For tests: ends this incarnation and opens the next one on what survived, with a greater epoch.
   *
   * Promises of this handle that have not settled never will, as in a process that died. The next one may live in another
   * runtime.
   */
  crash(kind: 'process' | 'power', runtime: Runtime = this.#options.runtime): MemoryStorage {
    this.#crashed = true
    this.#queue = []
    const survived = cloneLayer(this.#applied)
    if (kind === 'power') takeBack(survived, this.#unflushed)
    this.#unflushed = []
    return new MemoryStorage({ ...this.#options, runtime }, survived, this.epoch + 1)
  }

  /** One group commit; a fault point may crash the store in the middle of it. */
  #run(): void {
    const group = this.#queue
    for (const commit of group) {
      if (this.#crashed) return
      const refusal = this.#refusal(commit.writes)
      if (this.#crashed) return
      if (refusal !== undefined) return this.#fail(refusal)
      this.#apply(commit.writes)
    }
    if (!this.#pass('commit:applied', group)) return
    this.#unflushed = []
    if (!this.#pass('commit:flushed', group)) return
    // Commits made by a fault point or a listener meanwhile are part of no group yet.
    this.#queue = this.#queue.slice(group.length)
    for (const commit of group) commit.resolve()
    this.#wake()
  }

  #refusal(writes: WriteList): unknown {
    try {
      this.#runtime.point?.('commit:before', [writes])
      return this.faults.commit?.()
    } catch (error) {
      return error
    }
  }

  /** Whether the store still runs behind a fault point. */
  #pass(point: string, group: readonly PendingCommit[]): boolean {
    try {
      const { point: pass } = this.#runtime
      if (pass !== undefined)
        pass(
          point,
          group.map(({ writes }) => writes),
        )
    } catch (error) {
      this.#fail(error)
    }
    return !this.#crashed && this.#failure === undefined
  }

  #apply(writes: WriteList): void {
    for (let i = 0; i < writes.keys.length; i++) {
      const table = writes.tables[i] as Table
      const key = keptCopyOf(writes.keys[i] as Uint8Array)
      const value = writes.values[i]
      const map = this.#applied[table]
      this.#unflushed.push({ table, key, value: map.get(key) })
      if (value === undefined) map.delete(key)
      else map.set(key, keptCopyOf(value))
    }
  }

  #fail(reason: unknown): void {
    const failed = this.#queue
    this.#queue = []
    this.#failure = storeFailed('memory', reason, failed.length, true)
    for (const commit of failed) commit.reject(this.#failure)
    for (const listener of this.#failureListeners) listener(this.#failure)
    this.#failureListeners = []
    this.#wake()
  }

  #wake(): void {
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const wake of waiters) wake()
  }

  #map(table: Table): OrderedMap {
    if (this.#closed) throw storeClosed('memory')
    return this.#applied[table]
  }
}

function emptyLayer(): Layer {
  return cloneLayer(undefined)
}

function cloneLayer(layer: Layer | undefined): Layer {
  return Object.fromEntries(tables.map((table) => [table, layer?.[table].clone() ?? new OrderedMap()])) as Layer &
    object
}

function takeBack(layer: Layer, replaced: readonly Replaced[]): void {
  for (const { table, key, value } of [...replaced].reverse()) {
    if (value === undefined) layer[table].delete(key)
    else layer[table].set(key, value)
  }
}
