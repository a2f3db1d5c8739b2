import type { FetchResult } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { blockedBy, type BatchSource, type KeyLanes, type Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { Retries } from './retries.ts'
import type { Settler } from './settler.ts'

/** What reading needs of the loop around it. */
export interface ReaderHost {
  readonly lanes: KeyLanes
  readonly retries: Retries
  readonly settler: Settler
  /** A partition has something to read again. */
  readonly arrived: (intake: PartitionIntake) => void
  /** An answer came later: the loop should look again. */
  readonly moved: () => void
  /** Reading is not possible any more. */
  readonly lost: (error: QueueError) => void
}

/** Reads batches for the intake, and single messages of which only the offset was kept; knows what to do about gaps. */
export class LogReader {
  readonly #group: string
  readonly #onGap: 'error' | 'skip'
  readonly #events: EventHub
  readonly #host: ReaderHost

  constructor(group: string, onGap: 'error' | 'skip', events: EventHub, host: ReaderHost) {
    this.#group = group
    this.#onGap = onGap
    this.#events = events
    this.#host = host
  }

  /** Asks the broker for the next batch of a partition; true when it is there. */
  fetch(intake: PartitionIntake): boolean {
    if (intake.isFetching) return false
    try {
      const answer = intake.fetch()
      if (!(answer instanceof Promise)) return this.#fetched(intake, answer)
      intake.isFetching = true
      answer.then(
        (result) => {
          intake.isFetching = false
          if (!intake.isEnded && this.#fetched(intake, result)) this.#host.arrived(intake)
          this.#host.moved()
        },
        (error: unknown) => {
          intake.isFetching = false
          if (!intake.isEnded) this.#host.lost(asQueueError(error))
        },
      )
    } catch (error) {
      this.#host.lost(asQueueError(error))
    }
    return false
  }

  /** Reads the message at `offset` again; undefined when it is not there (yet). */
  load(lane: Lane, intake: PartitionIntake, offset: number): BatchSource | undefined {
    const { loaded } = intake
    if (loaded && offset >= loaded.batch.baseOffset && offset < loaded.batch.nextOffset) return loaded
    try {
      const { topic, partition } = intake.assignment
      const answer = topic.fetch(partition, offset)
      if (!(answer instanceof Promise)) return this.#loaded(lane, intake, offset, answer)
      lane.blocked |= blockedBy.loading
      answer.then(
        (result) => {
          // The partition may have gone meanwhile; the lane is free for other messages all the same.
          if (!intake.isEnded) this.#loaded(lane, intake, offset, result)
          lane.blocked &= ~blockedBy.loading
          this.#host.lanes.refresh(lane)
          this.#host.moved()
        },
        (error: unknown) => {
          if (!intake.isEnded) return this.#host.lost(asQueueError(error))
          lane.blocked &= ~blockedBy.loading
          this.#host.lanes.refresh(lane)
        },
      )
    } catch (error) {
      this.#host.lost(asQueueError(error))
    }
    return undefined
  }

  #fetched(intake: PartitionIntake, result: FetchResult): boolean {
    if (result.kind !== 'gap') return intake.take(result)
    const goesOn = this.#gap(intake, intake.offset, result.start)
    intake.skipTo(result.start)
    return goesOn && this.fetch(intake)
  }

  #loaded(lane: Lane, intake: PartitionIntake, offset: number, result: FetchResult): BatchSource | undefined {
    if (result.kind === 'records') return (intake.loaded = { intake: intake.number, batch: result.batch, pins: 0 })
    // Retention took it while it waited.
    if (!this.#gap(intake, offset, offset + 1)) return undefined
    if (lane.retry?.offset === offset) this.#host.retries.taken(lane)
    else this.#host.lanes.shiftDeferred(lane)
    this.#host.lanes.refresh(lane)
    return undefined
  }

  /** Retention removed [from, to): tells how much of it was unfinished, then goes on (true) or stops, as chosen. */
  #gap(intake: PartitionIntake, from: number, to: number): boolean {
    const { topic, partition, finished } = intake.assignment
    const count = to - from - finished.countIn(from, to)
    if (count > 0) {
      const facts = { group: this.#group, topic: topic.name, partition, from, to, count }
      this.#events.emit('group:gap', facts)
      if (this.#onGap === 'error') {
        const what = `${count} messages of ${topic.name}/${partition} in [${from}, ${to}) were removed before group ${this.#group} finished them`
        this.#host.lost(new QueueError('GAP', `${what}: seek, or subscribe with onGap 'skip'`, facts))
        return false
      }
    }
    intake.finish(from, to)
    this.#host.settler.unsettled++
    return true
  }
}

function asQueueError(error: unknown): QueueError {
  if (error instanceof QueueError) return error
  return new QueueError('INTERNAL', `reading the log failed: ${String(error)}`, { cause: error })
}
