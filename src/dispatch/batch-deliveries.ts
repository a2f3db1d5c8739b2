import type { RecordBatch } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import { BatchGatherer, type BatchSettings, type Gathered } from './batch-gatherer.ts'
import {
  isThenable,
  leftRunning,
  promised,
  readMessage,
  type DeliveredEntry,
  type Deliveries,
  type DeliveryHost,
  type GatheredMatch,
  type LeftRunning,
} from './deliveries.ts'
import { CallContext, type HandedMessage, type HandlerContext } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'

/**
 * Hands out arrays of messages. One array may hold several messages of a key, in order; each message has an outcome of its
 * own.
 */
export class BatchDeliveries implements Deliveries {
  readonly #host: DeliveryHost
  readonly #gatherer: BatchGatherer
  /** Calls that run, with what they were given. */
  readonly #calls = new Map<CallContext, Gathered>()

  /** `onDue` is called when what was gathered has waited long enough. */
  constructor(host: DeliveryHost, settings: BatchSettings, onDue: () => void) {
    this.#host = host
    this.#gatherer = new BatchGatherer(settings, host.runtime, onDue)
  }

  get running(): number {
    return this.#calls.size
  }

  get gathered(): number {
    return this.#gatherer.size
  }

  get gathering(): object {
    return this.#gatherer.current
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
    const key = isByKey ? laneKey : batch.keyAt(index)
    const busy = lane ?? lanes.open(laneKey, intake.lanes)
    let message: HandedMessage
    try {
      message = readMessage(intake, batch, index, key, attempt)
    } catch (error) {
      const offset = batch.offsetAt(index)
      // Earlier messages of the lane are gathered and may fail themselves: this one waits until they are settled.
      if (busy.isBusy) return lanes.putBack(busy, [{ source: intake.number, offset }])
      this.#host.fail(busy, { intake, offset, key, attempt }, error)
      return lanes.refresh(busy)
    }
    busy.isBusy = true
    busy.gathering = this.#gatherer.current
    intake.running++
    this.#gatherer.add(busy, intake, message)
    if (this.#gatherer.isFull) this.#call()
  }

  flush(): void {
    if (this.#gatherer.isDue) this.#call()
  }

  release(matches: GatheredMatch): void {
    this.#ungather(matches, (lane, [first, ...rest]) => {
      // Only the first message of a lane can have failed before.
      if (first!.attempt > 1) this.#host.again(lane, first!)
      else rest.unshift(first!)
      const entries = rest.map(({ intake, offset }) => ({ source: intake.number, offset }))
      this.#host.lanes.putBack(lane, entries)
    })
  }

  drop(matches: GatheredMatch): void {
    this.#ungather(matches, () => {})
  }

  /** Takes messages out of the array; `each` gets those of a lane, in order, before the lane is free again. */
  #ungather(matches: GatheredMatch, each: (lane: Lane, entries: readonly DeliveredEntry[]) => void): void {
    const removed = new Map<Lane, DeliveredEntry[]>()
    for (const { lane, intake, message } of this.#gatherer.remove(matches)) {
      intake.running--
      if (!removed.has(lane)) removed.set(lane, [])
      const { offset, key, attempt } = message
      removed.get(lane)!.push({ intake, offset, key, attempt })
    }
    for (const [lane, entries] of removed) {
      each(lane, entries)
      if (this.#gatherer.holds(lane)) continue
      lane.isBusy = false
      lane.gathering = undefined
      this.#host.lanes.refresh(lane)
    }
  }

  abort(reason: QueueError): LeftRunning[] {
    const left: LeftRunning[] = []
    for (const [context, { messages, intakes }] of this.#calls) {
      context.abort(reason)
      messages.forEach(({ offset, key, attempt }, i) =>
        left.push(leftRunning({ intake: intakes[i]!, offset, key, attempt })),
      )
    }
    return left
  }

  #call(): void {
    const { handler, runtime } = this.#host
    const gathered = this.#gatherer.take()
    let attempt = 1
    let fence = 0
    for (const [i, message] of gathered.messages.entries()) {
      attempt = Math.max(attempt, message.attempt)
      fence = Math.max(fence, gathered.intakes[i]!.assignment.fence)
      gathered.lanes[i]!.gathering = undefined
    }
    const context = new CallContext(attempt, fence)
    const startedAt = runtime.monotonic()
    this.#calls.set(context, gathered)
    const ended = (hasFailed: boolean, result: unknown): void => {
      this.#host.latency.record(runtime.monotonic() - startedAt)
      this.#calls.delete(context)
      this.#settle(gathered, hasFailed, result)
      this.#host.ended()
    }
    let result: unknown
    let waits: boolean
    try {
      const call = handler as unknown as (messages: Message<unknown>[], context: HandlerContext) => unknown
      // The handler gets an array of its own: changing it must not change what is settled.
      result = call([...gathered.messages], context)
      waits = isThenable(result)
    } catch (error) {
      return ended(true, error)
    }
    if (!waits) return ended(false, result)
    promised(result as PromiseLike<unknown>).then(
      (outcome) => ended(false, outcome),
      (error: unknown) => ended(true, error),
    )
  }

  /**
   * Takes the outcome message by message. A failed one takes the later ones of its lane back with it, whatever became of
   * them: they must not be finished before it.
   */
  #settle({ messages, intakes, lanes }: Gathered, hasFailed: boolean, result: unknown): void {
    const host = this.#host
    const outcome = outcomesOf(hasFailed, result, messages.length)
    /** The later messages of each lane that has a failed one. */
    const behind = new Map<Lane, { source: number; offset: number }[]>()
    for (let i = 0; i < messages.length; i++) {
      const intake = intakes[i]!
      const lane = lanes[i]!
      const { offset, key, attempt } = messages[i]!
      intake.running--
      lane.isBusy = false
      if (host.isOver()) continue
      const failure = outcome(i)
      const later = behind.get(lane)
      if (later) {
        if (!intake.isEnded) later.push({ source: intake.number, offset })
      } else if (failure) {
        behind.set(lane, [])
        if (!intake.isEnded) host.fail(lane, { intake, offset, key, attempt }, failure.error)
      } else host.finish(intake, offset)
    }
    if (host.isOver()) return
    for (const [lane, later] of behind) host.lanes.putBack(lane, later)
    for (const lane of new Set(lanes)) host.lanes.refresh(lane)
  }
}

/** What became of the n-th message: its error, or undefined when it is done. */
function outcomesOf(
  hasFailed: boolean,
  result: unknown,
  length: number,
): (index: number) => { error: unknown } | undefined {
  if (hasFailed) return () => ({ error: result })
  if (!Array.isArray(result)) return () => undefined
  if (result.length !== length) {
    const message = `the batch handler returned ${result.length} outcomes for ${length} messages: return one for each, or nothing`
    const error = new QueueError('INVALID_MESSAGE', message, { count: length })
    return () => ({ error })
  }
  return (index) => (result[index] instanceof Error ? { error: result[index] } : undefined)
}
