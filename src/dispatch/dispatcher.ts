import type { Assignment, Broker, MemberListener, Membership } from '../contracts/broker.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Admission } from './admission.ts'
import { AtMostOnceDeliveries, type AtMostOnceHost } from './at-most-once-deliveries.ts'
import { BatchDeliveries } from './batch-deliveries.ts'
import { CarefulDeliveries } from './careful-deliveries.ts'
import type { CarefulTurns } from './careful-turns.ts'
import type { CollectedEffects } from './collected-effects.ts'
import { DeadLettering } from './dead-lettering.ts'
import { deferred } from './deferral.ts'
import type { DeliveredEntry } from './delivered-entry.ts'
import type { Deliveries, DeliveryHost, DispatchHandler, Refusal } from './deliveries.ts'
import { Histogram } from './histogram.ts'
import { IntakeRing } from './intake-ring.ts'
import { Intakes } from './intakes.ts'
import { KeyLanes, type Lane } from './key-lanes.ts'
import { LaneStarter } from './lane-starter.ts'
import { letterOf } from './letter.ts'
import { LogReader } from './log-reader.ts'
import { Moves } from './moves.ts'
import type { ConsumedTopic, PartitionIntake } from './partition-intake.ts'
import { PauseDesk } from './pause-desk.ts'
import { Resumption } from './resumption.ts'
import { Retries, type RetriesHost } from './retries.ts'
import { laneKeyOf, type DispatcherSettings } from './settings.ts'
import { Settler } from './settler.ts'
import { SingleDeliveries } from './single-deliveries.ts'
import { timeLimitOf, type TimeLimit } from './time-limit.ts'
import { TimeSlice } from './time-slice.ts'

/**
 * The loop of one subscription: fetch, lanes, handler, tracker, settle.
 *
 * It decides nothing by itself: what is read is {@link Admission}'s, which message may start is {@link KeyLanes}', what the
 * handler gets is {@link Deliveries}', what becomes of a failed one is {@link Retries}', when what is finished gets durable
 * is {@link Settler}'s.
 */
export class Dispatcher implements MemberListener {
  readonly settings: DispatcherSettings
  readonly lanes: KeyLanes
  readonly settler: Settler
  readonly retries: Retries
  readonly deadLettering: DeadLettering
  readonly pauses: PauseDesk
  /** Told whenever something moved. */
  readonly moves: Moves = new Moves()
  readonly latency: Histogram = new Histogram()
  readonly timeLimit: TimeLimit | undefined
  readonly deliveries: Deliveries
  /** Messages that were handled well. */
  handled = 0
  readonly #runtime: Runtime
  readonly #events: EventHub
  /** Deliveries after an unclean end of the process. */
  readonly #careful: CarefulDeliveries | undefined
  readonly #reader: LogReader
  /** Told when the dispatcher ended by itself or lost its membership. */
  readonly #onEnded: (error: QueueError) => void
  readonly #ring = new IntakeRing()
  readonly #intakes: Intakes
  readonly #resumption: Resumption
  readonly #slice: TimeSlice
  readonly #starter: LaneStarter
  readonly #admission: Admission
  #concurrency: number
  #isClosing = false
  /** A run of the loop is on its way. */
  #scheduled = false
  #failure: QueueError | undefined

  constructor(
    settings: DispatcherSettings,
    runtime: Runtime,
    events: EventHub,
    consumed: readonly ConsumedTopic[],
    handler: DispatchHandler,
    broker: Pick<Broker, 'state' | 'ensureTopic'>,
    onEnded: (error: QueueError) => void,
    turns?: CarefulTurns,
  ) {
    this.settings = settings
    this.#runtime = runtime
    this.#slice = new TimeSlice(runtime)
    this.#events = events
    this.#onEnded = onEnded
    const noted = (): void => void this.settler.unsettled++
    const isByPartition = settings.ordering === 'partition'
    this.#intakes = new Intakes(consumed, isByPartition, { group: settings.group, passed: noted })
    this.#concurrency = settings.concurrency
    const schedule = (): void => this.#schedule()
    this.lanes = new KeyLanes(settings, (lane) => this.#laneIdle(lane))
    const end = (error: QueueError): void => this.#endBy(error)
    const { lanes } = this
    const deadLetter: RetriesHost['deadLetter'] = (...given) => this.deadLettering.take(...given)
    this.retries = new Retries({ settings, runtime, events, lanes, ready: schedule, noted, end, deadLetter })
    const lost = (error: QueueError): void => this.lost(error)
    const settled = (): void => this.#settled()
    this.settler = new Settler(runtime, () => this.#intakes, settled, lost)
    this.pauses = new PauseDesk({
      lanes: this.lanes,
      ring: this.#ring,
      intakes: this.#intakes,
      topics: consumed.map(({ topic }) => topic.name),
      release: (matches) => this.deliveries.release(matches),
      moved: schedule,
    })
    const laneOf = (key: string | undefined): string | undefined => laneKeyOf(settings.ordering, key)
    const resuming = { isCounting: turns !== undefined, noted }
    this.#resumption = new Resumption(resuming, this.lanes, this.retries, this.pauses, laneOf)
    const around = { lanes, retries: this.retries, settler: this.settler, lost }
    const arrived = (intake: PartitionIntake): void => this.#arrived(intake)
    this.#reader = new LogReader(settings.group, settings.onGap, events, { ...around, arrived, moved: schedule })
    const moving = { ...around, reader: this.#reader }
    this.deadLettering = new DeadLettering(settings.group, runtime, events, broker, moving)
    this.timeLimit = timeLimitOf(settings, runtime, events)
    const host: DeliveryHost = {
      runtime,
      handler,
      lanes: this.lanes,
      latency: this.latency,
      timeLimit: this.timeLimit,
      isByKey: settings.ordering === 'key',
      isOver: () => this.#failure !== undefined,
      state: broker.state,
      finish: (intake, offset) => this.#finish(intake, offset),
      accept: (entries, effects) => this.#accept(entries, effects),
      deadLetter: (lane, entry, effects) => deadLetter(lane, entry, letterOf(effects)),
      fail: (lane, entry, error, isUnread) => {
        // A message that was pulled and not acknowledged in time is given back, not failed.
        if (this.#isClosing && isQueueError(error, 'CLOSED')) return
        this.retries.fail(lane, entry, error, isUnread)
      },
      acknowledge: (intake, acknowledgement) => this.settler.acknowledge(intake, acknowledgement),
      again: (lane, entry) => this.retries.again(lane, entry),
      ended: () => this.#callEnded(),
    }
    const dropped: AtMostOnceHost['dropped'] = (...given) => this.retries.dropped(...given)
    const first: AtMostOnceHost = { runtime, settler: this.settler, handled: () => void this.handled++, dropped }
    const deliveries = (own: DeliveryHost): Deliveries => {
      if (settings.batch) return new BatchDeliveries(own, settings.batch, schedule)
      return settings.ackMode === 'before' ? new AtMostOnceDeliveries(own, first) : new SingleDeliveries(own)
    }
    const careful = {
      settings,
      settler: this.settler,
      isActive: () => this.#intakes.isAny && !this.pauses.isPaused && !this.#isClosing && !this.#failure,
      isClosing: () => this.#isClosing || this.#failure !== undefined,
      noted,
      wake: schedule,
    }
    this.#careful = turns && new CarefulDeliveries(turns, host, careful, deliveries)
    this.deliveries = this.#careful ?? deliveries(host)
    const { retries, pauses, deadLettering } = this
    const own = { intakes: this.#intakes, deliveries: this.deliveries, reader: this.#reader, deadLettering }
    this.#starter = new LaneStarter({ lanes, retries, pauses, resumption: this.#resumption, ...own })
    this.#admission = new Admission({ settings, ring: this.#ring, lanes, retries, pauses, ...own })
  }

  set membership(membership: Membership) {
    this.settler.membership = membership
    this.#schedule()
  }

  get running(): number {
    return this.deliveries.running
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
    if (this.#scheduled || this.lanes.hasReady || this.deliveries.gathered > 0 || this.#intakes.isFetching) return false
    return this.#admission.isOver
  }

  /** Hands out nothing more. */
  stop(): void {
    this.#isClosing = true
    this.retries.stop()
    this.deliveries.drop(() => true)
    this.moves.tell()
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
    this.#schedule()
  }

  lost(error: QueueError): void {
    if (this.#failure) return
    this.#failure = error
    this.retries.stop()
    for (const intake of this.#intakes) this.#endIntake(intake)
    this.deliveries.abort(error)
    this.settler.stop()
    this.#onEnded(error)
    if (error.code !== 'CLOSED') this.#events.emit('subscription:ended', { group: this.settings.group, error })
    this.moves.tell()
  }

  /** Hands out nothing more, settles what was decided, and is lost then. */
  #endBy(error: QueueError): void {
    this.stop()
    // Partitions may be granted before the membership is known, and with them what ends it.
    const isReady = this.moves.until(() => this.settler.isReady)
    void isReady.then(() => this.settler.flush()).then(() => this.lost(error))
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
    this.#admission.begin()
    this.#slice.begin()
    while (this.#mayStart) {
      const lane = this.lanes.takeReady()
      if (lane !== undefined) this.#starter.start(lane)
      else if (!this.#admission.takeIn()) break
      if (this.#slice.isOver()) {
        this.#scheduled = true
        this.#runtime.later('dispatch', this.#run)
        break
      }
    }
    if (!this.#scheduled && this.#mayStart) this.deliveries.flush()
    if (this.running === 0) this.timeLimit?.rest()
    if (!this.#scheduled) this.#careful?.looked(this.#isReadOut)
    this.settler.settleSoon(this.running)
    this.moves.tell()
  }

  get #mayStart(): boolean {
    if (this.deliveries.running >= this.#concurrency || this.settler.isFull) return false
    if (this.#careful?.isHeld === true) return false
    // Partitions may be granted before the membership is known, and what a handler decides needs it.
    if (this.#isClosing || !this.settler.hasMembership) return false
    return !this.pauses.isPaused && this.#failure === undefined
  }

  /** Whether everything that could be handed out has been, and has ended. */
  get #isReadOut(): boolean {
    if (this.running > 0 || this.lanes.hasReady || !this.settler.hasMembership) return false
    if (!this.#intakes.isAny || this.#intakes.isFetching || this.deliveries.gathered > 0) return false
    return this.#admission.isOver
  }

  #finish(intake: PartitionIntake, offset: number): void {
    this.handled++
    intake.finish(offset, offset + 1)
    this.settler.unsettled++
  }

  #accept(entries: readonly DeliveredEntry[], effects: CollectedEffects): Refusal | undefined {
    const result = this.settler.accept(entries, effects)
    effects.end()
    if (result !== undefined) return { error: deferred(result.error, this.#runtime.random('conflict')) }
    this.handled += entries.length
    return undefined
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

  #endIntake(intake: PartitionIntake): void {
    this.#ring.remove(intake)
    intake.isEnded = true
    intake.stopWatching()
    this.deliveries.drop((other) => other === intake)
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
