import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { FailedState } from '../contracts/broker.ts'
import { leftRunning, type DeliveredEntry, type LeftRunning } from './deliveries.ts'
import { DueQueue } from './due-queue.ts'
import { blockedBy, type KeyLanes, type Lane, type RetryEntry } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import { decideRetry, type RetryPolicy } from './retry-policy.ts'

/** A key that hands out nothing more because one of its messages used up its attempts. */
export interface StoppedKey extends LeftRunning {
  readonly attempts: number
}

/**
 * Lanes whose first message failed: those that wait for the next attempt, and those that were stopped after the last one.
 * They hold back their own key only, and keep offsets instead of messages, so waiting uses no memory of the others.
 */
export class Retries {
  failed = 0
  readonly #group: string
  readonly #policy: RetryPolicy
  readonly #runtime: Runtime
  readonly #events: EventHub
  readonly #lanes: KeyLanes
  readonly #onReady: () => void
  /** Something has to be settled: a failure that is kept, or one that begins anew. */
  readonly #onNoted: () => void
  readonly #due = new DueQueue<{ readonly lane: Lane; readonly entry: RetryEntry }>()
  /** Every lane with a failed message; those without a key are found nowhere else. */
  readonly #failing = new Set<Lane>()
  readonly #stopped = new Map<Lane, { readonly key: StoppedKey; readonly intake: PartitionIntake }>()
  #timer: Timer | undefined
  /** When the timer fires; Infinity when none is set. */
  #timerAt = Infinity
  #isOver = false

  constructor(
    group: string,
    policy: RetryPolicy,
    runtime: Runtime,
    events: EventHub,
    lanes: KeyLanes,
    onReady: () => void,
    onNoted: () => void,
  ) {
    this.#group = group
    this.#policy = policy
    this.#runtime = runtime
    this.#events = events
    this.#lanes = lanes
    this.#onReady = onReady
    this.#onNoted = onNoted
  }

  get stoppedCount(): number {
    return this.#stopped.size
  }

  /** Whether stopped keys are all that is held back: no retry is on its way. */
  get onlyStopped(): boolean {
    return this.#stopped.size > 0 && this.#failing.size === this.#stopped.size
  }

  /** Every lane with a failed message. */
  get lanes(): Iterable<Lane> {
    return this.#failing
  }

  /** Decides what becomes of a failed message. The caller refreshes the lane. */
  fail(lane: Lane, entry: DeliveredEntry, error: unknown): void {
    this.failed++
    const { intake, offset, key, attempt } = entry
    const decision = decideRetry(this.#policy, attempt, this.#runtime.random('jitter'))
    const retry: RetryEntry = { intake: intake.number, offset, key, attempt: attempt + 1 }
    const left = leftRunning(entry)
    const place = { group: this.#group, ...left }
    lane.retry = retry
    this.#failing.add(lane)
    this.#lanes.deferAll(lane)
    if (decision.outcome === 'retry') {
      // Whole milliseconds, rounded up: a wait is never shorter because it was stored.
      const dueAt = Math.ceil(this.#runtime.now() + decision.delayMs)
      this.#note(intake, offset, { attempts: attempt, dueAt, key })
      this.#wait(lane, retry, decision.delayMs)
      this.#events.emit('message:failed', { ...place, attempt, error, retryInMs: decision.delayMs })
      return
    }
    this.#note(intake, offset, { attempts: attempt, dueAt: Infinity, key })
    this.#stop(lane, entry)
    this.#events.emit('message:failed', { ...place, attempt, error, retryInMs: undefined })
    this.#events.emit('key:stopped', { ...place, error: handlerFailed(place, attempt, error) })
  }

  /** A message that failed before this dispatcher had it: it goes on waiting, or stays stopped. The caller refreshes the lane. */
  resume(lane: Lane, intake: PartitionIntake, offset: number, { attempts, dueAt, key }: FailedState): void {
    const retry: RetryEntry = { intake: intake.number, offset, key, attempt: attempts + 1 }
    lane.retry = retry
    this.#failing.add(lane)
    this.#lanes.deferAll(lane)
    if (attempts >= this.#policy.attempts || dueAt === Infinity)
      return this.#stop(lane, { intake, offset, key, attempt: attempts })
    // The wall clock may have jumped: no wait gets longer than the policy allows.
    const leftMs = Math.min(dueAt - this.#runtime.now(), this.#policy.maxDelayMs)
    if (leftMs > 0) this.#wait(lane, retry, leftMs)
  }

  /** A failed message that was taken to be handed out is put back, with its attempts counted. */
  again(lane: Lane, { intake, offset, key, attempt }: DeliveredEntry): void {
    lane.retry = { intake: intake.number, offset, key, attempt }
    this.#failing.add(lane)
  }

  /** The failed message of a lane is handed out again. */
  taken(lane: Lane): void {
    lane.retry = undefined
    this.#failing.delete(lane)
  }

  /** Forgets lanes that lost their failed message, when its partition went. */
  sweep(): void {
    for (const lane of [...this.#failing]) {
      if (lane.retry !== undefined) continue
      this.#failing.delete(lane)
      this.#stopped.delete(lane)
    }
  }

  stopped(): StoppedKey[] {
    return [...this.#stopped.values()].map(({ key }) => key)
  }

  /** Lets stopped lanes of a key (or all of them) go on, with their attempts counted anew; returns how many. */
  restart(key: string | undefined): number {
    let count = 0
    for (const [lane, { key: stopped, intake }] of [...this.#stopped]) {
      if (key !== undefined && stopped.key !== key) continue
      this.#stopped.delete(lane)
      lane.retry = { ...lane.retry!, attempt: 1 }
      this.#note(intake, stopped.offset, { attempts: 0, dueAt: 0, key: stopped.key })
      lane.blocked &= ~blockedBy.stopped
      this.#lanes.refresh(lane)
      count++
    }
    this.#onReady()
    return count
  }

  /** Nothing is tried again. */
  stop(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }

  #note(intake: PartitionIntake, offset: number, state: FailedState): void {
    intake.failed.set(offset, state)
    this.#onNoted()
  }

  #wait(lane: Lane, entry: RetryEntry, delayMs: number): void {
    lane.blocked |= blockedBy.retry
    this.#due.push(this.#runtime.monotonic() + delayMs, { lane, entry })
    this.#arm()
  }

  #stop(lane: Lane, entry: DeliveredEntry): void {
    lane.blocked |= blockedBy.stopped
    this.#stopped.set(lane, { key: { ...leftRunning(entry), attempts: entry.attempt }, intake: entry.intake })
  }

  /** One timer for all: it is set for the lane that is due first. */
  #arm(): void {
    const { nextDueAt } = this.#due
    if (nextDueAt >= this.#timerAt || this.#isOver) return
    this.#timer?.cancel()
    this.#timerAt = nextDueAt
    const delayMs = Math.max(0, nextDueAt - this.#runtime.monotonic())
    this.#timer = this.#runtime.timer(delayMs, `retry ${this.#group}`, () => this.#fire())
  }

  #fire(): void {
    this.#timerAt = Infinity
    const now = this.#runtime.monotonic()
    for (let due = this.#due.shiftDue(now); due !== undefined; due = this.#due.shiftDue(now)) {
      // The lane may have gone with its partition, and be in use again for another key.
      if (due.lane.retry !== due.entry) continue
      due.lane.blocked &= ~blockedBy.retry
      this.#lanes.refresh(due.lane)
    }
    if (this.#due.size > 0) this.#arm()
    this.#onReady()
  }
}

function handlerFailed(place: LeftRunning & { group: string }, attempts: number, cause: unknown): QueueError {
  const { key, ...facts } = place
  const message = `group ${place.group} gave up offset ${place.offset} of ${place.topic}/${place.partition} after ${attempts} attempts: ${String(cause)}`
  return new QueueError('HANDLER_FAILED', message, { ...facts, ...(key === undefined ? {} : { key }), cause })
}
