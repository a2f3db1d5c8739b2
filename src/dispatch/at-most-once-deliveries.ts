import type { RecordBatch } from '../contracts/broker.ts'
import { isQueueError, type ExhaustedReason, type QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Acknowledgement } from './acknowledgement.ts'
import { leftRunning, type DeliveredEntry, type LeftRunning } from './delivered-entry.ts'
import type { Deliveries, DeliveryHost } from './deliveries.ts'
import type { HandlerContext } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { Settler } from './settler.ts'
import { SingleDeliveries } from './single-deliveries.ts'

/** What handing out at most once needs of the loop around it, beside what handing out does. */
export interface AtMostOnceHost {
  readonly runtime: Runtime
  readonly settler: Settler
  /** The handler of a message is done. */
  readonly handled: () => void
  /** The handler of a message that is finished failed, or was not called: all that is left is to tell of it. */
  readonly dropped: (place: LeftRunning, attempt: number, error: unknown, reason: ExhaustedReason) => void
}

/** A message whose acknowledgement is on its way to the disk. */
interface Waiting extends DeliveredEntry {
  readonly lane: Lane
  readonly batch: RecordBatch
  readonly index: number
  readonly laneKey: string | undefined
}

/**
 * Finishes each message first and calls its handler once that is on disk, so that no crash and no other owner hands it out
 * again. At most as many as run at once are finished and not called.
 */
export class AtMostOnceDeliveries implements Deliveries {
  readonly gathered = 0
  readonly gathering = undefined
  readonly #host: DeliveryHost
  readonly #own: AtMostOnceHost
  readonly #inner: SingleDeliveries
  #waiting = 0
  #isSettling = false
  /** Set when nothing is to be called any more. */
  #aborted: QueueError | undefined

  constructor(host: DeliveryHost, own: AtMostOnceHost) {
    this.#host = host
    this.#own = own
    const handler = host.handler as (message: Message<unknown>, context: HandlerContext) => unknown
    this.#inner = new SingleDeliveries({
      ...host,
      handler: (message: Message<unknown>, context: HandlerContext) => {
        context.call.isAcknowledged = true
        return handler(message, context)
      },
      isAtMostOnce: true,
      finish: own.handled,
      fail: (_lane, entry, error, isUnread) => {
        own.dropped(leftRunning(entry), entry.attempt, error, isUnread ? unreadReason(error) : 'attempts')
      },
    })
  }

  get running(): number {
    return this.#inner.running + this.#waiting
  }

  start(
    lane: Lane | undefined,
    intake: PartitionIntake,
    batch: RecordBatch,
    index: number,
    laneKey: string | undefined,
    attempt: number,
  ): void {
    const { lanes, isByKey } = this.#host
    const { settler } = this.#own
    const offset = batch.offsetAt(index)
    const key = isByKey ? laneKey : batch.keyAt(index)
    const busy = lane ?? lanes.open(laneKey, intake.lanes)
    busy.isBusy = true
    intake.running++
    this.#waiting++
    intake.finish(offset, offset + 1)
    settler.unsettled++
    const waiting: Waiting = { lane: busy, intake, batch, index, offset, laneKey, key, attempt }
    const settled = (): void => this.#settled(waiting)
    // Its next owner hands it out, or the next life.
    const refused = (): void => this.#end(waiting)
    settler.acknowledge(intake, new Acknowledgement(true, settled, refused))
    this.#settleSoon()
  }

  flush(): void {}

  push(): void {}

  release(): void {}

  drop(): void {}

  abort(reason: QueueError): LeftRunning[] {
    this.#aborted ??= reason
    return this.#inner.abort(reason)
  }

  cancel(matches: (entry: DeliveredEntry) => boolean, reason: QueueError): number {
    return this.#inner.cancel(matches, reason)
  }

  /** Settles what began in this turn, without waiting for more: what waits here holds up its handlers. */
  #settleSoon(): void {
    if (this.#isSettling) return
    this.#isSettling = true
    this.#own.runtime.soon('acknowledge', () => {
      this.#isSettling = false
      this.#own.settler.settle()
    })
  }

  #settled(waiting: Waiting): void {
    const { lane, intake, batch, index, laneKey, attempt } = waiting
    if (this.#aborted !== undefined) {
      this.#own.dropped(leftRunning(waiting), attempt, this.#aborted, 'attempts')
      return this.#end(waiting)
    }
    this.#free(waiting)
    this.#inner.start(lane, intake, batch, index, laneKey, attempt)
    if (this.#waiting > 0) this.#settleSoon()
    // A handler that returned at once has ended without a word.
    this.#host.ended()
  }

  #end(waiting: Waiting): void {
    this.#free(waiting)
    if (!this.#host.isOver()) this.#host.lanes.refresh(waiting.lane)
    this.#host.ended()
  }

  #free({ lane, intake }: Waiting): void {
    this.#waiting--
    lane.isBusy = false
    intake.running--
  }
}

function unreadReason(error: unknown): ExhaustedReason {
  return isQueueError(error, 'VALIDATION_FAILED') ? 'invalid' : 'undecodable'
}
