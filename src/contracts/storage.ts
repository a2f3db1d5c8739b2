/**
 * The ordered key spaces of a store. Keys of one table compare as unsigned bytes; tables are independent of each other
 * but commit together.
 *
 * - `meta`: the format record, topics and groups (small, read whole at open)
 * - `log`: record batches
 * - `progress`: what each group has finished
 * - `state`: rows of the user's stores, and of what the engine keeps beside the log
 */
export const tables = ['meta', 'log', 'progress', 'state'] as const
/** The name of a table, see {@link tables}. */
export type Table = (typeof tables)[number]

/** Writes that take effect together or not at all, in the order they were added (the last one on a key wins). */
export interface WriteBatch {
  /** Sets a key. */
  put(table: Table, key: Uint8Array, value: Uint8Array): void
  /** Removes a key, there or not. */
  remove(table: Table, key: Uint8Array): void
  /** How many writes were added. */
  readonly size: number
}

/** A key with its value. */
export interface StorageEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** A page of keys. */
export interface KeyRange {
  /** First key, inclusive. */
  readonly from: Uint8Array
  /** End key, exclusive. */
  readonly to: Uint8Array
  /** At most this many entries; a page, so that no read outlives the call. */
  readonly limit: number
  /** Greatest key first. @defaultValue `false` */
  readonly reverse?: boolean
}

/** How much room a store takes. */
export interface StorageStats {
  /** Bytes that the store occupies (for LMDB the size of the data file, which does not shrink by itself). */
  readonly bytes: number
  /** Bytes inside the store that the next writes reuse. */
  readonly freeBytes: number
  /** Bytes that the file system still has for this user; `Infinity` in memory. */
  readonly diskFreeBytes: number
}

/**
 * What the log needs from an ordered transactional store with one owner.
 *
 * Reads are synchronous, return copies that the caller owns, and see what has been committed (for a commit still under
 * way: either all of it or nothing). One suite, `storageSuite`, holds for every implementation.
 */
export interface Storage {
  readonly kind: 'memory' | 'lmdb'
  /** Whether a settled commit survives power loss. */
  readonly durable: boolean
  /** Raised at every opening, never reused: ids and fences built on it can't come back. */
  readonly epoch: number
  /** The value of a key; undefined when there is none. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined
  /** One page of entries in key order. */
  range(table: Table, range: KeyRange): StorageEntry[]
  /** As {@link Storage.range}, keys only. */
  keys(table: Table, range: KeyRange): Uint8Array[]
  /** An empty batch for {@link Storage.commit}. Keys and values are read when the commit is made and must not change before it settles. */
  batch(): WriteBatch
  /**
   * Makes a batch durable. Commits take effect in the order of the calls; the promise settles when the batch is flushed.
   *
   * @throws `STORE_FAILED` when it could not be made durable; from then on every commit fails at once (fail-stop).
   */
  commit(batch: WriteBatch): Promise<void>
  /** How much room the store takes now. */
  stats(): StorageStats
  /** As in {@link StorageStats}, but cheap enough to be asked before a send. */
  readonly diskFreeBytes: number
  /**
   * Writes a consistent copy of the live store into `path`, a directory that is absent or empty.
   *
   * @throws `UNSUPPORTED` in memory.
   */
  backup(path: string): Promise<void>
  /** Rewrites the store without its free space; commits wait meanwhile. Resolves to the size before and after, in bytes. */
  compact(): Promise<{ before: number; after: number }>
  /** Walks the whole store below the level of records and returns a line for each damage found; in slices that yield to the event loop. */
  verify(): Promise<string[]>
  /** Called once when the store stops itself (see {@link Storage.commit}) or loses its ownership. */
  onFailure(listener: (error: Error) => void): void
  /** Waits for commits under way, then releases everything. Idempotent. */
  close(): Promise<void>
}

/** Something that has writes for the next commit of the log. */
export interface Contributor {
  /** Adds the writes; called once for each {@link CommitQueue.mark}. May mark itself again when more is left. */
  contribute(writes: WriteBatch): void
  /** The commit that took the writes is flushed. */
  flushed?(): void
}

/** Where the parts of an engine meet to be committed together. */
export interface CommitQueue {
  /** Asks for `contributor` to be part of the next commit. */
  mark(contributor: Contributor): void
  /** Calls one of the functions when the next commit is over; `value` is what `resolve` gets. */
  wait<T>(resolve: (value: T) => void, reject: (error: Error) => void, value: T): void
}
