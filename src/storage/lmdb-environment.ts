import type { Database, RootDatabase } from 'lmdb'
import { type Table, tables } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'

/** The native library, loaded by {@link loadLmdb} only, so that users of memory storage never load it. */
export type Lmdb = Pick<typeof import('lmdb'), 'open'>
export type BinaryDatabase = Database<Uint8Array, Uint8Array>

/**
 * What decides whether the bytes on disk survive; recorded in the store, and another set is refused at open.
 *
 * Why each is as it is: `docs/decisions/0003-lmdb-options-and-fail-stop.md`.
 */
export const durabilityOptions: Readonly<Record<string, boolean>> = Object.freeze({
  overlappingSync: false,
  noSync: false,
  noMetaSync: false,
  useWritemap: false,
  compression: false,
})

/** An open LMDB environment with all its tables. */
export interface Environment {
  readonly root: RootDatabase<Uint8Array, Uint8Array>
  readonly tables: Readonly<Record<Table, BinaryDatabase>>
  /** Counts the commits: each is conditional on the one before, see `lmdb-storage.ts`. */
  readonly commits: BinaryDatabase
}

/** @throws `UNSUPPORTED` when the native binding is not there. */
export async function loadLmdb(): Promise<Lmdb> {
  try {
    return await import('lmdb')
  } catch (cause) {
    throw new QueueError(
      'UNSUPPORTED',
      'the native part of lmdb could not be loaded: this platform has no prebuilt binary, or the package was installed ' +
        'without optional dependencies',
      { cause },
    )
  }
}

/**
 * Opens `directory`, runs `setUp` in the same synchronous transaction that opens the tables, and commits it.
 *
 * The synchronous transaction is allowed here only, before any commit is under way: it would cut an asynchronous one in
 * two.
 */
export function openEnvironment(lmdb: Lmdb, directory: string, setUp: (environment: Environment) => void): Environment {
  const root = lmdb.open<Uint8Array, Uint8Array>({
    path: directory,
    noSubdir: false,
    maxDbs: 16,
    maxReaders: 256,
    encoding: 'binary',
    keyEncoding: 'binary',
    cache: false,
    ...durabilityOptions,
  })
  try {
    return root.transactionSync(() => {
      const open = (name: string): BinaryDatabase =>
        root.openDB<Uint8Array, Uint8Array>({ name, encoding: 'binary', keyEncoding: 'binary' })
      const environment = {
        root,
        tables: Object.fromEntries(tables.map((name) => [name, open(name)])) as Record<Table, BinaryDatabase>,
        commits: root.openDB<Uint8Array, Uint8Array>({
          name: 'commits',
          encoding: 'binary',
          keyEncoding: 'binary',
          useVersions: true,
        }),
      }
      setUp(environment)
      return environment
    })
  } catch (error) {
    void root.close()
    throw error
  }
}
