import type {
  Assignment,
  BrokerTopic,
  FetchResult,
  MemberListener,
  Membership,
  RecordBatch,
} from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Message } from '../message.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { BatchGatherer, type BatchSettings } from './batch-gatherer.ts'
import { DueQueue } from './due-queue.ts'
import { HandlerCall } from './handler-call.ts'
import { CallContext, HandedMessage, type CallEntry, type HandlerContext } from './handed-message.ts'
import { Histogram } from './histogram.ts'
import { IntakeRing } from './intake-ring.ts'
import { blockedBy, indexOf, KeyLanes, type Lane, type LaneLimits, type RetryEntry } from './key-lanes.ts'
import { PartitionIntake, type BatchSource, type ConsumedTopic } from './partition-intake.ts'
import { decideRetry, type RetryPolicy } from './retry-policy.ts'
import { Settler } from './settler.ts'

/** Handles one message, or with {@link BatchSettings} an array of them. */
export type DispatchHandler = (input: never, context: HandlerContext) => unknown

export interface DispatcherSettings extends LaneLimits {
  readonly group: string
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly retry: RetryPolicy
  readonly batch: BatchSettings | undefined
  readonly onGap: 'error' | 'skip'
}

/** A message that still ran when its subscription was closed. */
export interface LeftRunning {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
}

/** A key that handed out nothing more because one of its messages used up its attempts. */
export interface StoppedKey extends LeftRunning {
  readonly attempts: number
}

/** How long one run of the loop may hold the event loop, in milliseconds. */
const sliceMs = 2
/** Messages between two looks at the clock. */
const stepsPerLook = 64
/** Handled messages that may wait for their settlement before the loop pauses. */
const maxUnsettled = 100_000
/** One synchronous call in so many is timed. */
const callsPerSample = 16

/**
 * The loop of one subscription: fetch, lanes, handler, tracker, settle.
 *
 * It decides nothing by itself: which message may start is {@link KeyLanes}', what becomes of a failed one is
 * {@link decideRetry}'s, when what is finished gets durable is {@link Settler}'s. A message whose key is free starts
 * straight from the batch, without being queued anywhere.
 */
export class Dispatcher implements MemberListener {
  readonly settings: DispatcherSettings
  readonly lanes: KeyLanes
  readonly settler: Settler
  readonly latency: Histogram = new Histogram()
  readonly #runtime: Runtime
  readonly #events: EventHub
  readonly #handler: DispatchHandler
  /** Told when the dispatcher ended by itself or lost its membership. */
  readonly #onEnded: (error: QueueError) => void
  readonly #consumed: ReadonlyMap<BrokerTopic, ConsumedTopic>
  readonly #gatherer: BatchGatherer | undefined
  readonly #ring = new IntakeRing()
  readonly #due = new DueQueue<{ readonly lane: Lane; readonly entry: RetryEntry }>()
  /** Partitions owned now, and those that are being given back. */
  readonly #intakes = new Set<PartitionIntake>()
  readonly #numbered: (PartitionIntake | undefined)[] = []
  readonly #lanesOfTopic = new Map<BrokerTopic, Map<string, Lane>>()
  readonly #pausedKeys = new Set<string>()
  readonly #stopped = new Set<Lane>()
  /** Lanes whose first message failed; keyless ones are found nowhere else. */
  readonly #failing = new Set<Lane>()
  /** Calls that were ever made at once; those that are over wait to be used again. */
  readonly #calls: HandlerCall[] = []
  readonly #spareCalls: HandlerCall[] = []
  #dueTimer: Timer | undefined
  #dueTimerAt = Infinity
  #concurrency: number
  #running = 0
  #isPaused = false
  #isClosing = false
  #scheduled = false
  #failure: QueueError | undefined
  #callCount = 0
  handled = 0
  failed = 0
  /** Called after every run of the loop and every settlement; those who wait for quiet look again. */
  #watchers = new Set<() => void>()

  constructor(
    settings: DispatcherSettings,
    runtime: Runtime,
    events: EventHub,
    consumed: readonly ConsumedTopic[],
    handler: DispatchHandler,
    onEnded: (error: QueueError) => void,
  ) {
    this.#onEnded = onEnded
    this.settings = settings
    this.#runtime = runtime
    this.#events = events
    this.#handler = handler
    this.#consumed = new Map(consumed.map((entry) => [entry.topic, entry]))
    this.#concurrency = settings.concurrency
    this.lanes = new KeyLanes(settings, (lane) => this.#laneIdle(lane))
    this.settler = new Settler(
      () => this.#intakes,
      () => this.#settled(),
      (error) => this.lost(error),
    )
    this.#gatherer = settings.batch && new BatchGatherer(settings.batch, runtime, () => this.#schedule())
  }

  set membership(membership: Membership) {
    this.settler.membership = membership
  }

  get running(): number {
    return this.#running
  }

  get failure(): QueueError | undefined {
    return this.#failure
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  get concurrency(): number {
    return this.#concurrency
  }

  get assignments(): Assignment[] {
    return [...this.#intakes].filter(({ isEnded }) => !isEnded).map(({ assignment }) => assignment)
  }

  /** Nothing that could be handed out now, nothing running, nothing that waits to be settled. */
  get isIdle(): boolean {
    if (this.#running > 0 || this.settler.unsettled > 0) return false
    if (this.#isPaused || this.#isClosing || this.#failure) return true
    if (this.#scheduled || this.lanes.hasReady || (this.#gatherer && this.#gatherer.size > 0)) return false
    for (const intake of this.#intakes) if (intake.isFetching) return false
    return this.#ring.size === 0 || !this.lanes.hasRoom
  }

  get stoppedCount(): number {
    return this.#stopped.size
  }

  /** Whether nothing but stopped keys holds messages back: no retry is waited for. */
  get waitsForStoppedOnly(): boolean {
    return this.#stopped.size > 0 && this.#failing.size === this.#stopped.size
  }

  stopped(): StoppedKey[] {
    return [...this.#stopped].map((lane) => {
      const { intake, offset, attempt } = lane.retry!
      const { partition, topic } = intake.assignment
      return { topic: topic.name, partition, offset, key: lane.key, attempts: attempt - 1 }
    })
  }

  /** Calls `look` whenever something moved, until the function that is returned is called. */
  watch(look: () => void): () => void {
    this.#watchers.add(look)
    return () => this.#watchers.delete(look)
  }

  setConcurrency(concurrency: number): void {
    this.#concurrency = concurrency
    this.#schedule()
  }

  // --- what the broker tells ---

  assigned(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) {
      const consumed = this.#consumed.get(assignment.topic)!
      const vacant = this.#numbered.indexOf(undefined)
      const number = vacant < 0 ? this.#numbered.length : vacant
      const intake = new PartitionIntake(number, assignment, consumed, this.#lanesFor(assignment.topic))
      this.#numbered[number] = intake
      this.#intakes.add(intake)
      intake.stopWatching = assignment.topic.watch(assignment.partition, () => this.#arrived(intake))
      this.#ring.add(intake)
    }
    this.#schedule()
  }

  async revoked(assignments: readonly Assignment[]): Promise<void> {
    const fences = new Set(assignments.map(({ fence }) => fence))
    const leaving = [...this.#intakes].filter(({ assignment }) => fences.has(assignment.fence))
    for (const intake of leaving) this.#endIntake(intake)
    await this.until(() => leaving.every(({ running }) => running === 0))
    await this.settler.flush()
    for (const intake of leaving) this.#forget(intake)
  }

  lost(error: QueueError): void {
    if (this.#failure) return
    this.#failure = error
    this.#dueTimer?.cancel()
    this.#gatherer?.stop()
    for (const intake of this.#intakes) this.#endIntake(intake)
    for (const call of this.#calls) if (call.isActive) call.context!.abort(error)
    this.settler.stop()
    this.#onEnded(error)
    if (error.code !== 'CLOSED') this.#events.emit('subscription:ended', { group: this.settings.group, error })
    this.look()
  }

  // --- what the user tells ---

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#schedule()
  }

  pausePartition(topic: string | undefined, partition: number): void {
    for (const intake of this.#matching(topic, partition)) {
      intake.isPaused = true
      this.#ring.remove(intake)
    }
  }

  resumePartition(topic: string | undefined, partition: number): void {
    for (const intake of this.#matching(topic, partition)) {
      intake.isPaused = false
      this.#ring.add(intake)
      for (const lane of intake.held.splice(0)) this.#unblock(lane, blockedBy.pausedPartition)
    }
    this.#schedule()
  }

  pauseKey(key: string): void {
    this.#pausedKeys.add(key)
    for (const lanes of this.#lanesOfTopic.values()) {
      const lane = lanes.get(key)
      if (lane) lane.blocked |= blockedBy.pausedKey
    }
  }

  resumeKey(key: string): void {
    this.#pausedKeys.delete(key)
    for (const lanes of this.#lanesOfTopic.values()) {
      const lane = lanes.get(key)
      if (lane) this.#unblock(lane, blockedBy.pausedKey)
    }
    this.#schedule()
  }

  /** Hands the stopped messages of a key (or all of them) out again, with their attempts counted anew. */
  retry(key: string | undefined): number {
    let count = 0
    for (const lane of [...this.#stopped]) {
      if (key !== undefined && lane.key !== key) continue
      this.#stopped.delete(lane)
      lane.retry = { ...lane.retry!, attempt: 1 }
      this.#unblock(lane, blockedBy.stopped)
      count++
    }
    this.#schedule()
    return count
  }

  /** Hands out nothing more. */
  stop(): void {
    this.#isClosing = true
    this.#dueTimer?.cancel()
    if (this.#gatherer) for (const intake of this.#intakes) this.#ungather(intake)
    this.look()
  }

  /** Aborts the signals of everything that runs and says what that is. */
  abort(reason: QueueError): LeftRunning[] {
    const left: LeftRunning[] = []
    for (const call of this.#calls) {
      if (!call.isActive) continue
      call.context!.abort(reason)
      for (const { intake, offset, key } of call.entries) {
        const { topic, partition } = intake.assignment
        left.push({ topic: topic.name, partition, offset, key })
      }
    }
    return left
  }

  // --- the loop ---

  #schedule(): void {
    if (this.#scheduled || this.#failure) return
    this.#scheduled = true
    this.#runtime.soon('dispatch', this.#run)
  }

  readonly #run = (): void => {
    this.#scheduled = false
    if (this.#failure) return
    const startedAt = this.#runtime.monotonic()
    let steps = 0
    while (this.#mayStart) {
      const lane = this.lanes.takeReady()
      if (lane !== undefined) this.#startLane(lane)
      else if (!this.#takeIn()) break
      if (++steps % stepsPerLook === 0 && this.#runtime.monotonic() - startedAt > sliceMs) {
        // Others have waited long enough: I/O, timers, and the commits that this loop needs itself.
        this.#scheduled = true
        this.#runtime.later('dispatch', this.#run)
        break
      }
    }
    if (this.#gatherer?.isDue && this.#mayCall) this.#callBatch()
    this.settler.settle()
    this.look()
  }

  get #mayCall(): boolean {
    return this.#running < this.#concurrency && !this.#isClosing && !this.#isPaused
  }

  get #mayStart(): boolean {
    return this.#mayCall && !this.#failure && this.settler.unsettled < maxUnsettled
  }

  /** Takes one message from the log into its lane or straight to the handler; false when there is none or no room. */
  #takeIn(): boolean {
    for (;;) {
      if (!this.lanes.hasRoom) return false
      const intake = this.#ring.take()
      if (intake === undefined) return false
      if (this.settings.ordering === 'partition' && intake.lanes.size > 0) {
        // Its one lane is busy; it comes back when that is idle.
        this.#ring.remove(intake)
        continue
      }
      if (!intake.atRecord()) {
        if (!this.#fetch(intake)) this.#ring.remove(intake)
        if (!intake.atRecord()) continue
      }
      this.#admit(intake, intake.source!, intake.index++)
      return true
    }
  }

  /** Asks the broker for the next batch; true when it is there. */
  #fetch(intake: PartitionIntake): boolean {
    if (intake.isFetching) return false
    try {
      const answer = intake.fetch()
      if (!(answer instanceof Promise)) return this.#fetched(intake, answer)
      intake.isFetching = true
      answer.then(
        (result) => {
          intake.isFetching = false
          if (!intake.isEnded && this.#fetched(intake, result)) this.#arrived(intake)
        },
        (error: unknown) => {
          intake.isFetching = false
          if (!intake.isEnded) this.lost(asQueueError(error))
        },
      )
    } catch (error) {
      this.lost(asQueueError(error))
    }
    return false
  }

  #fetched(intake: PartitionIntake, result: FetchResult): boolean {
    if (result.kind === 'gap') {
      this.#gap(intake, intake.offset, result.start)
      intake.skipTo(result.start)
      return this.#failure === undefined && this.#fetch(intake)
    }
    return intake.take(result)
  }

  /** Retention removed [from, to): tells how much of it was unfinished, then stops or goes on, as chosen. */
  #gap(intake: PartitionIntake, from: number, to: number): void {
    const { topic, partition, finished } = intake.assignment
    const count = to - from - finished.countIn(from, to)
    if (count > 0) {
      const facts = { group: this.settings.group, topic: topic.name, partition, from, to, count }
      this.#events.emit('group:gap', facts)
      if (this.settings.onGap === 'error') {
        const message = `${count} messages of ${topic.name}/${partition} in [${from}, ${to}) were removed before group ${this.settings.group} finished them: seek, or subscribe with onGap 'skip'`
        return this.lost(new QueueError('GAP', message, facts))
      }
    }
    intake.finish(from, to)
    this.settler.unsettled++
  }

  #arrived(intake: PartitionIntake): void {
    if (intake.isReadable || intake.isEnded || intake.isPaused) return
    this.#ring.add(intake)
    this.#schedule()
  }

  #admit(intake: PartitionIntake, source: BatchSource, index: number): void {
    const { batch } = source
    const key = this.#laneKey(batch, index)
    const lane = key === undefined || intake.lanes.size === 0 ? undefined : intake.lanes.get(key)
    if (lane === undefined) {
      if (key !== undefined && this.#pausedKeys.size > 0 && this.#pausedKeys.has(key)) {
        const held = this.lanes.open(key, intake.lanes)
        held.blocked |= blockedBy.pausedKey
        this.lanes.add(held, source, index)
      } else this.#start(undefined, intake, batch, index, key, 1)
    } else if (lane.gathering !== undefined && lane.gathering === this.#gatherer?.current && lane.isEmpty) {
      this.#start(lane, intake, batch, index, key, 1)
    } else this.lanes.add(lane, source, index)
  }

  #laneKey(batch: RecordBatch, index: number): string | undefined {
    if (this.settings.ordering === 'key') return batch.keyAt(index)
    return this.settings.ordering === 'partition' ? wholePartition : undefined
  }

  /** Starts the next message of a lane that is ready. */
  #startLane(lane: Lane): void {
    if (lane.retry !== undefined) {
      const { intake, offset, attempt } = lane.retry
      if (this.#isHeld(lane, intake)) return
      const source = this.#load(lane, intake, offset)
      if (source === undefined) return
      lane.retry = undefined
      this.#failing.delete(lane)
      this.#start(lane, intake, source.batch, indexOf(source.batch, offset), lane.key, attempt)
    } else if (lane.count > 0) {
      const { source, index } = this.lanes.front(lane)
      if (this.#isHeld(lane, source.intake)) return
      this.lanes.shift(lane)
      this.#start(lane, source.intake, source.batch, index, lane.key, 1)
    } else {
      const { offset } = lane.deferred!
      const intake = this.#numbered[lane.deferred!.source]!
      if (this.#isHeld(lane, intake)) return
      const source = this.#load(lane, intake, offset)
      if (source === undefined) return
      this.lanes.shiftDeferred(lane)
      this.lanes.holdLoaded(lane, source)
      this.#start(lane, intake, source.batch, indexOf(source.batch, offset), lane.key, 1)
    }
  }

  /** Puts a lane aside whose next message belongs to a paused partition. */
  #isHeld(lane: Lane, intake: PartitionIntake): boolean {
    if (!intake.isPaused) return false
    lane.blocked |= blockedBy.pausedPartition
    this.lanes.deferAll(lane)
    intake.held.push(lane)
    return true
  }

  /** Reads a message again of which only the offset was kept; undefined when it is not there (yet). */
  #load(lane: Lane, intake: PartitionIntake, offset: number): BatchSource | undefined {
    const { loaded } = intake
    if (loaded && offset >= loaded.batch.baseOffset && offset < loaded.batch.nextOffset) return loaded
    try {
      const { topic, partition } = intake.assignment
      const answer = topic.fetch(partition, offset)
      if (!(answer instanceof Promise)) return this.#loaded(lane, intake, offset, answer)
      lane.blocked |= blockedBy.loading
      answer.then(
        (result) => {
          if (intake.isEnded) return
          this.#loaded(lane, intake, offset, result)
          this.#unblock(lane, blockedBy.loading)
          this.#schedule()
        },
        (error: unknown) => this.lost(asQueueError(error)),
      )
    } catch (error) {
      this.lost(asQueueError(error))
    }
    return undefined
  }

  #loaded(lane: Lane, intake: PartitionIntake, offset: number, result: FetchResult): BatchSource | undefined {
    if (result.kind === 'records') return (intake.loaded = { intake, batch: result.batch, pins: 0 })
    // Retention took it while it waited.
    this.#gap(intake, offset, offset + 1)
    if (lane.retry?.offset === offset) lane.retry = undefined
    else if (lane.deferred) this.lanes.shiftDeferred(lane)
    this.lanes.refresh(lane)
    return undefined
  }

  /** Hands one message out. `lane` is undefined while nothing else of its key is known. */
  #start(
    lane: Lane | undefined,
    intake: PartitionIntake,
    batch: RecordBatch,
    index: number,
    laneKey: string | undefined,
    attempt: number,
  ): void {
    const { consumed, assignment } = intake
    const key = this.settings.ordering === 'key' ? laneKey : batch.keyAt(index)
    let message: HandedMessage
    try {
      const value = batch.valueAt(index, consumed.codec)
      if (consumed.check) consumed.check(value)
      message = new HandedMessage(assignment.topic.name, assignment.partition, batch, index, key, value, attempt)
    } catch (error) {
      return this.#failedAtOnce(lane, intake, laneKey, batch.offsetAt(index), key, attempt, error)
    }
    if (this.#gatherer) return this.#gather(lane, intake, laneKey, message)
    const context = new CallContext(attempt, assignment.fence)
    const isSampled = ++this.#callCount % callsPerSample === 0
    const startedAt = isSampled ? this.#runtime.monotonic() : 0
    let result: unknown
    try {
      result = (this.#handler as (message: Message<unknown>, context: HandlerContext) => unknown)(message, context)
    } catch (error) {
      return this.#failedAtOnce(lane, intake, laneKey, message.offset, key, attempt, error)
    }
    if (isThenable(result)) {
      const busy = lane ?? this.lanes.open(laneKey, intake.lanes)
      busy.isBusy = true
      intake.running++
      const call = this.#openCall(context, isSampled ? startedAt : this.#runtime.monotonic())
      call.add(busy, { intake, offset: message.offset, key, attempt })
      promised(result).then(call.onFulfilled, call.onRejected)
      return
    }
    if (isSampled) this.latency.record(this.#runtime.monotonic() - startedAt)
    this.#finish(intake, message.offset)
    if (lane !== undefined) this.lanes.refresh(lane)
  }

  #finish(intake: PartitionIntake, offset: number): void {
    this.handled++
    intake.finish(offset, offset + 1)
    this.settler.unsettled++
  }

  #failedAtOnce(
    lane: Lane | undefined,
    intake: PartitionIntake,
    laneKey: string | undefined,
    offset: number,
    key: string | undefined,
    attempt: number,
    error: unknown,
  ): void {
    const failing = lane ?? this.lanes.open(laneKey, intake.lanes)
    this.#fail(failing, { intake, offset, key, attempt }, error)
    this.lanes.refresh(failing)
  }

  /** Decides what becomes of a failed message; its lane waits meanwhile, without using up memory or concurrency. */
  #fail(lane: Lane, entry: CallEntry, error: unknown): void {
    this.failed++
    const { intake, offset, key, attempt } = entry
    const { topic, partition } = intake.assignment
    const decision = decideRetry(this.settings.retry, attempt, this.#runtime.random('jitter'))
    const retryInMs = decision.outcome === 'retry' ? decision.delayMs : undefined
    const place = { group: this.settings.group, topic: topic.name, partition, offset, key }
    const retry = { intake, offset, attempt: attempt + 1 }
    lane.retry = retry
    this.#failing.add(lane)
    this.lanes.deferAll(lane)
    if (decision.outcome === 'retry') {
      lane.blocked |= blockedBy.retry
      this.#due.push(this.#runtime.monotonic() + decision.delayMs, { lane, entry: retry })
      this.#armDue()
    } else {
      lane.blocked |= blockedBy.stopped
      this.#stopped.add(lane)
    }
    this.#events.emit('message:failed', { ...place, attempt, error, retryInMs })
    if (decision.outcome === 'stop')
      this.#events.emit('key:stopped', { ...place, error: handlerFailed(place, attempt, error) })
  }

  #armDue(): void {
    const { nextDueAt } = this.#due
    if (nextDueAt >= this.#dueTimerAt || this.#isClosing || this.#failure) return
    this.#dueTimer?.cancel()
    this.#dueTimerAt = nextDueAt
    const delayMs = Math.max(0, nextDueAt - this.#runtime.monotonic())
    this.#dueTimer = this.#runtime.timer(delayMs, `retry ${this.settings.group}`, () => this.#retriesDue())
  }

  #retriesDue(): void {
    this.#dueTimerAt = Infinity
    const now = this.#runtime.monotonic()
    for (let due = this.#due.shiftDue(now); due !== undefined; due = this.#due.shiftDue(now)) {
      // The lane may have gone with its partition meanwhile.
      if (due.lane.retry === due.entry) this.#unblock(due.lane, blockedBy.retry)
    }
    if (this.#due.size > 0) this.#armDue()
    this.#schedule()
  }

  #unblock(lane: Lane, reason: number): void {
    lane.blocked &= ~reason
    this.lanes.refresh(lane)
  }

  // --- calls that take time ---

  #openCall(context: CallContext, startedAt: number): HandlerCall {
    let call = this.#spareCalls.pop()
    if (call === undefined) {
      call = new HandlerCall((ended, failed, result) => this.#callEnded(ended, failed, result))
      this.#calls.push(call)
    }
    call.begin(context, startedAt)
    this.#running++
    return call
  }

  #callEnded(call: HandlerCall, hasFailed: boolean, result: unknown): void {
    this.#running--
    this.latency.record(this.#runtime.monotonic() - call.startedAt)
    const { entries, lanes } = call
    if (this.settings.batch) this.#batchEnded(entries, lanes, hasFailed, result)
    else this.#entryEnded(entries[0]!, lanes[0]!, hasFailed, result)
    call.end()
    this.#spareCalls.push(call)
    if (this.#failure || this.#isClosing) this.look()
    this.#schedule()
  }

  #entryEnded(entry: CallEntry, lane: Lane, hasFailed: boolean, result: unknown): void {
    const { intake } = entry
    intake.running--
    lane.isBusy = false
    // A partition that was lost has nothing to settle or to try again here; one that is being given back still has.
    if (this.#failure) return
    if (!hasFailed) this.#finish(intake, entry.offset)
    else if (!intake.isEnded) this.#fail(lane, entry, result)
    this.lanes.refresh(lane)
  }

  #gather(lane: Lane | undefined, intake: PartitionIntake, laneKey: string | undefined, message: HandedMessage): void {
    const gatherer = this.#gatherer!
    const busy = lane ?? this.lanes.open(laneKey, intake.lanes)
    busy.isBusy = true
    busy.gathering = gatherer.current
    intake.running++
    gatherer.add(busy, intake, message)
    if (gatherer.isFull) this.#callBatch()
  }

  #callBatch(): void {
    const { messages, intakes, lanes } = this.#gatherer!.take()
    for (const lane of lanes) lane.gathering = undefined
    const fence = Math.max(...new Set(intakes.map(({ assignment }) => assignment.fence)))
    const context = new CallContext(Math.max(...new Set(messages.map(({ attempt }) => attempt))), fence)
    const call = this.#openCall(context, this.#runtime.monotonic())
    for (let i = 0; i < messages.length; i++) {
      const { offset, key, attempt } = messages[i]!
      call.add(lanes[i]!, { intake: intakes[i]!, offset, key, attempt })
    }
    try {
      const result = (this.#handler as (messages: unknown, context: HandlerContext) => unknown)(messages, context)
      if (isThenable(result)) promised(result).then(call.onFulfilled, call.onRejected)
      else call.onFulfilled(result)
    } catch (error) {
      call.onRejected(error)
    }
  }

  /**
   * Settles a batch message by message. A failed one takes the later ones of its lane back with it, whatever became of
   * them: they must not be finished before it.
   */
  #batchEnded(entries: readonly CallEntry[], lanes: readonly Lane[], hasFailed: boolean, result: unknown): void {
    const outcomes = hasFailed ? undefined : outcomesOf(result, entries.length)
    const failed = new Map<Lane, { source: number; offset: number }[]>()
    const error = hasFailed ? result : outcomes instanceof Error ? outcomes : undefined
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      const lane = lanes[i]!
      const { intake } = entry
      intake.running--
      lane.isBusy = false
      if (this.#failure) continue
      const outcome = error ?? (outcomes as readonly unknown[] | undefined)?.[i]
      const earlier = failed.get(lane)
      if (earlier) {
        if (!intake.isEnded) earlier.push({ source: intake.number, offset: entry.offset })
      } else if (hasFailed || outcome instanceof Error) {
        failed.set(lane, [])
        if (!intake.isEnded) this.#fail(lane, entry, outcome)
      } else this.#finish(intake, entry.offset)
    }
    if (this.#failure) return
    for (const [lane, later] of failed) this.lanes.putBack(lane, later)
    for (const lane of new Set(lanes)) this.lanes.refresh(lane)
  }

  // --- partitions that go ---

  #endIntake(intake: PartitionIntake): void {
    this.#ring.remove(intake)
    intake.isEnded = true
    intake.stopWatching()
    if (this.#gatherer) this.#ungather(intake)
    const lanes = new Set([...this.#failing, ...intake.held.splice(0)])
    const maps = this.settings.ordering === 'partition' ? [intake.lanes] : this.#lanesOfTopic.values()
    for (const map of maps) for (const lane of map.values()) lanes.add(lane)
    for (const lane of lanes) {
      this.lanes.purge(lane, intake)
      if (lane.retry !== undefined) continue
      this.#failing.delete(lane)
      this.#stopped.delete(lane)
    }
  }

  /** Gives back what was gathered of a partition and not handed out yet. */
  #ungather(intake: PartitionIntake): void {
    for (const lane of this.#gatherer!.remove(intake)) {
      intake.running--
      if (this.#gatherer!.holds(lane)) continue
      lane.isBusy = false
      lane.gathering = undefined
      this.lanes.refresh(lane)
    }
  }

  #forget(intake: PartitionIntake): void {
    this.#intakes.delete(intake)
    this.#numbered[intake.number] = undefined
  }

  #laneIdle(lane: Lane): void {
    if (this.settings.ordering !== 'partition') return
    for (const intake of this.#intakes) if (intake.lanes === lane.map) this.#arrived(intake)
  }

  #lanesFor(topic: BrokerTopic): Map<string, Lane> {
    if (this.settings.ordering === 'partition') return new Map()
    let lanes = this.#lanesOfTopic.get(topic)
    if (lanes === undefined) this.#lanesOfTopic.set(topic, (lanes = new Map()))
    return lanes
  }

  #matching(topic: string | undefined, partition: number): PartitionIntake[] {
    return [...this.#intakes].filter(({ assignment }) => {
      return assignment.partition === partition && (topic === undefined || assignment.topic.name === topic)
    })
  }

  #settled(): void {
    if (this.#ring.size > 0 || this.lanes.hasReady) this.#schedule()
    this.look()
  }

  /** Lets everyone who waits for something look again. */
  look(): void {
    for (const look of [...this.#watchers]) look()
  }

  /** Resolves when `holds` answers true; asked whenever something moved. */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve()
    return new Promise((resolve) => {
      const stop = this.watch(() => {
        if (!holds()) return
        stop()
        resolve()
      })
    })
  }
}

/** The one lane of a partition with `ordering: 'partition'`. */
const wholePartition = ''

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function'
}

/** A native promise is used as it is; a foreign thenable may throw, or call back twice. */
function promised(value: PromiseLike<unknown>): Promise<unknown> {
  return value instanceof Promise ? value : Promise.resolve(value)
}

/** What a batch handler said of each message; an error when its answer has the wrong length. */
function outcomesOf(result: unknown, length: number): readonly unknown[] | Error | undefined {
  if (!Array.isArray(result)) return undefined
  if (result.length === length) return result
  return new QueueError(
    'INVALID_MESSAGE',
    `the batch handler answered ${result.length} outcomes for ${length} messages`,
  )
}

function asQueueError(error: unknown): QueueError {
  if (error instanceof QueueError) return error
  return new QueueError('INTERNAL', `reading the log failed: ${String(error)}`, { cause: error })
}

function handlerFailed(
  place: { group: string; offset: number; key: string | undefined },
  attempts: number,
  cause: unknown,
): QueueError {
  const { key, ...facts } = place
  const message = `group ${place.group} gave up offset ${place.offset} after ${attempts} attempts: ${String(cause)}`
  return new QueueError('HANDLER_FAILED', message, { ...facts, ...(key === undefined ? {} : { key }), cause })
}
