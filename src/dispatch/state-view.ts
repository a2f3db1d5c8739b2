import { json, type Codec } from '../codec.ts'
import type { StateRange, StateReader, StateSpace, StateTransaction } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import { integer, invalid, resolveOptions, show } from '../options.ts'

/** Longest key of a store, in bytes of UTF-8: what a key of the storage holds. */
const maxKeyBytes = 1_024
/** Largest value of a store, in bytes. */
const maxValueBytes = 67_108_864
/** Entries of a range where no limit is given. */
const defaultLimit = 1_000

/** Which entries of a store to read; keys compare as their UTF-8 bytes do. */
export interface StateRangeOptions {
  /** First key, inclusive. @defaultValue the lowest */
  readonly from?: string
  /** End key, exclusive. @defaultValue behind the highest */
  readonly to?: string
  /**
   * At most this many entries.
   *
   * @defaultValue `1_000`
   * @remarks Range: 1 to 100_000.
   */
  readonly limit?: number
  /** Greatest key first. @defaultValue `false` */
  readonly reverse?: boolean
}

/** The entries of a store as they are now. */
export interface StateReads<V> {
  /** The value of a key; `undefined` when there is none. */
  get(key: string): V | undefined
  /** Entries in the order of their keys. Page through a large store: `from` is the last key and a zero byte. */
  range(options?: StateRangeOptions): { key: string; value: V }[]
}

/**
 * A store of state inside a handler or a transaction. Writes commit with it, or not at all; reads see them. When something
 * that was read has changed before the commit, the handler or the transaction runs again.
 */
export interface StateView<V> extends StateReads<V> {
  /** Sets a value. @throws `INVALID_OPTION`, `ENCODING_FAILED`, `MESSAGE_TOO_LARGE` */
  put(key: string, value: V): void
  /** Removes a key, there or not. */
  delete(key: string): void
}

/** Names a store and knows how its values are stored: what {@link MessageQueue.store} gives. */
export interface StateReference<V> {
  readonly name: string
  readonly codec: Codec<V>
}

/** Typed reads of one space. */
export class SpaceReads<V> implements StateReads<V> {
  readonly space: StateSpace
  readonly codec: Codec<V>
  readonly #reader: StateReader

  constructor(reader: StateReader, space: StateSpace, codec: Codec<V>) {
    this.#reader = reader
    this.space = space
    this.codec = codec
  }

  get(key: string): V | undefined {
    const value = this.#reader.get(this.space, checkKey(key, this.space))
    return value === undefined ? undefined : this.#decode(key, value)
  }

  range(options?: StateRangeOptions): { key: string; value: V }[] {
    const entries = this.#reader.range(this.space, resolveRange(options))
    return entries.map(({ key, value }) => ({ key, value: this.#decode(key, value) }))
  }

  #decode(key: string, value: Uint8Array): V {
    try {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      return this.codec.decode((this.codec.format === 'text' ? bytes.toString() : bytes) as never)
    } catch (cause) {
      const { name } = this.space
      const message = `the value of ${show(key)} in store ${name} is not ${this.codec.contentType}: ${String(cause)}`
      throw new QueueError('DECODING_FAILED', message, { store: name, key, cause })
    }
  }
}

/** Reads and writes of one space within a transaction. */
export class SpaceView<V> extends SpaceReads<V> implements StateView<V> {
  readonly #transaction: StateTransaction
  readonly #assertOpen: () => void

  /** `assertOpen` throws once the transaction is over. */
  constructor(transaction: StateTransaction, space: StateSpace, codec: Codec<V>, assertOpen: () => void) {
    super(transaction, space, codec)
    this.#transaction = transaction
    this.#assertOpen = assertOpen
  }

  override get(key: string): V | undefined {
    this.#assertOpen()
    return super.get(key)
  }

  override range(options?: StateRangeOptions): { key: string; value: V }[] {
    this.#assertOpen()
    return super.range(options)
  }

  put(key: string, value: V): void {
    this.#assertOpen()
    this.#transaction.put(this.space, checkKey(key, this.space), encodeState(this.codec, value, key, this.space))
  }

  delete(key: string): void {
    this.#assertOpen()
    this.#transaction.remove(this.space, checkKey(key, this.space))
  }
}

/** The bytes of a value; a copy, so that the caller may change what it gave. */
export function encodeState<V>(codec: Codec<V>, value: V, key: string, { name }: StateSpace): Uint8Array {
  let encoded: string | Uint8Array
  try {
    encoded = codec.encode(value)
  } catch (cause) {
    const message = `the value ${show(value)} of ${show(key)} cannot be kept in store ${name} as ${codec.contentType}: ${String(cause)}`
    throw new QueueError('ENCODING_FAILED', message, { store: name, key, value, cause })
  }
  const bytes = Buffer.from(encoded as string)
  if (bytes.length <= maxValueBytes) return bytes
  const allowed = `at most ${maxValueBytes} bytes`
  const message = `the value of ${show(key)} for store ${name} has ${bytes.length} bytes; allowed is ${allowed}`
  throw new QueueError('MESSAGE_TOO_LARGE', message, { store: name, key, value: bytes.length, allowed })
}

/** @throws `INVALID_OPTION` */
export function checkKey(key: unknown, { name }: StateSpace): string {
  const allowed = `text of 1 to ${maxKeyBytes} bytes without lone surrogates`
  if (typeof key !== 'string' || key === '' || !key.isWellFormed()) throw invalid(`store ${name}`, 'key', key, allowed)
  if (key.length * 3 > maxKeyBytes && Buffer.byteLength(key) > maxKeyBytes) {
    throw invalid(`store ${name}`, 'key', key, allowed)
  }
  return key
}

/** @throws `INVALID_OPTION` */
export function resolveRange(options: StateRangeOptions | undefined): StateRange {
  if (options === undefined) return { limit: defaultLimit }
  const text = {
    allowed: 'text without lone surrogates',
    accepts: (value: unknown): boolean => typeof value === 'string' && value.isWellFormed(),
    fallback: undefined,
    isRequired: false,
  }
  const reverse = { ...text, allowed: 'true or false', accepts: (value: unknown) => typeof value === 'boolean' }
  const fields = { from: text, to: text, limit: integer(1, 100_000, defaultLimit), reverse: reverse as never }
  return resolveOptions<StateRangeOptions>(options, fields, 'range') as StateRange
}

/** The codec of a store that is named without one. */
export const defaultStateCodec: Codec<unknown> = json
