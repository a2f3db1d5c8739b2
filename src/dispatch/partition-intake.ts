import type { Codec } from '../codec.ts'
import type { Assignment, BrokerTopic, FailedState, FetchResult, RecordBatch } from '../contracts/broker.ts'
import type { BatchSource, Lane } from './key-lanes.ts'

/** A topic as a subscription consumes it. */
export interface ConsumedTopic {
  readonly topic: BrokerTopic
  readonly codec: Codec<unknown>
  /** Checks a decoded value before it is handed out; throws `VALIDATION_FAILED`. */
  readonly check: ((value: unknown) => void) | undefined
}

/** On whose behalf partitions are read. */
export interface IntakeReader {
  readonly group: string
  /** Called when a message is finished without having been handed out: it is for another group. */
  readonly passed: () => void
}

/**
 * One assigned partition: where reading has got to, and what was finished since the last settlement.
 *
 * It lives from grant to revoke; a later grant of the same partition is another intake, so nothing stale can be mixed in.
 */
export class PartitionIntake {
  readonly assignment: Assignment
  readonly consumed: ConsumedTopic
  /** Number of the intake within its dispatcher. */
  readonly number: number
  /** Lanes that this partition's messages belong to: those of its topic, or its own with `ordering: 'partition'`. */
  readonly lanes: Map<string, Lane>
  /** The batch being read, and the next record in it. */
  source: BatchSource | undefined
  index = 0
  /** Messages being handled. */
  running = 0
  /** Finished offsets since the last settlement, as pairs: first, end (exclusive). */
  finished: number[] = []
  /** Messages that failed since the last settlement, or are marked; with 0 attempts, those that begin anew. */
  failed: Map<number, FailedState> = new Map()
  /** What failed before the partition was granted and waits behind something else in its lane. */
  readonly remembered: Map<number, FailedState> = new Map()
  /** Messages that ended the process before: each of their attempts runs alone. */
  readonly suspects: Set<number> = new Set()
  /** Offsets that are in their lanes without having been read. */
  readonly #resumed = new Set<number>()
  /** Whether it is in the ring of partitions that may have something to read. */
  isReadable = false
  isPaused = false
  /** Revoked or lost: nothing more is read, nothing more is handed out. */
  isEnded = false
  /** Lanes that hold a message of this partition back while it is paused. */
  held: Lane[] = []
  /** A fetch that has not answered yet. */
  isFetching = false
  /** Somebody else has it by now: what was finished here does not count. */
  isFenced = false
  stopWatching: () => void = () => {}
  /** The batch that waiting messages were loaded from last. */
  loaded: BatchSource | undefined
  /** The group that reads. */
  readonly #group: string
  /** Told of each message that was finished unseen. */
  readonly #passed: () => void
  #offset: number
  /** Above this nothing was finished when the partition was granted, so there is nothing to skip. */
  readonly #ceiling: number

  constructor(
    number: number,
    assignment: Assignment,
    consumed: ConsumedTopic,
    lanes: Map<string, Lane>,
    reader: IntakeReader,
  ) {
    this.#group = reader.group
    this.#passed = reader.passed
    this.number = number
    this.assignment = assignment
    this.consumed = consumed
    this.lanes = lanes
    this.#offset = assignment.finished.position
    this.#ceiling = assignment.finished.ceiling
    for (const offset of assignment.failed.keys()) this.#resumed.add(offset)
  }

  /** The next offset to read. */
  get offset(): number {
    return this.source === undefined ? this.#offset : this.source.batch.offsetAt(this.index)
  }

  /** Whether `source` and `index` stand at a record to hand out; moves over what is finished already. */
  atRecord(): boolean {
    const { source } = this
    if (source === undefined) return false
    const { batch } = source
    while (this.index < batch.count) {
      const offset = batch.offsetAt(this.index)
      const isFinished = offset < this.#ceiling && this.assignment.finished.has(offset)
      if (!isFinished && !(this.#resumed.size > 0 && this.#resumed.delete(offset))) {
        if (!batch.hasHeaders || !this.#isForOthers(batch, this.index)) return true
        this.finish(offset, offset + 1)
        this.#passed()
      }
      this.index++
    }
    this.#offset = batch.nextOffset
    this.source = undefined
    return false
  }

  /** A message that was sent back to one group is nothing to the others. */
  #isForOthers(batch: RecordBatch, index: number): boolean {
    const addressee = batch.addresseeAt(index)
    return addressee !== undefined && addressee !== this.#group
  }

  fetch(): FetchResult | Promise<FetchResult> {
    return this.consumed.topic.fetch(this.assignment.partition, this.#offset)
  }

  /** Takes the answer of a fetch; false when there was nothing. */
  take(result: FetchResult): boolean {
    if (result.kind !== 'records') return false
    const found = result.batch.offsetAt(result.index)
    // Offsets that don't exist (compaction, transaction markers) have nobody to finish them.
    if (found > this.#offset) this.finish(this.#offset, found)
    this.source = { intake: this.number, batch: result.batch, pins: 0 }
    this.index = result.index
    return true
  }

  /** Goes on at `start`, after a gap. */
  skipTo(start: number): void {
    this.source = undefined
    this.#offset = start
  }

  finish(from: number, to: number): void {
    const ranges = this.finished
    const last = ranges.length - 1
    if (last > 0 && ranges[last] === from) ranges[last] = to
    else ranges.push(from, to)
  }
}
