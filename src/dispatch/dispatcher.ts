import type { Assignment, MemberListener, Membership, RecordBatch } from '../contracts/broker.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { BatchDeliveries } from './batch-deliveries.ts'
import type { BatchSettings } from './batch-gatherer.ts'
import type { Deliveries, DeliveryHost, DispatchHandler, LeftRunning } from './deliveries.ts'
import { Histogram } from './histogram.ts'
import { IntakeRing } from './intake-ring.ts'
import { Intakes } from './intakes.ts'
import { blockedBy, indexOf, KeyLanes, type BatchSource, type Lane, type LaneLimits } from './key-lanes.ts'
import { LogReader } from './log-reader.ts'
import { Moves } from './moves.ts'
import type { ConsumedTopic, PartitionIntake } from './partition-intake.ts'
import { PauseDesk } from './pause-desk.ts'
import { Resumption } from './resumption.ts'
import { Retries } from './retries.ts'
import type { RetryPolicy } from './retry-policy.ts'
import { Settler } from './settler.ts'
import { SingleDeliveries } from './single-deliveries.ts'

export interface DispatcherSettings extends LaneLimits {
  readonly group: string
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly retry: RetryPolicy
  readonly batch: BatchSettings | undefined
  readonly onGap: 'error' | 'skip'
}

/** How long one run of the loop may hold the event loop, in milliseconds. */
const sliceMs = 2
/** Messages between two looks at the clock. */
const stepsPerLook = 64
/** Handled messages that may wait for their settlement before the loop pauses. */
const maxUnsettled = 32_768
/** The one lane of a partition with `ordering: 'partition'`. */
const wholePartition = ''

/**
 * The loop of one subscription: fetch, lanes, handler, tracker, settle.
 *
 * It decides nothing by itself: which message may start is {@link KeyLanes}', what the handler gets is {@link Deliveries}',
 * what becomes of a failed one is {@link Retries}', when what is finished gets durable is {@link Settler}'s. A message whose
 * key is free starts straight from its batch, without being queued anywhere.
 */
export class Dispatcher implements MemberListener {
  readonly settings: DispatcherSettings
  readonly lanes: KeyLanes
  readonly settler: Settler
  readonly retries: Retries
  readonly pauses: PauseDesk
  /** Told whenever something moved. */
  readonly moves: Moves = new Moves()
  readonly latency: Histogram = new Histogram()
  /** Messages that were handled well. */
  handled = 0
  readonly #runtime: Runtime
  readonly #events: EventHub
  readonly #deliveries: Deliveries
  readonly #reader: LogReader
  /** Told when the dispatcher ended by itself or lost its membership. */
  readonly #onEnded: (error: QueueError) => void
  readonly #ring = new IntakeRing()
  readonly #intakes: Intakes
  readonly #resumption: Resumption
  #concurrency: number
  #isClosing = false
  /** The last run stopped because the next message had no room to wait. */
  #isFull = false
  /** A run of the loop is on its way. */
  #scheduled = false
  #failure: QueueError | undefined

  constructor(
    settings: DispatcherSettings,
    runtime: Runtime,
    events: EventHub,
    consumed: readonly ConsumedTopic[],
    handler: DispatchHandler,
    onEnded: (error: QueueError) => void,
  ) {
    this.settings = settings
    this.#runtime = runtime
    this.#events = events
    this.#onEnded = onEnded
    this.#intakes = new Intakes(consumed, settings.ordering === 'partition')
    this.#concurrency = settings.concurrency
    const schedule = (): void => this.#schedule()
    this.lanes = new KeyLanes(settings, (lane) => this.#laneIdle(lane))
    const noted = (): void => void this.settler.unsettled++
    this.retries = new Retries(settings.group, settings.retry, runtime, events, this.lanes, schedule, noted)
    this.settler = new Settler(
      runtime,
      () => this.#intakes,
      () => this.#settled(),
      (error) => this.lost(error),
    )
    this.pauses = new PauseDesk({
      lanes: this.lanes,
      ring: this.#ring,
      intakes: this.#intakes,
      topics: consumed.map(({ topic }) => topic.name),
      release: (matches) => this.#deliveries.release(matches),
      moved: schedule,
    })
    this.#resumption = new Resumption(this.lanes, this.retries, this.pauses, (key) => this.#laneOf(key))
    this.#reader = new LogReader(settings.group, settings.onGap, events, {
      lanes: this.lanes,
      retries: this.retries,
      settler: this.settler,
      arrived: (intake) => this.#arrived(intake),
      moved: schedule,
      lost: (error) => this.lost(error),
    })
    const host: DeliveryHost = {
      runtime,
      handler,
      lanes: this.lanes,
      latency: this.latency,
      isByKey: settings.ordering === 'key',
      isOver: () => this.#failure !== undefined,
      finish: (intake, offset) => this.#finish(intake, offset),
      fail: (lane, entry, error) => {
        // A message that was pulled and not acknowledged in time is given back, not failed.
        if (this.#isClosing && isQueueError(error, 'CLOSED')) return
        this.retries.fail(lane, entry, error)
      },
      again: (lane, entry) => this.retries.again(lane, entry),
      ended: () => this.#callEnded(),
    }
    this.#deliveries = settings.batch ? new BatchDeliveries(host, settings.batch, schedule) : new SingleDeliveries(host)
  }

  set membership(membership: Membership) {
    this.settler.membership = membership
    this.#schedule()
  }

  get running(): number {
    return this.#deliveries.running
  }

  get failure(): QueueError | undefined {
    return this.#failure
  }

  get concurrency(): number {
    return this.#concurrency
  }

  setConcurrency(concurrency: number): void {
    this.#concurrency = concurrency
    this.#schedule()
  }

  get assignments(): Assignment[] {
    return this.#intakes.active.map(({ assignment }) => assignment)
  }

  /** Nothing that could be handed out now, nothing running, nothing that waits to be settled. */
  get isIdle(): boolean {
    if (this.#failure) return true
    if (this.running > 0 || this.settler.unsettled > 0) return false
    if (this.pauses.isPaused || this.#isClosing) return true
    if (this.#scheduled || this.lanes.hasReady || this.#deliveries.gathered > 0) return false
    if (this.#intakes.isFetching) return false
    return this.#ring.size === 0 || !this.lanes.hasRoom || this.#isFull
  }

  /** Hands out nothing more. */
  stop(): void {
    this.#isClosing = true
    this.retries.stop()
    this.#deliveries.drop(() => true)
    this.moves.tell()
  }

  /** Aborts the signals of everything that runs and says what that is. */
  abort(reason: QueueError): LeftRunning[] {
    return this.#deliveries.abort(reason)
  }

  // --- what the broker tells ---

  assigned(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) {
      const intake = this.#intakes.add(assignment)
      intake.isPaused = this.pauses.holdsPartition(assignment.topic.name, assignment.partition)
      intake.stopWatching = assignment.topic.watch(assignment.partition, () => this.#arrived(intake))
      this.#resumption.granted(intake)
      this.#ring.add(intake)
    }
    this.#schedule()
  }

  async revoked(assignments: readonly Assignment[]): Promise<void> {
    const leaving = this.#intakes.of(assignments)
    for (const intake of leaving) this.#endIntake(intake)
    await this.moves.until(() => leaving.every(({ running }) => running === 0))
    await this.settler.flush()
    for (const intake of leaving) this.#intakes.remove(intake)
  }

  lost(error: QueueError): void {
    if (this.#failure) return
    this.#failure = error
    this.retries.stop()
    for (const intake of this.#intakes) this.#endIntake(intake)
    this.#deliveries.abort(error)
    this.settler.stop()
    this.#onEnded(error)
    if (error.code !== 'CLOSED') this.#events.emit('subscription:ended', { group: this.settings.group, error })
    this.moves.tell()
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
    this.#isFull = false
    let startedAt: number | undefined
    let steps = 0
    while (this.#mayStart) {
      const lane = this.lanes.takeReady()
      if (lane !== undefined) this.#startLane(lane)
      else if (!this.#takeIn()) break
      if (++steps % stepsPerLook !== 0) continue
      // Most runs are short: the clock is asked only in long ones.
      const now = this.#runtime.monotonic()
      startedAt ??= now
      if (now - startedAt > sliceMs) {
        // Others have waited long enough: I/O, timers, and the commits that this loop needs itself.
        this.#scheduled = true
        this.#runtime.later('dispatch', this.#run)
        break
      }
    }
    if (!this.#scheduled && this.#mayStart) this.#deliveries.flush()
    this.settler.settleSoon(this.running)
    this.moves.tell()
  }

  get #mayStart(): boolean {
    if (this.#deliveries.running >= this.#concurrency || this.settler.unsettled >= maxUnsettled) return false
    return !this.#isClosing && !this.pauses.isPaused && this.#failure === undefined
  }

  /** Takes one message from the log into its lane or straight to the handler; false when there is none or no room. */
  #takeIn(): boolean {
    for (;;) {
      if (!this.lanes.hasRoom) return false
      const intake = this.#ring.take()
      if (intake === undefined) return false
      if (this.settings.ordering === 'partition' && this.#isTaken(intake)) {
        // Its one lane is in use; it comes back when that is idle.
        this.#ring.remove(intake)
        continue
      }
      if (!intake.atRecord()) {
        if (!this.#reader.fetch(intake)) this.#ring.remove(intake)
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
    const { batch } = source
    const key = this.#laneKey(batch, index)
    const lane = key === undefined || intake.lanes.size === 0 ? undefined : intake.lanes.get(key)
    if (lane === undefined) {
      if (key !== undefined && this.pauses.holdsKey(key)) {
        const held = this.lanes.open(key, intake.lanes)
        held.blocked |= blockedBy.pausedKey
        this.lanes.add(held, source, index)
      } else this.#deliveries.start(undefined, intake, batch, index, key, 1)
    } else if (this.#isGathering(lane)) this.#deliveries.start(lane, intake, batch, index, key, 1)
    else if (this.lanes.hasRoomIn(lane)) this.lanes.add(lane, source, index)
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
    if (lane.gathering === undefined || lane.gathering !== this.#deliveries.gathering) return false
    return lane.blocked === 0 && lane.isEmpty
  }

  #laneKey(batch: RecordBatch, index: number): string | undefined {
    // Keys are read only where they order.
    return this.settings.ordering === 'key' ? batch.keyAt(index) : this.#laneOf(undefined)
  }

  /** The key of the lane that messages of a key are in. */
  #laneOf(key: string | undefined): string | undefined {
    if (this.settings.ordering === 'key') return key
    return this.settings.ordering === 'partition' ? wholePartition : undefined
  }

  /** Starts the next message of a lane that is ready; where arrays are gathered, as many as fit. */
  #startLane(lane: Lane): void {
    do this.#startNext(lane)
    while (
      lane.gathering !== undefined &&
      lane.gathering === this.#deliveries.gathering &&
      lane.blocked === 0 &&
      !lane.isEmpty
    )
  }

  #startNext(lane: Lane): void {
    const { retry } = lane
    const number = retry?.intake ?? (lane.count > 0 ? this.lanes.front(lane).source.intake : lane.deferred!.source)
    const intake = this.#intakes.get(number)
    if (this.pauses.holds(lane, intake)) return
    if (this.#resumption.takes(lane, intake)) return
    if (retry !== undefined) {
      const source = this.#reader.load(lane, intake, retry.offset)
      if (source === undefined) return
      this.retries.taken(lane)
      this.#deliveries.start(lane, intake, source.batch, indexOf(source.batch, retry.offset), lane.key, retry.attempt)
    } else if (lane.count > 0) {
      const { source, index } = this.lanes.front(lane)
      this.lanes.shift(lane)
      this.#deliveries.start(lane, intake, source.batch, index, lane.key, 1)
    } else {
      const { offset } = lane.deferred!
      const source = this.#reader.load(lane, intake, offset)
      if (source === undefined) return
      this.lanes.shiftDeferred(lane)
      this.lanes.holdLoaded(lane, source, intake.remembered)
      this.#deliveries.start(lane, intake, source.batch, indexOf(source.batch, offset), lane.key, 1)
    }
  }

  #finish(intake: PartitionIntake, offset: number): void {
    this.handled++
    intake.finish(offset, offset + 1)
    this.settler.unsettled++
  }

  #callEnded(): void {
    if (this.#failure || this.#isClosing) this.moves.tell()
    this.#schedule()
  }

  #arrived(intake: PartitionIntake): void {
    if (intake.isReadable || intake.isEnded || intake.isPaused) return
    this.#ring.add(intake)
    this.#schedule()
  }

  // --- partitions that come and go ---

  #endIntake(intake: PartitionIntake): void {
    this.#ring.remove(intake)
    intake.isEnded = true
    intake.stopWatching()
    this.#deliveries.drop((other) => other === intake)
    const lanes = new Set([...this.retries.lanes, ...intake.held.splice(0)])
    for (const map of this.#intakes.lanesAround(intake)) for (const lane of map.values()) lanes.add(lane)
    for (const lane of lanes) this.lanes.purge(lane, intake.number)
    this.retries.sweep()
  }

  #laneIdle(lane: Lane): void {
    if (this.settings.ordering !== 'partition') return
    for (const intake of this.#intakes.withLanes(lane.map)) this.#arrived(intake)
  }

  #settled(): void {
    if (this.#ring.size > 0 || this.lanes.hasReady) this.#schedule()
    this.settler.settleSoon(this.running)
    this.moves.tell()
  }
}
