import fs from 'node:fs'
import path from 'node:path'
import type { KeyRange, Storage, StorageEntry, StorageStats, Table, WriteBatch } from '../contracts/storage.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { copyOf } from './bytes.ts'
import { CommitLine } from './commit-line.ts'
import { DiskSpace, refuseNetworkFileSystem } from './disk-space.ts'
import { storeClosed } from './failure.ts'
import { epochKey } from './format-record.ts'
import { type BinaryDatabase, type Environment, type Lmdb, loadLmdb, openEnvironment } from './lmdb-environment.ts'
import { unwritable } from './fs-errors.ts'
import { reasonOf } from './lmdb-errors.ts'
import { type OwnerLock, takeOwnerLock } from './owner-lock.ts'
import { preflight } from './preflight.ts'
import { compactStore, copyStore } from './store-copy.ts'
import { createDataFile, dataFile, installDataFile, lockFile, prepareDirectory, removeWork } from './store-directory.ts'
import { StoreCheck } from './store-check.ts'
import { WriteList, writesOf } from './write-list.ts'

/** How to open a store on disk. */
export interface LmdbStorageOptions {
  /** A directory: absent (its parent must exist), empty, or a store. */
  readonly path: string
  readonly runtime: Runtime
  /**
   * How long one commit may take before the store stops itself, in milliseconds; `Infinity` for ever.
   *
   * @defaultValue `30_000`
   */
  readonly commitTimeoutMs?: number
  /**
   * Free disk space, in bytes, below which a commit is not even tried (unless pages inside the store are enough) and stops
   * the store, since a full disk is the one fault that can be seen coming.
   *
   * @defaultValue `1_048_576`
   */
  readonly minFreeBytes?: number
  /**
   * Opens a store on NFS, CIFS, FUSE and the like, where what was flushed may be lost.
   *
   * @defaultValue `false`
   */
  readonly allowNetworkFileSystem?: boolean
}

/** Readers that died are forgotten this often, so that their snapshots stop holding space; the owner lock is looked at. */
const upkeepMs = 60_000
/** A short write on a disk with less room than this was a full disk. */
const fullDiskBytes = 1 << 20

const sequenceKey: Uint8Array = Buffer.from('sequence')
const noBytes: Uint8Array = new Uint8Array(0)

/**
 * Opens the store in a directory, or makes one, and owns it until it is closed.
 *
 * @throws `STORE_LOCKED` while another process or thread owns it; `STORE_CORRUPT`, `NOT_A_STORE`, `STORE_VERSION`,
 * `STORE_OPTIONS` for a file that can't be read; `STORE_UNWRITABLE`, `STORE_FULL`, `UNSUPPORTED` for its place.
 */
export async function openLmdbStorage(options: LmdbStorageOptions): Promise<Storage> {
  const directory = path.resolve(options.path)
  const lmdb = await loadLmdb()
  prepareDirectory(directory)
  if (options.allowNetworkFileSystem !== true) refuseNetworkFileSystem(directory)
  const lock = await takeOwnerLock(directory)
  try {
    removeWork(directory)
    if (!fs.existsSync(path.join(directory, dataFile))) createDataFile(lmdb, directory, options.runtime.now())
    preflight(path.join(directory, dataFile))
    return new LmdbStorage(lmdb, directory, lock, options)
  } catch (error) {
    await lock.release()
    throw unwritable(
      await reasonOf(error, () => hasRoom(new DiskSpace(directory, options.runtime))),
      directory,
      'open the store',
    )
  }
}

function hasRoom(disk: DiskSpace): boolean {
  return disk.look() > fullDiskBytes
}

class LmdbStorage implements Storage {
  readonly kind = 'lmdb'
  readonly durable = true
  readonly epoch: number
  readonly #lmdb: Lmdb
  readonly #directory: string
  readonly #lock: OwnerLock
  readonly #runtime: Runtime
  readonly #line: CommitLine
  readonly #disk: DiskSpace
  readonly #minFreeBytes: number
  #environment: Environment
  /** Raised by each commit, in the store and here. */
  #sequence = 0
  #silencing = false
  #upkeep: Timer
  /** The last of backup, compact and verify, over or not. */
  #longTask: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(lmdb: Lmdb, directory: string, lock: OwnerLock, options: LmdbStorageOptions) {
    this.#lmdb = lmdb
    this.#directory = directory
    this.#lock = lock
    this.#runtime = options.runtime
    this.#environment = openEnvironment(lmdb, directory, (opened) => this.#begin(opened))
    this.epoch = lock.generation
    this.#disk = new DiskSpace(directory, options.runtime)
    this.#minFreeBytes = options.minFreeBytes ?? 1 << 20
    this.#line = new CommitLine({
      path: directory,
      runtime: options.runtime,
      timeoutMs: options.commitTimeoutMs ?? 30_000,
      write: (writes) => this.#write(writes),
      explain: (error) => reasonOf(error, () => hasRoom(this.#disk)),
    })
    this.#upkeep = this.#armUpkeep()
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return copyValue(this.#table(table), key)
  }

  range(table: Table, range: KeyRange): StorageEntry[] {
    const database = this.#table(table)
    // Keys first, then values: a value is copied once and at its size, where lmdb's own range copies large ones twice.
    return this.keys(table, range).map((key) => ({ key, value: copyValue(database, key) ?? noBytes }))
  }

  keys(table: Table, { from, to, limit, reverse = false }: KeyRange): Uint8Array[] {
    const database = this.#table(table)
    if (limit <= 0 || Buffer.compare(from, to) >= 0) return []
    return reverse
      ? [...database.getKeys({ start: to, end: from, limit, reverse, exclusiveStart: true, inclusiveEnd: true })]
      : [...database.getKeys({ start: from, end: to, limit })]
  }

  batch(): WriteBatch {
    return new WriteList()
  }

  commit(batch: WriteBatch): Promise<void> {
    return this.#line.commit(writesOf(batch))
  }

  get diskFreeBytes(): number {
    return this.#disk.freeBytes
  }

  stats(): StorageStats {
    this.#open()
    return {
      bytes: fs.statSync(path.join(this.#directory, dataFile)).size,
      freeBytes: this.#freeBytes(),
      diskFreeBytes: this.#disk.freeBytes,
    }
  }

  backup(target: string): Promise<void> {
    return this.#alone(() => copyStore(this.#usable().root, path.resolve(target)))
  }

  compact(): Promise<{ before: number; after: number }> {
    return this.#alone(async () => {
      await this.#line.hold()
      try {
        return await compactStore(this.#usable().root, this.#directory, (file) => this.#replaceData(file))
      } finally {
        this.#line.release()
      }
    })
  }

  verify(): Promise<string[]> {
    return this.#alone(async () => {
      // A pinned snapshot keeps its pages from being reused, however long the check takes. Commits wait only until it is
      // taken, so that the file's newest meta page is the one it belongs to.
      await this.#line.hold()
      const check = new StoreCheck(path.join(this.#directory, dataFile), this.#runtime)
      try {
        check.start(this.#usable().root)
      } finally {
        this.#line.release()
      }
      return check.finish(() => this.#usable())
    })
  }

  onFailure(listener: (error: Error) => void): void {
    this.#line.onFailure(listener)
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#shutDown())
  }

  async #shutDown(): Promise<void> {
    this.#line.close()
    this.#upkeep.cancel()
    await this.#line.idle()
    await this.#longTask
    this.#line.dispose()
    // A thread may still be writing for a commit that is overdue, and lmdb's close would wait for it on this thread; after
    // a failed write lmdb's memory may be damaged. So it is left alone, and the ownership with it until the process ends:
    // a new owner and that thread must never write at once.
    if (!this.#line.sound) return
    await this.#environment.root.close()
    await this.#lock.release()
  }

  /** Runs in the transaction that opens the tables. */
  #begin({ tables, commits }: Environment): void {
    const stored = tables.meta.get(epochKey)
    if (stored !== undefined) this.#lock.raise(Number(Buffer.from(stored).readBigUInt64BE()) + 1)
    const epoch = Buffer.alloc(8)
    epoch.writeBigUInt64BE(BigInt(this.#lock.generation))
    tables.meta.putSync(epochKey, epoch)
    this.#sequence = (commits.getEntry(sequenceKey)?.version ?? 0) + 1
    commits.putSync(sequenceKey, noBytes, this.#sequence)
  }

  /**
   * Issues a batch in one synchronous stretch, which lmdb makes one transaction.
   *
   * Two transactions may be on their way, and the second must not be applied when the first failed: so each is
   * conditional on the number that the one before it stored, and resolves to false when it was skipped.
   */
  #write(writes: WriteList): Promise<boolean> {
    this.#keepRoom(writes)
    const { tables, commits } = this.#environment
    const expected = this.#sequence++
    const answer = commits.ifVersion(sequenceKey, expected, () => {
      for (let i = 0; i < writes.keys.length; i++) {
        const table = tables[writes.tables[i] as Table]
        const key = writes.keys[i] as Uint8Array
        const value = writes.values[i]
        if (value === undefined) void table.remove(key)
        else void table.put(key, value)
      }
      void commits.put(sequenceKey, noBytes, expected + 1)
    })
    this.#silence()
    return answer
  }

  /**
   * For each transaction lmdb makes a promise of its own, now for a large batch and at the end of the turn for a small
   * one. Nobody gets it, and when the transaction fails its rejection would end the process as an unhandled one.
   */
  #silence(): void {
    const silence = (): void => void this.#environment.root.committed.then(ignore, ignore)
    silence()
    if (this.#silencing) return
    this.#silencing = true
    this.#runtime.later('commit issued', () => {
      this.#silencing = false
      silence()
    })
  }

  /** What pages cost at worst: the batch, and a copied page for each of its first writes. */
  #keepRoom(writes: WriteList): void {
    const bytes = Math.ceil(writes.bytes * 1.25) + (Math.min(writes.size, 256) + 16) * 4_096
    if (this.#disk.freeBytes - bytes < this.#minFreeBytes) {
      const room = this.#disk.look() + this.#freeBytes()
      if (room - bytes < this.#minFreeBytes) throw noRoom(room, this.#minFreeBytes + bytes)
    }
    this.#disk.spend(bytes)
  }

  /** Bytes of pages that no tree uses. */
  #freeBytes(): number {
    const { root, tables, commits } = this.#environment
    const whole = root.getStats() as unknown as EnvironmentStats
    const trees = [whole.root, whole.free, ...Object.values(tables).map(statsOf), statsOf(commits)]
    const used = trees.reduce((pages, tree) => pages + pagesOf(tree), 2)
    return Math.max(0, whole.lastPageNumber + 1 - used) * whole.root.pageSize
  }

  /** Swaps the file under the open environment: readers go on with the old one until the new one is open. */
  #replaceData(file: string): void {
    try {
      installDataFile(file, this.#directory)
      // Its counters belong to the old data file.
      fs.rmSync(path.join(this.#directory, lockFile), { force: true })
      this.#environment = openEnvironment(this.#lmdb, this.#directory, () => {})
    } catch (error) {
      // Which file the name stands for is no longer sure, and only one of them may be written.
      this.#line.fail(error)
      throw error
    }
  }

  /** Copies and checks one after the other: a compaction replaces what the others read. */
  #alone<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#longTask.then(() => {
      this.#usable()
      return task()
    })
    this.#longTask = result.then(
      () => {},
      () => {},
    )
    return result
  }

  #armUpkeep(): Timer {
    const check = (): void => {
      if (this.#line.failure !== undefined) return
      if (!this.#lock.isHeld()) return this.#line.fail(new Error('someone removed the files of its owner lock'))
      this.#environment.root.readerCheck()
      this.#upkeep = this.#armUpkeep()
    }
    return this.#runtime.timer(upkeepMs, 'storage upkeep', check, { background: true })
  }

  #open(): Environment {
    if (this.#closing !== undefined) throw storeClosed(this.#directory)
    return this.#environment
  }

  /** Reads go on after a failure; nothing that takes long does. */
  #usable(): Environment {
    if (this.#line.failure !== undefined) throw this.#line.failure
    return this.#open()
  }

  #table(table: Table): BinaryDatabase {
    return this.#open().tables[table]
  }
}

function ignore(): void {}

function noRoom(room: number, needed: number): Error {
  return Object.assign(new Error(`${room} bytes are free, ${needed} are needed`), { code: 'ENOSPC' })
}

/** lmdb reads into one shared buffer, where `length` is what it read and not the buffer's size, or views the memory map. */
function copyValue(database: BinaryDatabase, key: Uint8Array): Uint8Array | undefined {
  const shared = database.getBinaryFast(key)
  if (shared === undefined) return undefined
  return copyOf(new Uint8Array(shared.buffer, shared.byteOffset, shared.length))
}

interface TreeStats {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

interface EnvironmentStats {
  readonly root: TreeStats
  readonly free: TreeStats
  readonly lastPageNumber: number
}

function statsOf(database: BinaryDatabase): TreeStats {
  return database.getStats() as unknown as TreeStats
}

function pagesOf(tree: TreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
}
