import type { Table, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'

/** LMDB's limit at the default page size of 4 KB; every driver holds it, so that no key works in memory only. */
export const maxKeyBytes = 1978
/** LMDB holds the length of a value in 32 bits. */
export const maxValueBytes: number = 2 ** 32 - 1

/**
 * A batch as the drivers keep it: parallel arrays, no object per write.
 *
 * Everything that a driver could refuse is refused here, while the batch is built: a throw in the middle of a commit
 * would leave half a batch in the native write queue.
 */
export class WriteList implements WriteBatch {
  readonly tables: Table[] = []
  readonly keys: Uint8Array[] = []
  /** `undefined` removes the key. */
  readonly values: (Uint8Array | undefined)[] = []

  #bytes = 0

  get size(): number {
    return this.keys.length
  }

  /** Bytes of all keys and values that are put. */
  get bytes(): number {
    return this.#bytes
  }

  put(table: Table, key: Uint8Array, value: Uint8Array): void {
    checkKey(key)
    if (!(value instanceof Uint8Array) || value.byteLength > maxValueBytes) {
      throw new QueueError('INTERNAL', `a stored value must be a Uint8Array of at most ${maxValueBytes} bytes`)
    }
    this.#add(table, key, value)
  }

  remove(table: Table, key: Uint8Array): void {
    checkKey(key)
    this.#add(table, key, undefined)
  }

  #add(table: Table, key: Uint8Array, value: Uint8Array | undefined): void {
    this.tables.push(table)
    this.keys.push(key)
    this.values.push(value)
    if (value !== undefined) this.#bytes += key.byteLength + value.byteLength
  }
}

/** The list behind a batch. @throws `INTERNAL` when another store made it. */
export function writesOf(batch: WriteBatch): WriteList {
  if (batch instanceof WriteList) return batch
  throw new QueueError('INTERNAL', 'commit() takes a batch made by batch() of the same store')
}

function checkKey(key: Uint8Array): void {
  if (key instanceof Uint8Array && key.byteLength > 0 && key.byteLength <= maxKeyBytes) return
  throw new QueueError('INTERNAL', `a stored key must be a Uint8Array of 1 to ${maxKeyBytes} bytes`)
}
