import type { RecordBatch } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import { BatchGatherer, type BatchSettings, type Gathered } from './batch-gatherer.ts'
import { leftRunning, type DeliveredEntry, type LeftRunning } from './delivered-entry.ts'
import { Deferral } from './deferral.ts'
import {
  isThenable,
  promised,
  readMessage,
  type Deliveries,
  type DeliveryHost,
  type GatheredMatch,
} from './deliveries.ts'
import type { CollectedEffects } from './collected-effects.ts'
import { CallContext, type HandedMessage, type HandlerContext } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { LimitedContext } from './time-limit.ts'

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
      this.#host.fail(busy, { intake, offset, key, attempt }, error, true)
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

  push(): void {
    if (this.#gatherer.size > 0) this.#call()
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
    this.#host.timeLimit?.stop()
    const left: LeftRunning[] = []
    for (const [context, gathered] of this.#calls) {
      context.abort(reason)
      for (const entry of entriesOf(gathered)) left.push(leftRunning(entry))
    }
    return left
  }

  cancel(matches: (entry: DeliveredEntry) => boolean, reason: QueueError): number {
    let count = 0
    for (const [context, gathered] of this.#calls) {
      if (!entriesOf(gathered).some(matches)) continue
      context.abort(reason)
      count++
    }
    return count
  }

  #call(): void {
    const { handler, runtime, state, timeLimit } = this.#host
    const gathered = this.#gatherer.take()
    let attempt = 1
    let fence = 0
    for (const [i, message] of gathered.messages.entries()) {
      attempt = Math.max(attempt, message.attempt)
      fence = Math.max(fence, gathered.intakes[i]!.assignment.fence)
      gathered.lanes[i]!.gathering = undefined
    }
    const context = timeLimit?.begin(attempt, fence, state) ?? new CallContext(attempt, fence, state)
    context.isOfArray = true
    const startedAt = runtime.monotonic()
    this.#calls.set(context, gathered)
    const ended = (hasFailed: boolean, result: unknown): void => {
      // Who was abandoned is not among the calls any more, and what it did changes nothing.
      if (!this.#calls.delete(context)) return
      this.#host.latency.record(runtime.monotonic() - startedAt)
      const timeout = timeLimit?.end(context as LimitedContext)
      context.end()
      if (timeout === undefined) this.#settle(gathered, context.effects, hasFailed, result)
      else this.#settle(gathered, context.effects, true, timeout)
      context.effects?.end()
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
    timeLimit?.watch(context as LimitedContext, () => {
      timeLimit.expire(context as LimitedContext, entriesOf(gathered))
      if (timeLimit.settings.onTimeout === 'abandon') ended(true, undefined)
    })
    promised(result as PromiseLike<unknown>).then(
      (outcome) => ended(false, outcome),
      (error: unknown) => ended(true, error),
    )
  }

  /**
   * Takes the outcome message by message. A failed one takes the later ones of its lane back with it, whatever became of
   * them: they must not be finished before it.
   */
  #settle(
    { messages, intakes, lanes }: Gathered,
    effects: CollectedEffects | undefined,
    hasFailed: boolean,
    result: unknown,
  ): void {
    const host = this.#host
    const retry = effects?.retry
    const given =
      retry && !hasFailed
        ? allFailed(outcomesOf(false, result, messages.length), retry)
        : outcomesOf(hasFailed, result, messages.length)
    const entries = messages.map(({ offset, key, attempt }, i) => ({ intake: intakes[i]!, offset, key, attempt }))
    const accepted = effects && !retry && !host.isOver() ? this.#accept(entries, effects, given) : undefined
    const outcome = accepted?.outcome ?? given
    const finish = accepted ? (): void => {} : host.finish
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
        if (!intake.isEnded) host.fail(lane, { intake, offset, key, attempt, asked: retry?.wait }, failure.error)
      } else finish(intake, offset)
    }
    if (host.isOver()) return
    for (const [lane, later] of behind) host.lanes.putBack(lane, later)
    for (const lane of new Set(lanes)) host.lanes.refresh(lane)
  }

  /** Effects are those of the whole array: it is done with them, or all of it is tried again. */
  #accept(entries: readonly DeliveredEntry[], effects: CollectedEffects, given: Outcome): { outcome: Outcome } {
    const failure = entries.map((_, i) => given(i)).find((one) => one !== undefined)
    if (failure) return { outcome: (i) => given(i) ?? { error: behindFailed(failure.error) } }
    const refusal = this.#host.accept(entries, effects)
    return { outcome: () => refusal }
  }
}

function entriesOf({ messages, intakes }: Gathered): DeliveredEntry[] {
  return messages.map(({ offset, key, attempt }, i) => ({ intake: intakes[i]!, offset, key, attempt }))
}

type Outcome = (index: number) => { error: unknown } | undefined

/** What became of the n-th message: its error, or undefined when it is done. */
function outcomesOf(hasFailed: boolean, result: unknown, length: number): Outcome {
  if (hasFailed) return () => ({ error: result })
  if (!Array.isArray(result)) return () => undefined
  if (result.length !== length) {
    const message = `the batch handler returned ${result.length} outcomes for ${length} messages: return one for each, or nothing`
    const error = new QueueError('INVALID_MESSAGE', message, { count: length })
    return () => ({ error })
  }
  return (index) => (result[index] instanceof Error ? { error: result[index] } : undefined)
}

/** The handler wants the array again: what it did not call failed has failed too. */
function allFailed(given: Outcome, error: Error): Outcome {
  return (index) => given(index) ?? { error }
}

/** A message that is tried again because of another one in its array; it did not fail, so its attempt does not count. */
function behindFailed(cause: unknown): Deferral {
  return new Deferral(0, cause)
}
