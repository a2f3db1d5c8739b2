import type { Deliveries } from './deliveries.ts'
import type { IntakeRing } from './intake-ring.ts'
import { blockedBy, type BatchSource, type KeyLanes, type Lane } from './key-lanes.ts'
import type { LogReader } from './log-reader.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { PauseDesk } from './pause-desk.ts'
import type { Retries } from './retries.ts'
import { laneKeyOf, wholePartition, type DispatcherSettings } from './settings.ts'

/** Those of the loop that know whether there is room for a message, and what becomes of it. */
export interface AdmissionHost {
  readonly settings: DispatcherSettings
  readonly ring: IntakeRing
  readonly lanes: KeyLanes
  readonly reader: LogReader
  readonly retries: Retries
  readonly pauses: PauseDesk
  readonly deliveries: Deliveries
}

/**
 * Takes messages in from the log: into the lane of their key while that is in use, else straight to the handler, without
 * being queued anywhere.
 */
export class Admission {
  readonly #host: AdmissionHost
  /** Since {@link Admission.begin} a message had no room to wait. */
  #isFull = false

  constructor(host: AdmissionHost) {
    this.#host = host
  }

  /** A run of the loop begins: there may be room again. */
  begin(): void {
    this.#isFull = false
  }

  /** Whether no more messages can be taken in: there are none, or what waits leaves no room. */
  get isOver(): boolean {
    const { lanes, retries, ring } = this.#host
    return ring.size === 0 || !lanes.hasRoom || this.#isFull || retries.isFull
  }

  /** Takes one message in; false when there is none, or no room. */
  takeIn(): boolean {
    const { lanes, reader, retries, ring, settings } = this.#host
    for (;;) {
      if (!lanes.hasRoom) return false
      const intake = retries.isFull ? undefined : ring.take()
      if (intake === undefined) return false
      if (settings.ordering === 'partition' && this.#isTaken(intake)) {
        // Its one lane is in use; it comes back when that is idle.
        ring.remove(intake)
        continue
      }
      if (!intake.atRecord()) {
        if (!reader.fetch(intake)) ring.remove(intake)
        if (!intake.atRecord()) continue
      }
      if (this.#admit(intake, intake.source!, intake.index)) {
        intake.index++
        return true
      }
      this.#isFull = true
      return false
    }
  }

  /** False when the message has to wait in the log, because its lane has no room. */
  #admit(intake: PartitionIntake, source: BatchSource, index: number): boolean {
    const { deliveries, lanes, pauses, settings } = this.#host
    const { batch } = source
    const { ordering } = settings
    // Keys are read only where they order.
    const key = ordering === 'key' ? batch.keyAt(index) : laneKeyOf(ordering, undefined)
    const lane = key === undefined || intake.lanes.size === 0 ? undefined : intake.lanes.get(key)
    if (lane === undefined) {
      if (key !== undefined && pauses.holdsKey(key)) {
        const held = lanes.open(key, intake.lanes)
        held.blocked |= blockedBy.pausedKey
        lanes.add(held, source, index)
      } else deliveries.start(undefined, intake, batch, index, key, 1)
    } else if (this.#isGathering(lane)) deliveries.start(lane, intake, batch, index, key, 1)
    else if (lanes.hasRoomIn(lane)) lanes.add(lane, source, index)
    else return false
    return true
  }

  /** Whether the one lane of a partition is in use and takes no more into the array that is being gathered. */
  #isTaken(intake: PartitionIntake): boolean {
    const lane = intake.lanes.get(wholePartition)
    return lane !== undefined && !this.#isGathering(lane)
  }

  /** Whether the array that is being gathered may take one more message of this lane. */
  #isGathering(lane: Lane): boolean {
    if (lane.gathering === undefined || lane.gathering !== this.#host.deliveries.gathering) return false
    return lane.blocked === 0 && lane.isEmpty
  }
}
