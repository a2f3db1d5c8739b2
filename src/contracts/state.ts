import type { CommitPart } from './commit-part.ts'

/** A named store of the user's own state, in the same environment as the log. */
export interface StateSpace {
  readonly name: string
  /** Number of the store, never used twice. */
  readonly id: number
}

/** A key with its value. Keys are UTF-8 and compare as their bytes do. */
export interface StateEntry {
  readonly key: string
  readonly value: Uint8Array
}

/** Which keys to read. */
export interface StateRange {
  /** First key, inclusive. @defaultValue the lowest */
  readonly from?: string | undefined
  /** End key, exclusive. @defaultValue behind the highest */
  readonly to?: string | undefined
  /** At most this many entries. */
  readonly limit: number
  /** Greatest key first. @defaultValue `false` */
  readonly reverse?: boolean | undefined
}

/** Reads of state. What was written shows at once, before it is on disk. */
export interface StateReader {
  get(space: StateSpace, key: string): Uint8Array | undefined
  range(space: StateSpace, range: StateRange): StateEntry[]
}

/**
 * Reads and writes of state that take effect together with other parts of a commit.
 *
 * Writes are collected, reads see them. When it is to take effect, nothing that it read may have changed since
 * (`CONFLICT`); so what takes effect is as if it had run alone.
 */
export interface StateTransaction extends StateReader, CommitPart {
  put(space: StateSpace, key: string, value: Uint8Array): void
  remove(space: StateSpace, key: string): void
  end(): void
}

/** Something that changes often, and puts into rows what it is when a commit is made. */
export interface RowSource {
  /** Writes what changed since the last call, by {@link State.write}; never throws. */
  writeRows(): void
}

/** The user's own state beside the log: committed with what a handler or a transaction decided. */
export interface State extends StateReader {
  /** Rises with every opening of the store. */
  readonly epoch: number
  /** The store of that name; a new one is stored with the next commit. */
  space(name: string): StateSpace
  /** Every store that has a name. */
  spaces(): readonly StateSpace[]
  begin(): StateTransaction
  /**
   * Writes at once, without a transaction, into the next commit; `undefined` removes. For a part of a commit while it is
   * applied.
   */
  write(space: StateSpace, key: string, value: Uint8Array | undefined): void
  /** Has a source write its rows into the next commit, with everything else that this stretch changes. */
  mark(source: RowSource): void
}
