import type { State, StateEntry, StateRange, StateSpace, StateTransaction } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import { mergePage, type KeyChange } from './merge.ts'
import { KeyTable } from './key-table.ts'
import type { StateLog } from './state-log.ts'

/** A key that the transaction read or wrote. */
interface Touched {
  readonly space: StateSpace
  readonly key: string
  /** The place in the sequence at which it was read; `undefined` when only written. */
  readonly readAt: number | undefined
  isWritten: boolean
  value: Uint8Array | undefined
}

/** A range as it was read: nothing in it may change. */
interface ReadRange {
  readonly space: StateSpace
  readonly from: Buffer
  /** Exclusive; `undefined` for the end of the space. */
  readonly to: Buffer | undefined
  readonly at: number
}

/** A transaction on the user's stores: reads are remembered, writes are kept until it takes effect. */
export class ReadWriteTransaction implements StateTransaction {
  readonly #state: State
  readonly #log: StateLog
  readonly #touched = new KeyTable<Touched>()
  readonly #ranges: ReadRange[] = []
  #isOpen = false

  constructor(state: State, log: StateLog) {
    this.#state = state
    this.#log = log
  }

  get(space: StateSpace, key: string): Uint8Array | undefined {
    const own = this.#touched.get(space, key)
    if (own?.isWritten) return own.value
    if (own === undefined) this.#touched.add({ space, key, readAt: this.#now(), isWritten: false, value: undefined })
    return this.#state.get(space, key)
  }

  range(space: StateSpace, range: StateRange): StateEntry[] {
    const at = this.#now()
    const from = Buffer.from(range.from ?? '')
    const to = range.to === undefined ? undefined : Buffer.from(range.to)
    const own = this.#ownWrites(space)
    const page = this.#page(space, range, own)
    this.#ranges.push({ space, at, ...seenRange(from, to, page, range) })
    return page
  }

  put(space: StateSpace, key: string, value: Uint8Array): void {
    this.#write(space, key, value)
  }

  remove(space: StateSpace, key: string): void {
    this.#write(space, key, undefined)
  }

  check(): void {
    for (const { space, key, readAt } of this.#touched.all) {
      if (readAt !== undefined && !this.#log.isSame(space.id, key, readAt)) throw conflict(space, key)
    }
    for (const { space, from, to, at } of this.#ranges) {
      const isWithin = (text: string): boolean => {
        const key = Buffer.from(text)
        return Buffer.compare(key, from) >= 0 && (to === undefined || Buffer.compare(key, to) < 0)
      }
      if (!this.#log.isSameIn(space.id, isWithin, at)) throw conflict(space, undefined)
    }
  }

  apply(): void {
    // What was read has been checked: nobody has to remember changes for this one, least of all its own.
    this.end()
    for (const { space, key, value, isWritten } of this.#touched.all) {
      if (isWritten) this.#state.write(space, key, value)
    }
  }

  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#log.close()
  }

  /** From the first read on, changes of others are remembered. */
  #now(): number {
    if (!this.#isOpen) this.#log.open()
    this.#isOpen = true
    return this.#log.now
  }

  #write(space: StateSpace, key: string, value: Uint8Array | undefined): void {
    const own = this.#touched.get(space, key)
    if (own === undefined) this.#touched.add({ space, key, readAt: undefined, isWritten: true, value })
    else {
      own.isWritten = true
      own.value = value
    }
  }

  #page(space: StateSpace, range: StateRange, own: readonly KeyChange[]): StateEntry[] {
    if (own.length === 0) return this.#state.range(space, range)
    const { from = '', to, limit, reverse = false } = range
    const read = (start: Uint8Array, end: Uint8Array, most: number) =>
      this.#state
        .range(space, {
          from: textOf(start),
          // The end of the space has no text; see below.
          to: end === endOfSpace ? undefined : textOf(end),
          limit: most,
          reverse,
        })
        .map(({ key, value }) => ({ key: Buffer.from(key), value }))
    const end = to === undefined ? endOfSpace : Buffer.from(to)
    const page = mergePage({ read, changes: own, from: Buffer.from(from), to: end, limit, reverse })
    return page.map(({ key, value }) => ({ key: textOf(key), value }))
  }

  #ownWrites(space: StateSpace): KeyChange[] {
    const own: KeyChange[] = []
    for (const one of this.#touched.all) {
      if (one.isWritten && one.space.id === space.id) own.push({ key: Buffer.from(one.key), value: one.value })
    }
    return own.sort((a, b) => Buffer.compare(a.key, b.key))
  }
}

/** Behind every key: no byte of UTF-8 is that high. */
const endOfSpace: Buffer = Buffer.of(0xff)

/** What a page says about its range: a full one says nothing of what lies behind its last entry. */
function seenRange(
  from: Buffer,
  to: Buffer | undefined,
  page: readonly StateEntry[],
  { limit, reverse }: StateRange,
): { from: Buffer; to: Buffer | undefined } {
  if (page.length < limit || page.length === 0) return { from, to }
  const last = Buffer.from(page[page.length - 1]!.key)
  return reverse ? { from: last, to } : { from, to: Buffer.concat([last, Buffer.of(0)]) }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString()
}

function conflict({ name }: StateSpace, key: string | undefined): QueueError {
  const what = key === undefined ? 'a range' : `key ${JSON.stringify(key)}`
  const message = `${what} of store ${name} was changed after it was read: run the transaction again`
  return new QueueError('CONFLICT', message, { store: name, ...(key === undefined ? {} : { key }) })
}
