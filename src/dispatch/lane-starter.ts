import type { DeadLettering } from './dead-lettering.ts'
import type { Deliveries } from './deliveries.ts'
import type { Intakes } from './intakes.ts'
import { indexOf, type KeyLanes, type Lane } from './key-lanes.ts'
import type { LogReader } from './log-reader.ts'
import type { PauseDesk } from './pause-desk.ts'
import type { Resumption } from './resumption.ts'
import type { Retries } from './retries.ts'

/** Those of the loop that know what comes next in a lane. */
export interface LaneStarterHost {
  readonly lanes: KeyLanes
  readonly intakes: Intakes
  readonly deliveries: Deliveries
  readonly reader: LogReader
  readonly retries: Retries
  readonly resumption: Resumption
  readonly pauses: PauseDesk
  readonly deadLettering: DeadLettering
}

/** Starts what a ready lane holds next: a failed message, one in memory, or one that has to be read again. */
export class LaneStarter {
  readonly #host: LaneStarterHost

  constructor(host: LaneStarterHost) {
    this.#host = host
  }

  /** Starts the next message of a lane that is ready; where arrays are gathered, as many as fit. */
  start(lane: Lane): void {
    const { deliveries } = this.#host
    do this.#startNext(lane)
    while (
      lane.gathering !== undefined &&
      lane.gathering === deliveries.gathering &&
      lane.blocked === 0 &&
      !lane.isEmpty
    )
  }

  #startNext(lane: Lane): void {
    const { lanes, intakes, deliveries, reader, retries, resumption, pauses, deadLettering } = this.#host
    const { retry } = lane
    const number = retry?.intake ?? (lane.count > 0 ? lanes.front(lane).source.intake : lane.deferred!.source)
    const intake = intakes.get(number)
    if (pauses.holds(lane, intake)) return
    if (resumption.takes(lane, intake)) return
    if (retry !== undefined) {
      const source = reader.load(lane, intake, retry.offset)
      if (source === undefined) return
      if (retry.letter !== undefined) return deadLettering.takeLoaded(lane, intake, source)
      retries.taken(lane)
      deliveries.start(lane, intake, source.batch, indexOf(source.batch, retry.offset), lane.key, retry.attempt)
    } else if (lane.count > 0) {
      const { source, index } = lanes.front(lane)
      lanes.shift(lane)
      deliveries.start(lane, intake, source.batch, index, lane.key, 1)
    } else {
      const { offset } = lane.deferred!
      const source = reader.load(lane, intake, offset)
      if (source === undefined) return
      lanes.shiftDeferred(lane)
      lanes.holdLoaded(lane, source, intake.remembered)
      deliveries.start(lane, intake, source.batch, indexOf(source.batch, offset), lane.key, 1)
    }
  }
}
