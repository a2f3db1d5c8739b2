import type { CommitPart } from '../contracts/commit-part.ts'
import type {
  CheckState,
  DuePrepared,
  NewPrepared,
  PreparedRef,
  PreparedUsage,
  StoredPrepared,
} from '../contracts/prepared.ts'
import { QueueError } from '../errors.ts'
import { stateSpaces } from '../key-layout.ts'
import * as rows from './prepared-rows.ts'
import type { StateTable } from './state-table.ts'

/** A prepared message with the partition that it was made for. */
export interface PreparedEntry extends StoredPrepared {
  readonly partition: number
}

/**
 * Rows of prepared messages: what they hold, which is written once, when each is asked about, and how many there are.
 *
 * Nothing is kept in memory but what waits for the disk. Invariant: every message has a row of its content, one of its
 * state, and one in the order in which they are due.
 */
export class PreparedTable {
  readonly #table: StateTable
  readonly #count: (bytes: number) => void

  /** `count` is told of bytes that the next commit writes. */
  constructor(table: StateTable, count: (bytes: number) => void) {
    this.#table = table
    this.#count = count
  }

  get(ref: PreparedRef): PreparedEntry | undefined {
    const state = this.#table.get(space, rows.preparedKey(ref, 'state'))
    const content = this.#table.get(space, rows.preparedKey(ref, 'content'))
    if (state === undefined || content === undefined) return undefined
    const { checks, dueAt } = rows.decodeState(state)
    const { key, headers, ...rest } = rows.decodeContent(content)
    return { ref, checks, dueAt, key, headers, ...rest }
  }

  /** The state comes first of the rows of a message, so the one that is asked for is found by it. */
  next(producer: string, after: PreparedRef | undefined): PreparedEntry | undefined {
    const { from, to } = rows.rangeOf(producer)
    const start = after === undefined ? from : behind(rows.preparedKey(after, 'content'))
    const [first] = this.#table.range(space, { from: start, to, limit: 1 })
    return first && this.get(rows.refIn(producer, first.key))
  }

  due(producer: string, after: DuePrepared | undefined, limit: number): DuePrepared[] {
    const { from, to } = rows.rangeOf(producer)
    const start = after === undefined ? from : behind(rows.dueKey(after))
    const page = this.#table.range(dueSpace, { from: start, to, limit })
    return page.map(({ key, value }) => rows.dueIn(producer, key, value))
  }

  lastDue(producer: string): DuePrepared | undefined {
    const [last] = this.#table.range(dueSpace, { ...rows.rangeOf(producer), limit: 1, reverse: true })
    return last && rows.dueIn(producer, last.key, last.value)
  }

  usage(producer: string): PreparedUsage {
    return rows.decodeUsage(this.#table.get(space, rows.usageKey(producer)))
  }

  /** A new message. @throws `PREPARED_FULL` */
  added(message: NewPrepared, format: rows.ContentFormat): CommitPart & { readonly bytes: number } {
    const { ref, dueAt, limits } = message
    // Encoded at once: the sender may change its bytes as soon as the call returned.
    const content = rows.encodeContent(message, format)
    const bytes = content.length
    const check = (): void => {
      const usage = this.usage(ref.producer)
      if (usage.count + 1 > limits.maxCount) throw full(ref.producer, 'maxPrepared', limits.maxCount, 'messages')
      if (usage.bytes + bytes > limits.maxBytes) throw full(ref.producer, 'maxPreparedBytes', limits.maxBytes, 'bytes')
    }
    const apply = (): void => {
      const state = { checks: 0, dueAt, bytes }
      this.#table.put(space, rows.preparedKey(ref, 'content'), content)
      this.#table.put(space, rows.preparedKey(ref, 'state'), rows.encodeState(state))
      this.#table.put(dueSpace, rows.dueKey({ ref, ...state }), rows.encodeDue(state))
      this.#use(ref.producer, 1, bytes)
      this.#count(bytes)
    }
    return { bytes, check, apply }
  }

  /** Somebody decided about a message. @throws `PREPARED_ENDED` */
  removed(ref: PreparedRef): CommitPart {
    const apply = (): void => {
      const state = this.#state(ref)
      this.#table.remove(space, rows.preparedKey(ref, 'content'))
      this.#table.remove(space, rows.preparedKey(ref, 'state'))
      this.#table.remove(dueSpace, rows.dueKey({ ref, ...state }))
      this.#use(ref.producer, -1, -state.bytes)
    }
    return { check: () => void this.#state(ref), apply }
  }

  /** A message is asked about, or again later. @throws `PREPARED_ENDED` */
  postponed(ref: PreparedRef, { checks, dueAt }: CheckState): CommitPart {
    const apply = (): void => {
      const before = this.#state(ref)
      const state = { checks, dueAt, bytes: before.bytes }
      this.#table.remove(dueSpace, rows.dueKey({ ref, ...before }))
      this.#table.put(dueSpace, rows.dueKey({ ref, ...state }), rows.encodeDue(state))
      this.#table.put(space, rows.preparedKey(ref, 'state'), rows.encodeState(state))
    }
    return { check: () => void this.#state(ref), apply }
  }

  #state(ref: PreparedRef): rows.StateRow {
    const row = this.#table.get(space, rows.preparedKey(ref, 'state'))
    if (row === undefined) throw preparedEnded(ref)
    return rows.decodeState(row)
  }

  #use(producer: string, count: number, bytes: number): void {
    const before = this.usage(producer)
    const usage = { count: before.count + count, bytes: before.bytes + bytes }
    if (usage.count === 0) this.#table.remove(space, rows.usageKey(producer))
    else this.#table.put(space, rows.usageKey(producer), rows.encodeUsage(usage))
  }
}

const space: number = stateSpaces.prepared
const dueSpace: number = stateSpaces.preparedDue

/** Somebody has decided about it already. */
export function preparedEnded(ref: PreparedRef): QueueError {
  const { producer, epoch, number } = ref
  const message = `message ${epoch}.${number} of producer ${producer} is not prepared any more: it was committed, rolled back or dead-lettered before`
  return new QueueError('PREPARED_ENDED', message, { producer, id: `${epoch}.${number}` })
}

function full(producer: string, option: string, limit: number, what: string): QueueError {
  const message = `producer ${producer} has ${limit} ${what} prepared (${option}): commit or roll some back, then prepare again`
  return new QueueError('PREPARED_FULL', message, { producer, option, allowed: `at most ${limit} ${what}` })
}

function behind(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)])
}
