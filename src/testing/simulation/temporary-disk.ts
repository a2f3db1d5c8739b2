import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyRange, Storage, StorageEntry, StorageStats, Table, WriteBatch } from '../../contracts/storage.ts'
import { realRuntime } from '../../runtime/real-runtime.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import { openLmdbStorage } from '../../storage/lmdb-storage.ts'
import { writesOf, type WriteList } from '../../storage/write-list.ts'
import type { CrashableStorage } from './crashable-storage.ts'

/** Lets real time pass in a simulation. */
export interface RealWait {
  during<T>(wait: PromiseLike<T>): Promise<T>
}

/** A directory for one test, with the store of production in it. */
export class TemporaryDisk {
  readonly #path = mkdtempSync(join(tmpdir(), 'lanemq-test-'))
  #storage: DiskStorage | undefined
  #outside: RealWait | undefined

  open({
    runtime,
    simulation,
  }: {
    readonly runtime: Runtime
    readonly simulation: { readonly outside: RealWait }
  }): Promise<CrashableStorage> {
    this.#outside = simulation.outside
    return this.#opened(runtime)
  }

  /** Closes what is open and removes the directory. */
  async remove(): Promise<void> {
    try {
      await this.#storage?.close()
    } finally {
      rmSync(this.#path, { recursive: true, force: true })
    }
  }

  async #opened(runtime: Runtime): Promise<DiskStorage> {
    // The store itself lives in real time: it has threads.
    const opening = openLmdbStorage({ path: this.#path, runtime: realRuntime })
    const inner = await this.#outside!.during(opening)
    this.#storage = new DiskStorage(inner, runtime, this.#outside!, (next) => this.#opened(next))
    return this.#storage
  }
}

/** Turns that may take real time, within which nothing else happens. */
interface Turns {
  later(label: string, task: () => void | Promise<void>): void
  readonly point?: Runtime['point']
}

interface PendingCommit {
  readonly writes: WriteBatch
  readonly resolve: () => void
}

/**
 * The store of production as a simulation needs it: commits take effect in a turn of virtual time, like those of the store in
 * memory, while the disk works in real time within that turn. So both give the same traces.
 */
class DiskStorage implements CrashableStorage {
  readonly kind = 'lmdb'
  readonly durable = true
  readonly epoch: number
  readonly faults: { diskFreeBytes?: number } = {}
  readonly #inner: Storage
  readonly #runtime: Turns
  readonly #outside: RealWait
  readonly #reopen: (next: Runtime) => Promise<DiskStorage>
  #queue: PendingCommit[] = []
  #idleWaiters: (() => void)[] = []
  #crashed: 'process' | 'power' | undefined
  /** The turn that is writing now. */
  #writing: Promise<void> = Promise.resolve()

  constructor(inner: Storage, runtime: Turns, outside: RealWait, reopen: (next: Runtime) => Promise<DiskStorage>) {
    this.#inner = inner
    this.#runtime = runtime
    this.#outside = outside
    this.#reopen = reopen
    this.epoch = inner.epoch
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return this.#inner.get(table, key)
  }

  range(table: Table, range: KeyRange): StorageEntry[] {
    return this.#inner.range(table, range)
  }

  keys(table: Table, range: KeyRange): Uint8Array[] {
    return this.#inner.keys(table, range)
  }

  batch(): WriteBatch {
    return this.#inner.batch()
  }

  commit(writes: WriteBatch): Promise<void> {
    if (this.#crashed) return new Promise(() => {})
    return new Promise((resolve) => {
      this.#queue.push({ writes, resolve })
      if (this.#queue.length === 1) this.#runtime.later('commit', () => (this.#writing = this.#run()))
    })
  }

  get diskFreeBytes(): number {
    return this.faults.diskFreeBytes ?? Infinity
  }

  stats(): StorageStats {
    return { ...this.#inner.stats(), diskFreeBytes: this.diskFreeBytes }
  }

  backup(path: string): Promise<void> {
    return this.#inner.backup(path)
  }

  compact(): Promise<{ before: number; after: number }> {
    return this.#inner.compact()
  }

  verify(): Promise<string[]> {
    return this.#inner.verify()
  }

  onFailure(listener: (error: Error) => void): void {
    this.#inner.onFailure(listener)
  }

  async close(): Promise<void> {
    if (this.#queue.length > 0 && !this.#crashed) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
    await this.#writing
    await this.#outside.during(this.#inner.close())
  }

  async crash(kind: 'process' | 'power', next: Runtime): Promise<CrashableStorage> {
    this.#crashed = kind
    this.#queue = []
    await this.#writing
    await this.#outside.during(this.#inner.close())
    return this.#reopen(next)
  }

  /** As the store in memory: before each, then applied, then flushed; what a crash leaves is decided before the disk is asked. */
  async #run(): Promise<void> {
    const group = [...this.#queue]
    const passed: PendingCommit[] = []
    const lists = (): WriteList[] => passed.map(({ writes }) => writesOf(writes))
    for (const commit of group) {
      this.#runtime.point?.('commit:before', [writesOf(commit.writes)])
      if (this.#crashed) return this.#crashed === 'process' ? this.#write(passed) : undefined
      passed.push(commit)
    }
    this.#runtime.point?.('commit:applied', lists())
    if ((this.#crashed as string | undefined) === 'power') return
    await this.#write(passed)
    if (this.#crashed) return
    this.#runtime.point?.('commit:flushed', lists())
    if (this.#crashed) return
    this.#queue = this.#queue.slice(group.length)
    for (const { resolve } of group) resolve()
    for (const wake of this.#idleWaiters.splice(0)) wake()
    if (this.#queue.length > 0) this.#runtime.later('commit', () => (this.#writing = this.#run()))
  }

  async #write(commits: readonly PendingCommit[]): Promise<void> {
    await Promise.all(commits.map(({ writes }) => this.#inner.commit(writes)))
  }
}
