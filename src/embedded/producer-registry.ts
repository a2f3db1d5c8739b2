import type { CommitPart } from '../contracts/commit-part.ts'
import type { Producers, ProducerSession, SequencedPlace, SequenceFinding } from '../contracts/producers.ts'
import { QueueError } from '../errors.ts'
import { stateSpaces } from '../key-layout.ts'
import type { SendResult } from '../message.ts'
import type { StateTable } from '../state/state-table.ts'
import { AcceptedSequences } from './accepted-sequences.ts'

/** What the registry needs of the broker around it. */
export interface ProducerHost {
  /** @throws `CLOSED`, `STORE_FAILED` */
  assertOpen(): void
  flush(): Promise<void>
  fenced(producer: string, epoch: number): void
}

/**
 * The named producers: one row each, with the epoch of its name and the last sequence. The row is written by the commit
 * that holds the message, so neither is ever there without the other.
 */
export class ProducerRegistry implements Producers {
  readonly #table: StateTable
  readonly #host: ProducerHost
  /** The newest session of each name that has an open one. */
  readonly #sessions = new Map<string, LocalSession>()

  constructor(table: StateTable, host: ProducerHost) {
    this.#table = table
    this.#host = host
  }

  async open(name: string): Promise<ProducerSession> {
    this.#host.assertOpen()
    const stored = this.#table.get(stateSpaces.producers, Buffer.from(name))
    const { epoch, last } = stored === undefined ? { epoch: 0, last: undefined } : decodeProducer(stored)
    const session = new LocalSession(this, name, epoch + 1, last)
    const older = this.#sessions.get(name)
    this.#sessions.set(name, session)
    this.save(session)
    if (older !== undefined) this.#host.fenced(name, older.epoch)
    await this.#host.flush()
    return session
  }

  /** @throws `FENCED`, `CLOSED` */
  assertNewest(session: LocalSession): void {
    const newest = this.#sessions.get(session.name)
    if (newest === session) return
    const { name: producer, epoch } = session
    if (newest === undefined) throw new QueueError('CLOSED', `producer ${producer} was closed`, { producer })
    throw new QueueError('FENCED', `producer ${producer} of epoch ${epoch} was opened again elsewhere: send there`, {
      producer,
    })
  }

  save({ name, epoch, last }: LocalSession): void {
    this.#table.put(stateSpaces.producers, Buffer.from(name), encodeProducer(epoch, last))
  }

  forget(session: LocalSession): void {
    if (this.#sessions.get(session.name) === session) this.#sessions.delete(session.name)
  }
}

class LocalSession implements ProducerSession {
  readonly name: string
  readonly epoch: number
  readonly #registry: ProducerRegistry
  readonly #accepted: AcceptedSequences

  constructor(registry: ProducerRegistry, name: string, epoch: number, last: SequencedPlace | undefined) {
    this.#registry = registry
    this.name = name
    this.epoch = epoch
    this.#accepted = new AcceptedSequences(last)
  }

  get last(): SequencedPlace | undefined {
    return this.#accepted.last
  }

  find(sequence: number): SequenceFinding {
    return this.#accepted.find(sequence)
  }

  part(sequence?: number): ProducerPart {
    return new ProducerPart(this.#registry, this, sequence)
  }

  accept(place: SequencedPlace): void {
    this.#accepted.add(place)
    this.#registry.save(this)
  }

  close(): void {
    this.#registry.forget(this)
  }
}

/** What a producer adds to each of its commits: that it still has its name, and how far it is. */
export class ProducerPart implements CommitPart {
  readonly session: LocalSession
  readonly sequence: number | undefined
  readonly #registry: ProducerRegistry

  constructor(registry: ProducerRegistry, session: LocalSession, sequence: number | undefined) {
    this.#registry = registry
    this.session = session
    this.sequence = sequence
  }

  check(): void {
    this.#registry.assertNewest(this.session)
  }

  apply(results: readonly SendResult[]): void {
    const [first] = results
    if (this.sequence === undefined || first === undefined) return
    const { partition, offset, timestamp } = first
    this.session.accept({ sequence: this.sequence, partition, offset, timestamp })
  }
}

/** Epoch, sequence (-1: none), partition, offset, timestamp, as doubles. */
const rowBytes = 40

function encodeProducer(epoch: number, last: SequencedPlace | undefined): Buffer {
  const row = Buffer.alloc(rowBytes)
  row.writeDoubleLE(epoch, 0)
  row.writeDoubleLE(last?.sequence ?? -1, 8)
  if (last === undefined) return row
  row.writeDoubleLE(last.partition, 16)
  row.writeDoubleLE(last.offset, 24)
  row.writeDoubleLE(last.timestamp, 32)
  return row
}

function decodeProducer(stored: Uint8Array): { epoch: number; last: SequencedPlace | undefined } {
  const row = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
  const epoch = row.readDoubleLE(0)
  const sequence = row.readDoubleLE(8)
  if (sequence < 0) return { epoch, last: undefined }
  const place = { partition: row.readDoubleLE(16), offset: row.readDoubleLE(24), timestamp: row.readDoubleLE(32) }
  return { epoch, last: { sequence, ...place } }
}
