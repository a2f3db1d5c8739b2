import type { FailedState } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import { blockedBy, type KeyLanes, type Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { PauseDesk } from './pause-desk.ts'
import type { Retries } from './retries.ts'

/** What resuming needs of the loop around it. */
export interface ResumptionHost {
  /** Whether an attempt counts that an earlier process did not outlive. */
  readonly isCounting: boolean
  /** Something has to be settled. */
  readonly noted: () => void
}

/**
 * What becomes of messages that failed before a partition was granted: in another life of the process, or with another
 * owner. Each waits on in its lane, which is there before anything is read, so that nothing of its key overtakes it.
 */
export class Resumption {
  readonly #host: ResumptionHost
  readonly #lanes: KeyLanes
  readonly #retries: Retries
  readonly #pauses: PauseDesk
  /** The key of the lane that messages of a key are in. */
  readonly #laneOf: (key: string | undefined) => string | undefined

  constructor(
    host: ResumptionHost,
    lanes: KeyLanes,
    retries: Retries,
    pauses: PauseDesk,
    laneOf: (key: string | undefined) => string | undefined,
  ) {
    this.#host = host
    this.#lanes = lanes
    this.#retries = retries
    this.#pauses = pauses
    this.#laneOf = laneOf
  }

  granted(intake: PartitionIntake): void {
    for (const [offset, state] of intake.assignment.failed) {
      const key = this.#laneOf(state.key)
      const lane = (key === undefined ? undefined : intake.lanes.get(key)) ?? this.#lanes.open(key, intake.lanes)
      if (key !== undefined && this.#pauses.holdsKey(key)) lane.blocked |= blockedBy.pausedKey
      if (lane.isEmpty && !lane.isBusy) this.#resume(lane, intake, offset, state)
      else {
        // A key may lie in two partitions, and be in use for the other one.
        intake.remembered.set(offset, state)
        this.#lanes.putBehind(lane, intake.number, offset)
      }
      this.#lanes.refresh(lane)
    }
  }

  /** Whether the next message of a lane is one that failed before: then its lane waits as it did. */
  takes(lane: Lane, intake: PartitionIntake): boolean {
    if (intake.remembered.size === 0 || lane.retry !== undefined || lane.count > 0) return false
    const { offset } = lane.deferred!
    const state = intake.remembered.get(offset)
    if (state === undefined) return false
    intake.remembered.delete(offset)
    this.#lanes.shiftDeferred(lane)
    this.#resume(lane, intake, offset, state)
    this.#lanes.refresh(lane)
    return true
  }

  #resume(lane: Lane, intake: PartitionIntake, offset: number, state: FailedState): void {
    const { mark, attempts, key, first } = state
    if (mark === undefined) return this.#retries.resume(lane, intake, offset, state)
    if (mark === 'cut-short' && this.#host.isCounting) {
      intake.suspects.add(offset)
      const entry = { intake, offset, key, attempt: attempts }
      return this.#retries.fail(lane, entry, processEnded(intake, offset, attempts))
    }
    // It was not the message that ended the life, or the tenure, in which it was marked.
    const before = { attempts: attempts - 1, dueAt: 0, key, first }
    intake.failed.set(offset, before)
    this.#host.noted()
    this.#retries.resume(lane, intake, offset, before)
  }
}

function processEnded(
  { assignment: { topic, partition } }: PartitionIntake,
  offset: number,
  attempt: number,
): QueueError {
  const text = `the process ended during attempt ${attempt} of offset ${offset} of ${topic.name}/${partition}, while nothing else ran`
  return new QueueError('PROCESS_ENDED', text, { topic: topic.name, partition, offset })
}
