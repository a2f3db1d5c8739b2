import type { Storage, StorageEntry, Table } from '../../contracts/storage.ts'
import { realRuntime } from '../../runtime/real-runtime.ts'
import type { CaseTemplate } from './conformance.ts'

/**
 * What a store may be able to do beyond the contract.
 *
 * - `durable`: what was committed is there after {@link StorageUnderTest.reopen}, and survives power loss
 * - `crash`: {@link StorageUnderTest.crash} works
 * - `backup`: `storage.backup` works, and {@link StorageUnderTest.backup} is there
 * - `diskGuard`: the store lies on a disk and knows how much space is left there
 */
export type StorageFeature = 'durable' | 'crash' | 'backup' | 'diskGuard'

/** All of them, to notice one that is misspelt. */
export const storageFeatures: readonly StorageFeature[] = ['durable', 'crash', 'backup', 'diskGuard']

/** A store under test and what belongs to it. */
export interface StorageUnderTest {
  readonly storage: Storage
  /** Closes the store and opens what it kept. Called of a `durable` one only. */
  reopen(): Promise<Storage>
  /** Cuts the power under the latest opening and opens what is left; needed for `crash`. */
  crash?(): Promise<Storage>
  /** Where a copy may go, and how it is opened; needed for `backup`. */
  readonly backup?: BackupUnderTest
  /** Releases everything. */
  dispose(): Promise<void>
}

/** Where the copies of a store under test go. */
export interface BackupUnderTest {
  /** A path where nothing is yet. */
  path(): string
  /** Opens the copy that lies there. */
  open(path: string): Promise<Storage>
}

/** One case of the suite. */
export type StorageCase = CaseTemplate<StorageUnderTest, StorageFeature>

export const bytes = (text: string): Uint8Array => Buffer.from(text)

export const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString()

export const show = (entries: StorageEntry[]): string =>
  entries.map(({ key, value }) => `${text(key)}=${text(value)}`).join(' ')

/** The range of every key that the cases use. */
export const everything: { from: Uint8Array; to: Uint8Array; limit: number } = {
  from: bytes('\0'),
  to: bytes('\xff'),
  limit: 1_000_000,
}

export function write(storage: Storage, entries: Record<string, string>, table: Table = 'log'): Promise<void> {
  const batch = storage.batch()
  for (const [key, value] of Object.entries(entries)) batch.put(table, bytes(key), bytes(value))
  return storage.commit(batch)
}

export function numbered(i: number): Uint8Array {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(i, 4)
  key[0] = 1
  return key
}

/** A turn of the real event loop, since a commit needs the system to answer. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => realRuntime.later('turn', resolve))
}

/** A promise that a case awaits later, or not at all when it fails before: its rejection must not end the process. */
export function awaitedLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
