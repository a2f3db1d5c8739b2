import type { Codec } from '../codec.ts'
import type { Broker } from '../contracts/broker.ts'
import type { State, StateSpace } from '../contracts/state.ts'
import {
  checkKey,
  encodeState,
  SpaceReads,
  type StateRangeOptions,
  type StateReads,
  type StateReference,
} from '../dispatch/state-view.ts'
import { custom, resolveOptions } from '../options.ts'
import type { CodecName } from '../codec.ts'

/** Options of {@link MessageQueue.store}. */
export interface StoreOptions<V> {
  /** How values are stored; the same one has to be given each time. @defaultValue `'json'` */
  readonly codec?: CodecName | Codec<V>
}

/** What was not as expected, and so was not changed. */
export interface CompareOutcome<V> {
  /** Whether the value was what was expected, and has been set. */
  readonly done: boolean
  /** The value that stands now. */
  readonly value: V | undefined
}

/**
 * A small ordered key-value store in the same environment as the log: for an outbox, for accounts, for whatever has to
 * commit together with messages.
 *
 * Reads answer at once with the newest value, on disk or not. Writes settle when they are on disk. In a handler or a
 * transaction use their own `store`, so that reads and writes belong together.
 */
export class StateStore<V = unknown> implements StateReads<V>, StateReference<V> {
  readonly name: string
  readonly codec: Codec<V>
  readonly #broker: Broker
  readonly #state: State
  readonly #space: StateSpace
  readonly #reads: SpaceReads<V>
  readonly #assertOpen: () => void

  /** @internal */
  constructor(broker: Broker, state: State, space: StateSpace, codec: Codec<V>, assertOpen: () => void) {
    this.name = space.name
    this.codec = codec
    this.#broker = broker
    this.#state = state
    this.#space = space
    this.#reads = new SpaceReads(state, space, codec)
    this.#assertOpen = assertOpen
  }

  get(key: string): V | undefined {
    this.#assertOpen()
    return this.#reads.get(key)
  }

  range(options?: StateRangeOptions): { key: string; value: V }[] {
    this.#assertOpen()
    return this.#reads.range(options)
  }

  /**
   * Sets a value; settles when it is on disk. Calls take effect in their order, awaited or not.
   *
   * @throws `INVALID_OPTION` for a key that is empty, over 1,024 bytes or no text; `ENCODING_FAILED`, `MESSAGE_TOO_LARGE`
   * (nothing was changed); `CLOSED`; `STORE_FAILED` (unknown whether it was changed)
   */
  put(key: string, value: V): Promise<void> {
    return this.#write(key, () => encodeState(this.codec, value, key, this.#space))
  }

  /** Removes a key, there or not; settles when that is on disk. */
  delete(key: string): Promise<void> {
    return this.#write(key, () => undefined)
  }

  /**
   * Sets a value if the key has the one that is expected; `undefined` stands for no value, on either side. Values are
   * compared as they are stored.
   */
  async compareAndSet(key: string, expected: V | undefined, value: V | undefined): Promise<CompareOutcome<V>> {
    this.#assertOpen()
    const space = this.#space
    const stored = this.#state.get(space, checkKey(key, space))
    const wanted = expected === undefined ? undefined : encodeState(this.codec, expected, key, space)
    const isSame =
      stored === undefined || wanted === undefined ? stored === wanted : Buffer.compare(stored, wanted) === 0
    if (!isSame) return { done: false, value: this.#reads.get(key) }
    // Nothing has been awaited since the comparison: nobody came between.
    await this.#write(key, () => (value === undefined ? undefined : encodeState(this.codec, value, key, space)))
    return { done: true, value }
  }

  #write(key: string, encode: () => Uint8Array | undefined): Promise<void> {
    try {
      this.#assertOpen()
      const checked = checkKey(key, this.#space)
      const value = encode()
      const transaction = this.#state.begin()
      if (value === undefined) transaction.remove(this.#space, checked)
      else transaction.put(this.#space, checked, value)
      return this.#broker.transact({ outputs: [], parts: [transaction] }, [], { acks: 'flushed' }).then(() => {})
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }
}

/** @throws `INVALID_OPTION` */
export function resolveStoreOptions<V>(given: StoreOptions<V> | undefined): StoreOptions<V> {
  const fields = { codec: custom<never>("'json', 'bytes', 'msgpack' or a codec", () => true) }
  return resolveOptions<StoreOptions<V>>(given, fields, 'store')
}
