import type { RecordBatch } from '../contracts/broker.ts'
import type { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import type { Acknowledgement } from './acknowledgement.ts'
import type { CollectedEffects } from './collected-effects.ts'
import { leftRunning, type DeliveredEntry, type LeftRunning } from './delivered-entry.ts'
import { isThenable, promised, readMessage, type Deliveries, type DeliveryHost, type Refusal } from './deliveries.ts'
import { CallContext, type HandedMessage, type HandlerContext } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { LimitedContext } from './time-limit.ts'

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
  /** Calls that ever ran at once; those that are over wait in `#spare`. Who was abandoned is in neither. */
  readonly #calls = new Set<Call>()
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
    let message: HandedMessage | undefined
    let result: unknown
    let waits: boolean
    const { timeLimit, state } = host
    const { fence } = intake.assignment
    const context =
      timeLimit === undefined ? new CallContext(attempt, fence, state) : timeLimit.begin(attempt, fence, state)
    try {
      message = readMessage(intake, batch, index, key, attempt)
      result = this.#handler(message, context)
      waits = isThenable(result)
    } catch (error) {
      context.end()
      context.effects?.end()
      const failing = lane ?? host.lanes.open(laneKey, intake.lanes)
      const entry = { intake, offset: batch.offsetAt(index), key, attempt, asked: context.asked }
      host.fail(failing, entry, error, message === undefined)
      return host.lanes.refresh(failing)
    }
    if (waits) {
      const busy = lane ?? host.lanes.open(laneKey, intake.lanes)
      busy.isBusy = true
      intake.running++
      this.running++
      const call = this.#spare.pop() ?? this.#newCall()
      call.begin(context, busy, intake, message.offset, key, startedAt)
      if (timeLimit !== undefined) timeLimit.watch(context as LimitedContext, () => this.#timedOut(call))
      promised(result as PromiseLike<unknown>).then(call.onFulfilled, call.onRejected)
      return
    }
    if (startedAt !== untimed) host.latency.record(host.runtime.monotonic() - startedAt)
    context.end()
    if (context.effects === undefined) host.finish(intake, message.offset)
    else {
      const entry = { intake, offset: message.offset, key, attempt, asked: context.asked }
      if (context.effects.letter !== undefined && context.effects.retry === undefined) {
        const moving = lane ?? host.lanes.open(laneKey, intake.lanes)
        host.deadLetter(moving, entry, context.effects)
        return host.lanes.refresh(moving)
      }
      const refusal = this.#take(entry, context.effects)
      // A partition that has gone is its next owner's business.
      if (refusal !== undefined && !intake.isEnded) {
        const failing = lane ?? host.lanes.open(laneKey, intake.lanes)
        host.fail(failing, entry, refusal.error)
        return host.lanes.refresh(failing)
      }
    }
    if (lane !== undefined) host.lanes.refresh(lane)
  }

  flush(): void {}

  push(): void {}

  release(): void {}

  drop(): void {}

  abort(reason: QueueError): LeftRunning[] {
    this.#host.timeLimit?.stop()
    const left: LeftRunning[] = []
    for (const call of this.#calls) {
      if (call.context === undefined) continue
      call.context.abort(reason)
      left.push(leftRunning(call.entry))
    }
    return left
  }

  cancel(matches: (entry: DeliveredEntry) => boolean, reason: QueueError): number {
    let count = 0
    for (const call of this.#calls) {
      if (call.context === undefined || !matches(call.entry)) continue
      call.context.abort(reason)
      count++
    }
    return count
  }

  /** Returns why the message is not done, if it isn't: then nothing of the effects happens. */
  #take(entry: DeliveredEntry, effects: CollectedEffects): Refusal | undefined {
    if (effects.retry === undefined) return this.#host.accept([entry], effects)
    effects.end()
    return { error: effects.retry }
  }

  #accept(lane: Lane, entry: DeliveredEntry, effects: CollectedEffects): Refusal | undefined {
    if (effects.letter !== undefined && effects.retry === undefined) {
      this.#host.deadLetter(lane, entry, effects)
      return undefined
    }
    const refusal = this.#take(entry, effects)
    // A partition that has gone is its next owner's business.
    if (refusal !== undefined && !entry.intake.isEnded) this.#host.fail(lane, entry, refusal.error)
    return refusal
  }

  #newCall(): Call {
    const call = new Call((ended, hasFailed, error) => this.#ended(ended, hasFailed, error))
    this.#calls.add(call)
    return call
  }

  #timedOut(call: Call): void {
    const { settings } = this.#host.timeLimit!
    const error = this.#host.timeLimit!.expire(call.context as LimitedContext, [call.entry])
    if (settings.onTimeout === 'wait') return
    // What it still does changes nothing, so it is forgotten; its promise alone keeps it.
    this.#calls.delete(call)
    this.#settle(call, true, error)
    call.context!.byHand?.refuse('its time was over', error)
    call.end()
    this.#host.ended()
  }

  #ended(call: Call, hasFailed: boolean, error: unknown): void {
    const { context } = call
    // It was abandoned.
    if (context === undefined) return
    const timeout = this.#host.timeLimit?.end(context as LimitedContext)
    const { byHand } = context
    const refusal = timeout === undefined ? this.#settle(call, hasFailed, error) : this.#settle(call, true, timeout)
    if (byHand !== undefined) this.#answer(call, byHand, hasFailed ? { error } : undefined, refusal, timeout)
    call.end()
    this.#spare.push(call)
    this.#host.ended()
  }

  /** Tells what became of an acknowledgement by hand. */
  #answer(
    { context, intake }: Call,
    byHand: Acknowledgement,
    failure: Refusal | undefined,
    refusal: Refusal | undefined,
    timeout: QueueError | undefined,
  ): void {
    const { effects } = context!
    if (timeout !== undefined) byHand.refuse('its time was over', timeout)
    // Something between the message and its handler failed, an idempotency store for example.
    else if (failure !== undefined && byHand.isDone) byHand.fail(failure.error)
    else if (refusal !== undefined && effects?.retry === undefined) byHand.fail(refusal.error)
    else this.#host.acknowledge(byHand.isDone && effects !== undefined && !refusal ? undefined : intake, byHand)
  }

  /** Returns why a message is not done although its handler was, if it isn't. */
  #settle(call: Call, hasFailed: boolean, error: unknown): Refusal | undefined {
    const host = this.#host
    const { intake, lane } = call
    if (call.startedAt !== untimed) host.latency.record(host.runtime.monotonic() - call.startedAt)
    this.running--
    intake.running--
    lane.isBusy = false
    const { effects } = call.context!
    call.context!.end()
    let refusal: Refusal | undefined
    // A partition that is being given back still has its outcome settled; what failed there is its next owner's.
    if (!host.isOver()) {
      if (!hasFailed && effects !== undefined) refusal = this.#accept(lane, call.entry, effects)
      else if (!hasFailed) host.finish(intake, call.offset)
      else if (!intake.isEnded || host.isAtMostOnce) host.fail(lane, call.entry, error)
      host.lanes.refresh(lane)
    } else if (hasFailed && host.isAtMostOnce) host.fail(lane, call.entry, error)
    // The letter keeps its effects until it is on its way.
    if (effects?.letter === undefined || hasFailed || host.isOver()) effects?.end()
    return refusal
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
    const { attempt, asked } = this.context!
    return { intake: this.intake, offset: this.offset, key: this.key, attempt, asked }
  }

  end(): void {
    this.context = undefined
  }
}
