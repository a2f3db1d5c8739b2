import { QueueError, type ExhaustedReason } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { FailedState, FirstFailure } from '../contracts/broker.ts'
import { summarizeError } from '../dead-letter.ts'
import { TextPool } from '../text-pool.ts'
import { longestAskedDelayMs, type WaitKind } from './asked-retry.ts'
import { Deferral } from './deferral.ts'
import { leftRunning, type DeliveredEntry, type LeftRunning } from './delivered-entry.ts'
import { DueQueue } from './due-queue.ts'
import { blockedBy, type KeyLanes, type Lane, type RetryEntry } from './key-lanes.ts'
import type { Letter } from './letter.ts'
import type { PartitionIntake } from './partition-intake.ts'
import { decideRetry, handlerFailed, type FailedMessage } from './retry-policy.ts'
import type { DispatcherSettings } from './settings.ts'

/** A key that hands out nothing more because one of its messages is not tried again. */
export interface ParkedKey extends LeftRunning {
  readonly attempts: number
}

/** A key that waits for the next attempt of one of its messages. */
export interface BlockedKey extends LeftRunning {
  /** How often the message failed. */
  readonly attempts: number
  /** When it is tried again, in milliseconds since 1970. */
  readonly dueAt: number
}

/** How often the wall clock is looked at while a message waits for a time of it. */
const longestLookMs = 600_000
/** Waits that are taken up again are no longer than this. */
const longestOf = { at: Infinity, delay: longestAskedDelayMs } as const

/** A failed message at the head of its lane. */
interface Held {
  readonly intake: PartitionIntake
  /** How often it failed. */
  readonly attempts: number
  /** When it may be tried again, in milliseconds since 1970; Infinity while its key is parked. */
  readonly dueAt: number
  /** What was asked for, if that is what it waits for. */
  readonly asked?: WaitKind
}

/** What retries need of the loop around them. */
export interface RetriesHost {
  readonly settings: DispatcherSettings
  readonly runtime: Runtime
  readonly events: EventHub
  readonly lanes: KeyLanes
  /** Lanes may be ready again. */
  readonly ready: () => void
  /** Something has to be settled: a failure that is kept, one that begins anew, or a message that is given up. */
  readonly noted: () => void
  /** The subscription has to end; what is noted is settled before. */
  readonly end: (error: QueueError) => void
  /** The message goes to the dead letters. */
  readonly deadLetter: (lane: Lane, entry: DeliveredEntry, letter: Letter) => void
}

/**
 * Lanes whose first message failed: those that wait for the next attempt, and those that were parked after the last one.
 * They hold back their own key only, and keep offsets instead of messages, so waiting uses no memory of the others.
 */
export class Retries {
  failed = 0
  /** Messages that count as finished although their handlers failed. */
  skipped = 0
  readonly #host: RetriesHost
  readonly #due = new DueQueue<{ readonly lane: Lane; readonly entry: RetryEntry }>()
  /** Every lane with a failed message; those without a key are found nowhere else. */
  readonly #failing = new Map<Lane, Held>()
  #parkedCount = 0
  readonly #errors = new TextPool()
  #timer: Timer | undefined
  /** When the timer fires; Infinity when none is set. */
  #timerAt = Infinity
  #isOver = false

  constructor(host: RetriesHost) {
    this.#host = host
  }

  get parkedCount(): number {
    return this.#parkedCount
  }

  /** Whether parked keys are all that is held back: no retry is on its way. */
  get onlyParked(): boolean {
    return this.#parkedCount > 0 && this.#failing.size === this.#parkedCount
  }

  /** Whether so many messages failed and are not finished that nothing more may be read. */
  get isFull(): boolean {
    const { maxBufferedMessages, maxDeferredMessages } = this.#host.settings
    return this.#failing.size >= maxBufferedMessages + maxDeferredMessages
  }

  /** Every lane with a failed message. */
  get lanes(): Iterable<Lane> {
    return this.#failing.keys()
  }

  /**
   * Decides what becomes of a failed message; with `isUnread`, its handler was not called, since it can't be decoded. The
   * caller refreshes the lane.
   */
  fail(lane: Lane, entry: DeliveredEntry, error: unknown, isUnread = false): void {
    if (error instanceof Deferral) return this.#defer(lane, entry, error)
    this.failed++
    const { events, lanes, runtime } = this.#host
    const { group, retry: policy } = this.#host.settings
    const { intake, offset, key, attempt } = entry
    const message: FailedMessage = { group, ...leftRunning(entry) }
    const asked = entry.asked && { wait: entry.asked, now: runtime.now() }
    const decision = decideRetry(policy, { attempt, error, message, isUnread, asked }, runtime.random('jitter'))
    if (decision.outcome === 'exhausted') {
      const tell = this.#exhaust(lane, entry, decision.reason, error)
      events.emit('message:failed', { ...message, attempt, error, retryInMs: undefined })
      return tell()
    }
    const retry: RetryEntry = { intake: intake.number, offset, key, attempt: attempt + 1 }
    // Whole milliseconds, rounded up: a wait is never shorter because it was stored.
    const dueAt = Math.ceil(runtime.now() + decision.delayMs)
    const kind = entry.asked && ('at' in entry.asked ? 'at' : 'delay')
    this.#hold(lane, retry, { intake, attempts: attempt, dueAt, asked: kind })
    lanes.deferAll(lane)
    const first = this.#firstOf(intake, offset, error)
    this.#note(intake, offset, { attempts: attempt, dueAt, key, first, ...(kind && { asked: kind }) })
    this.#wait(lane, retry, decision.delayMs)
    events.emit('message:failed', {
      ...message,
      attempt,
      error: decision.fault ?? error,
      retryInMs: decision.delayMs,
    })
  }

  /** The attempt does not count: nothing is stored, and the next one has the same number. */
  #defer(lane: Lane, entry: DeliveredEntry, { delayMs, cause }: Deferral): void {
    const { intake, offset, key, attempt } = entry
    const retry: RetryEntry = { intake: intake.number, offset, key, attempt }
    const { events, lanes, runtime, settings } = this.#host
    const dueAt = Math.ceil(runtime.now() + delayMs)
    this.#hold(lane, retry, { intake, attempts: attempt - 1, dueAt })
    lanes.deferAll(lane)
    if (delayMs > 0) this.#wait(lane, retry, delayMs)
    const place = { group: settings.group, ...leftRunning(entry) }
    events.emit('message:deferred', { ...place, attempt, reason: cause, retryInMs: delayMs })
  }

  /** A message that failed before this dispatcher had it: it goes on waiting, or stays parked. The caller refreshes the lane. */
  resume(lane: Lane, intake: PartitionIntake, offset: number, { attempts, dueAt, key, asked }: FailedState): void {
    const { lanes, runtime, settings } = this.#host
    const entry: DeliveredEntry = { intake, offset, key, attempt: attempts }
    lanes.deferAll(lane)
    // Parked before: only `release` lets it go on, whatever is asked for now.
    if (dueAt === Infinity) return this.#park(lane, entry)
    // Fewer attempts are allowed than in the life that it failed in.
    if (attempts >= settings.retry.attempts) return this.#exhaust(lane, entry, 'attempts', undefined)()
    const retry: RetryEntry = { intake: intake.number, offset, key, attempt: attempts + 1 }
    // The wall clock may have jumped: no wait gets longer than the policy allows, or what could be asked for.
    const longestMs = asked === undefined ? settings.retry.backoff.maxDelayMs : longestOf[asked]
    const leftMs = Math.min(dueAt - runtime.now(), longestMs)
    this.#hold(lane, retry, { intake, attempts, dueAt: runtime.now() + Math.max(0, leftMs), asked })
    if (leftMs > 0) this.#wait(lane, retry, leftMs)
  }

  /** The first failure of a message, where one is known; as it is stored, or is about to be. */
  firstFailure(intake: PartitionIntake, offset: number): FirstFailure | undefined {
    return (intake.failed.get(offset) ?? intake.assignment.failed.get(offset))?.first
  }

  /** A message is not tried again: its lane waits until it is in the dead letters. */
  hold(lane: Lane, { intake, offset, key, attempt }: DeliveredEntry, letter: Letter): void {
    const held: Held = { intake, attempts: attempt, dueAt: this.#host.runtime.now() }
    this.#hold(lane, { intake: intake.number, offset, key, attempt: attempt + 1, letter }, held)
  }

  /** The attempts of a message are kept that is not in the dead letters yet. */
  noteAttempts({ intake, offset, key, attempt }: DeliveredEntry): void {
    const first = this.firstFailure(intake, offset)
    this.#note(intake, offset, { attempts: attempt, dueAt: this.#host.runtime.now(), key, first })
  }

  /** A message failed that was finished before its handler was called: it is told of, as a skipped one. */
  dropped(place: LeftRunning, attempt: number, error: unknown, reason: ExhaustedReason): void {
    const { events, settings } = this.#host
    const message: FailedMessage = { group: settings.group, ...place }
    this.failed++
    this.skipped++
    events.emit('message:failed', { ...message, attempt, error, retryInMs: undefined })
    const given = handlerFailed(message, attempt, reason, error)
    events.emit('message:skipped', { ...message, attempts: attempt, error: given, reason })
  }

  /** A failed message that was taken to be handed out is put back, with its attempts counted. */
  again(lane: Lane, { intake, offset, key, attempt }: DeliveredEntry): void {
    const dueAt = this.#host.runtime.now()
    this.#hold(lane, { intake: intake.number, offset, key, attempt }, { intake, attempts: attempt - 1, dueAt })
  }

  /** The failed message of a lane is handed out again. */
  taken(lane: Lane): void {
    lane.retry = undefined
    this.#failing.delete(lane)
  }

  /** Forgets lanes that lost their failed message, when its partition went. */
  sweep(): void {
    for (const [lane, { dueAt }] of [...this.#failing]) {
      if (lane.retry !== undefined) continue
      this.#failing.delete(lane)
      if (dueAt === Infinity) this.#parkedCount--
    }
  }

  /** At most so many parked keys, those that were parked first. */
  parkedKeys(limit: number): ParkedKey[] {
    return this.#list(limit, (dueAt) => dueAt === Infinity).map(({ place, attempts }) => ({ ...place, attempts }))
  }

  /** At most so many keys that wait for a retry, those that have waited longest. */
  blockedKeys(limit: number): BlockedKey[] {
    const waiting = this.#list(limit, (dueAt) => dueAt !== Infinity)
    return waiting.map(({ place, attempts, dueAt }) => ({ ...place, attempts, dueAt }))
  }

  #list(limit: number, isMeant: (dueAt: number) => boolean): (Held & { readonly place: LeftRunning })[] {
    const found: (Held & { readonly place: LeftRunning })[] = []
    for (const [lane, held] of this.#failing) {
      if (found.length >= limit) break
      if (!isMeant(held.dueAt)) continue
      const { offset, key } = lane.retry!
      found.push({ ...held, place: leftRunning({ intake: held.intake, offset, key, attempt: 0 }) })
    }
    return found
  }

  /** Lets lanes of a key (or all of them) go on at once, parked ones with their attempts counted anew; returns how many. */
  release(key: string | undefined): number {
    let count = 0
    const now = this.#host.runtime.now()
    for (const [lane, { intake, attempts, dueAt }] of [...this.#failing]) {
      const { offset, key: own } = lane.retry!
      if (key !== undefined && own !== key) continue
      // It is on its way already.
      if ((lane.blocked & (blockedBy.parked | blockedBy.retry)) === 0) continue
      const isParked = dueAt === Infinity
      if (isParked) this.#parkedCount--
      const state: FailedState = isParked
        ? { attempts: 0, dueAt: 0, key: own }
        : { attempts, dueAt: now, key: own, first: this.firstFailure(intake, offset) }
      // Another entry: a timer that is set for the old one finds nothing.
      this.#hold(
        lane,
        { ...lane.retry!, attempt: state.attempts + 1 },
        { intake, attempts: state.attempts, dueAt: now },
      )
      if (state.attempts > 0 || isParked) this.#note(intake, offset, state)
      lane.blocked &= ~(blockedBy.parked | blockedBy.retry)
      this.#host.lanes.refresh(lane)
      count++
    }
    this.#dropStale()
    this.#host.ready()
    return count
  }

  /** Moves the messages of parked keys (of one, or of all) to the dead letters; returns how many. */
  giveUpParked(key: string | undefined): number {
    let count = 0
    for (const [lane, { intake, attempts, dueAt }] of [...this.#failing]) {
      const { offset, key: own } = lane.retry!
      if (dueAt !== Infinity || (key !== undefined && own !== key)) continue
      this.#parkedCount--
      lane.blocked &= ~blockedBy.parked
      const entry: DeliveredEntry = { intake, offset, key: own, attempt: attempts }
      this.#host.deadLetter(lane, entry, { reason: 'parked', error: undefined })
      this.#host.lanes.refresh(lane)
      count++
    }
    this.#host.ready()
    return count
  }

  /** Who was released, or lost, leaves its place in the queue of those that wait: no more of them stay than there are others. */
  #dropStale(): void {
    if (this.#due.size > 2 * this.#failing.size + 64) this.#due.keep(({ lane, entry }) => lane.retry === entry)
  }

  /** Nothing is tried again. */
  stop(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }

  /** Does what `onExhausted` says. Returns what tells of it: last, since a listener may undo it at once. */
  #exhaust(lane: Lane, entry: DeliveredEntry, reason: ExhaustedReason, cause: unknown): () => void {
    const { events, lanes } = this.#host
    const { group, retry: policy } = this.#host.settings
    const { intake, offset, key, attempt: attempts } = entry
    const message: FailedMessage = { group, ...leftRunning(entry) }
    const error = handlerFailed(message, attempts, reason, cause)
    if (policy.onExhausted === 'skip') {
      this.skipped++
      intake.finish(offset, offset + 1)
      this.#host.noted()
      return () => events.emit('message:skipped', { ...message, attempts, error, reason })
    }
    if (policy.onExhausted === 'dead-letter') return () => this.#host.deadLetter(lane, entry, { reason, error: cause })
    lanes.deferAll(lane)
    if (policy.onExhausted === 'stop') {
      this.#hold(lane, { intake: intake.number, offset, key, attempt: 1 }, { intake, attempts: 0, dueAt: 0 })
      this.#note(intake, offset, { attempts: 0, dueAt: 0, key })
      return () => this.#host.end(error)
    }
    this.#note(intake, offset, { attempts, dueAt: Infinity, key, first: this.#firstOf(intake, offset, cause) })
    this.#park(lane, entry)
    return () => events.emit('key:parked', { ...message, error, reason })
  }

  /** Kept where somebody will ask for it: with a dead letter, or what may become one. */
  #firstOf(intake: PartitionIntake, offset: number, error: unknown): FirstFailure | undefined {
    const { onExhausted } = this.#host.settings.retry
    if (onExhausted !== 'dead-letter' && onExhausted !== 'park-key') return undefined
    const known = this.firstFailure(intake, offset)
    if (known !== undefined) return known
    return { at: this.#host.runtime.now(), error: this.#errors.share(JSON.stringify(summarizeError(error))) }
  }

  #hold(lane: Lane, entry: RetryEntry, held: Held): void {
    lane.retry = entry
    this.#failing.set(lane, held)
  }

  #note(intake: PartitionIntake, offset: number, state: FailedState): void {
    intake.failed.set(offset, state)
    this.#host.noted()
  }

  #wait(lane: Lane, entry: RetryEntry, delayMs: number): void {
    lane.blocked |= blockedBy.retry
    this.#enqueue(lane, entry, delayMs)
    this.#arm()
  }

  #enqueue(lane: Lane, entry: RetryEntry, delayMs: number): void {
    // A time that was asked for is compared with the wall clock again and again: it may have been set meanwhile.
    const longestMs = this.#failing.get(lane)?.asked === 'at' ? longestLookMs : Infinity
    this.#due.push(this.#host.runtime.monotonic() + Math.min(delayMs, longestMs), { lane, entry })
  }

  #park(lane: Lane, entry: DeliveredEntry): void {
    const { intake, offset, key, attempt } = entry
    const held: Held = { intake, attempts: attempt, dueAt: Infinity }
    this.#hold(lane, { intake: intake.number, offset, key, attempt: attempt + 1 }, held)
    lane.blocked |= blockedBy.parked
    this.#parkedCount++
  }

  /** One timer for all: it is set for the lane that is due first. */
  #arm(): void {
    const { nextDueAt } = this.#due
    if (nextDueAt >= this.#timerAt || this.#isOver) return
    this.#timer?.cancel()
    this.#timerAt = nextDueAt
    const { runtime, settings } = this.#host
    const delayMs = Math.max(0, nextDueAt - runtime.monotonic())
    this.#timer = runtime.timer(delayMs, `retry ${settings.group}`, () => this.#fire())
  }

  #fire(): void {
    this.#timerAt = Infinity
    const { runtime } = this.#host
    const now = runtime.monotonic()
    for (let due = this.#due.shiftDue(now); due !== undefined; due = this.#due.shiftDue(now)) {
      // The lane may have gone with its partition, and be in use again for another key.
      if (due.lane.retry !== due.entry) continue
      const held = this.#failing.get(due.lane)!
      const leftMs = held.asked === 'at' ? held.dueAt - runtime.now() : 0
      if (leftMs > 0) {
        this.#enqueue(due.lane, due.entry, leftMs)
        continue
      }
      due.lane.blocked &= ~blockedBy.retry
      this.#host.lanes.refresh(due.lane)
    }
    if (this.#due.size > 0) this.#arm()
    this.#host.ready()
  }
}
