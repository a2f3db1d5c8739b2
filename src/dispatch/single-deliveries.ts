import type { RecordBatch } from '../contracts/broker.ts'
import type { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import {
  isThenable,
  leftRunning,
  promised,
  readMessage,
  type DeliveredEntry,
  type Deliveries,
  type DeliveryHost,
  type LeftRunning,
} from './deliveries.ts'
import { CallContext, type HandedMessage, type HandlerContext } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** The first calls are all timed, of the later ones one in so many: a clock costs as much as the rest of a small call. */
const timedFirst = 1_000
const callsPerSample = 16
const untimed = -1

/**
 * Hands out one message a call.
 *
 * The hot path of the package: a synchronous handler costs no promise, no lane and no queue; one that takes time costs a
 * lane and a {@link Call} that is used again.
 */
export class SingleDeliveries implements Deliveries {
  running = 0
  readonly gathered = 0
  readonly gathering = undefined
  readonly #host: DeliveryHost
  readonly #handler: (message: Message<unknown>, context: HandlerContext) => unknown
  /** Calls that ever ran at once; those that are over wait in `#spare`. */
  readonly #calls: Call[] = []
  readonly #spare: Call[] = []
  #callCount = 0

  constructor(host: DeliveryHost) {
    this.#host = host
    this.#handler = host.handler as (message: Message<unknown>, context: HandlerContext) => unknown
  }

  start(
    lane: Lane | undefined,
    intake: PartitionIntake,
    batch: RecordBatch,
    index: number,
    laneKey: string | undefined,
    attempt: number,
  ): void {
    const host = this.#host
    const key = host.isByKey ? laneKey : batch.keyAt(index)
    const calls = ++this.#callCount
    const startedAt = calls <= timedFirst || calls % callsPerSample === 0 ? host.runtime.monotonic() : untimed
    let message: HandedMessage
    let result: unknown
    let waits: boolean
    const context = new CallContext(attempt, intake.assignment.fence)
    try {
      message = readMessage(intake, batch, index, key, attempt)
      result = this.#handler(message, context)
      waits = isThenable(result)
    } catch (error) {
      const failing = lane ?? host.lanes.open(laneKey, intake.lanes)
      host.fail(failing, { intake, offset: batch.offsetAt(index), key, attempt }, error)
      return host.lanes.refresh(failing)
    }
    if (waits) {
      const busy = lane ?? host.lanes.open(laneKey, intake.lanes)
      busy.isBusy = true
      intake.running++
      this.running++
      const call = this.#spare.pop() ?? this.#newCall()
      call.begin(context, busy, intake, message.offset, key, startedAt)
      promised(result as PromiseLike<unknown>).then(call.onFulfilled, call.onRejected)
      return
    }
    if (startedAt !== untimed) host.latency.record(host.runtime.monotonic() - startedAt)
    host.finish(intake, message.offset)
    if (lane !== undefined) host.lanes.refresh(lane)
  }

  flush(): void {}

  release(): void {}

  drop(): void {}

  abort(reason: QueueError): LeftRunning[] {
    const left: LeftRunning[] = []
    for (const call of this.#calls) {
      if (call.context === undefined) continue
      call.context.abort(reason)
      left.push(leftRunning(call.entry))
    }
    return left
  }

  #newCall(): Call {
    const call = new Call((ended, hasFailed, error) => this.#ended(ended, hasFailed, error))
    this.#calls.push(call)
    return call
  }

  #ended(call: Call, hasFailed: boolean, error: unknown): void {
    const host = this.#host
    const { intake, lane } = call
    if (call.startedAt !== untimed) host.latency.record(host.runtime.monotonic() - call.startedAt)
    this.running--
    intake.running--
    lane.isBusy = false
    // A partition that is being given back still has its outcome settled; what failed there is its next owner's.
    if (!host.isOver()) {
      if (!hasFailed) host.finish(intake, call.offset)
      else if (!intake.isEnded) host.fail(lane, call.entry, error)
      host.lanes.refresh(lane)
    }
    call.end()
    this.#spare.push(call)
    host.ended()
  }
}

/** One handler call that takes time. The two functions that its promise is given are made once. */
class Call {
  /** Set while the call runs. */
  context: CallContext | undefined
  lane!: Lane
  intake!: PartitionIntake
  offset = 0
  key: string | undefined
  startedAt = 0
  readonly onFulfilled: () => void
  readonly onRejected: (error: unknown) => void

  constructor(ended: (call: Call, hasFailed: boolean, error: unknown) => void) {
    this.onFulfilled = () => ended(this, false, undefined)
    this.onRejected = (error) => ended(this, true, error)
  }

  begin(
    context: CallContext,
    lane: Lane,
    intake: PartitionIntake,
    offset: number,
    key: string | undefined,
    startedAt: number,
  ): void {
    this.context = context
    this.lane = lane
    this.intake = intake
    this.offset = offset
    this.key = key
    this.startedAt = startedAt
  }

  get entry(): DeliveredEntry {
    return { intake: this.intake, offset: this.offset, key: this.key, attempt: this.context!.attempt }
  }

  end(): void {
    this.context = undefined
  }
}
