import type { FailedState, RecordBatch } from '../contracts/broker.ts'
import type { QueueError } from '../errors.ts'
import type { CarefulMember, CarefulTurns } from './careful-turns.ts'
import type { DeliveredEntry, LeftRunning } from './delivered-entry.ts'
import type { Deliveries, DeliveryHost, GatheredMatch } from './deliveries.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { DispatcherSettings } from './settings.ts'
import type { Settler } from './settler.ts'

/** At the most so many messages of a subscription run alone, where not more of them could run at once. */
const maxWindow = 4_096
/** And not for longer than this, in milliseconds: those that did are settled, so the next start goes on behind them. */
const maxCarefulMs = 60_000

/** What being careful needs of the loop around it, beside what handing out does. */
export interface CarefulHost {
  readonly settings: DispatcherSettings
  readonly settler: Settler
  /** Whether it has partitions and hands out their messages. */
  readonly isActive: () => boolean
  /** Whether it hands out nothing more. */
  readonly isClosing: () => boolean
  /** Something has to be settled. */
  readonly noted: () => void
  readonly wake: () => void
}

/** A message that waits for its turn or its mark. */
interface Pending extends DeliveredEntry {
  readonly lane: Lane
  readonly batch: RecordBatch
  readonly index: number
  readonly laneKey: string | undefined
  isMarked: boolean
}

/**
 * Stands before the deliveries of a subscription after an unclean end of the process: hands out one message at a time, when
 * nothing else runs, and when it is on disk that it is about to run. Once that is over it passes on what it is given.
 */
export class CarefulDeliveries implements Deliveries, CarefulMember {
  readonly settler: Settler
  readonly #turns: CarefulTurns
  readonly #host: DeliveryHost
  readonly #careful: CarefulHost
  readonly #inner: Deliveries
  /** Messages left that run alone. */
  #window: number
  /** When it took the turn that it has or had last. */
  #turnAt = 0
  /** For how long it had turns, in milliseconds; once that is long enough there is no window any more. */
  #carefulMs = 0
  #pending: Pending | undefined
  /** What runs alone, with its mark on disk. */
  #marked: DeliveredEntry | undefined

  /** `inner` makes the deliveries that hand out. */
  constructor(
    turns: CarefulTurns,
    host: DeliveryHost,
    careful: CarefulHost,
    inner: (host: DeliveryHost) => Deliveries,
  ) {
    this.#turns = turns
    this.#host = host
    this.#careful = careful
    this.settler = careful.settler
    const { concurrency, batch } = careful.settings
    const mostRunning = concurrency * (batch?.max ?? 1)
    this.#window = Math.max(mostRunning, Math.min(mostRunning * turns.factor, maxWindow))
    this.#inner = inner({
      ...host,
      fail: (lane, entry, error, isUnread) => {
        host.fail(lane, entry, error, isUnread)
        this.#decided(entry)
      },
      deadLetter: (lane, entry, effects) => {
        host.deadLetter(lane, entry, effects)
        this.#decided(entry)
      },
      ended: () => {
        this.#ended()
        host.ended()
      },
    })
    turns.add(this)
  }

  get running(): number {
    return this.#inner.running + (this.#pending === undefined ? 0 : 1)
  }

  get gathered(): number {
    return this.#inner.gathered
  }

  get gathering(): object | undefined {
    return this.#inner.gathering
  }

  get isHeld(): boolean {
    return this.#turns.isHeld(this)
  }

  get isQuiet(): boolean {
    return this.#inner.running === 0 && this.#inner.gathered === 0
  }

  get isWary(): boolean {
    return this.#window > 0 && this.#careful.isActive()
  }

  start(
    lane: Lane | undefined,
    intake: PartitionIntake,
    batch: RecordBatch,
    index: number,
    laneKey: string | undefined,
    attempt: number,
  ): void {
    const offset = batch.offsetAt(index)
    if (!this.#turns.isCareful(intake.suspects.has(offset))) {
      return this.#inner.start(lane, intake, batch, index, laneKey, attempt)
    }
    const { lanes, isByKey } = this.#host
    const key = isByKey ? laneKey : batch.keyAt(index)
    const busy = lane ?? lanes.open(laneKey, intake.lanes)
    busy.isBusy = true
    intake.running++
    if (this.#window > 0) this.#window--
    this.#turnAt = this.#host.runtime.monotonic()
    this.#pending = { lane: busy, intake, batch, index, offset, laneKey, key, attempt, isMarked: false }
    this.#turns.take(this)
  }

  flush(): void {
    this.#inner.flush()
  }

  push(): void {
    this.#inner.push()
  }

  wake(): void {
    this.#careful.wake()
  }

  /**
   * The loop has looked for messages to start. `isReadOut`: everything that could be handed out has been, so what ran when
   * the process ended too.
   */
  looked(isReadOut: boolean): void {
    if (isReadOut && this.#window > 0) {
      this.#window = 0
      this.#turns.look()
    }
    this.#turns.passed(this)
  }

  release(matches: GatheredMatch): void {
    this.#inner.release(matches)
    const pending = this.#pending
    if (pending === undefined || !matches(pending.intake, pending.key)) return
    const { lane, intake, offset, attempt } = pending
    const { lanes } = this.#host
    lanes.deferAll(lane)
    if (attempt > 1) this.#host.again(lane, pending)
    else lanes.putBack(lane, [{ source: intake.number, offset }])
    this.#cancel(pending)
  }

  drop(matches: GatheredMatch): void {
    this.#inner.drop(matches)
    const pending = this.#pending
    if (pending !== undefined && matches(pending.intake, pending.key)) this.#cancel(pending)
    this.#leaveOnceOver()
  }

  abort(reason: QueueError): LeftRunning[] {
    // It runs on, and nobody knows beside what.
    if (this.#marked !== undefined) this.#unmark()
    return this.#inner.abort(reason)
  }

  cancel(matches: (entry: DeliveredEntry) => boolean, reason: QueueError): number {
    return this.#inner.cancel(matches, reason)
  }

  // --- the turn ---

  begin(): void {
    void this.#mark(this.#pending!)
  }

  giveUp(): void {
    this.#spend()
    if (this.#marked !== undefined) this.#unmark()
    // A mark on its way is waited for, and taken back.
    else if (this.#pending?.isMarked === false) this.#run(this.#pending)
  }

  async #mark(pending: Pending): Promise<void> {
    await this.#turns.settleBefore(this)
    if (this.#pending !== pending) return
    // What is finished before it runs has no attempts to be counted; it is on disk behind what was decided before.
    if (this.#careful.settings.ackMode === 'before') {
      this.#run(pending)
      return this.#ended()
    }
    const { key, attempt } = pending
    this.#note(pending, { attempts: attempt, dueAt: 0, key, mark: 'running' })
    pending.isMarked = true
    await this.settler.flush()
    if (this.#pending !== pending) return
    this.#marked = pending
    if (!this.#turns.has(this)) this.#unmark()
    this.#run(pending)
    this.#ended()
  }

  /** Hands it out at last. */
  #run(pending: Pending): void {
    const { lane, intake, batch, index, laneKey, attempt } = pending
    this.#free(pending)
    if (this.#host.isOver()) return
    this.#inner.start(lane, intake, batch, index, laneKey, attempt)
    this.#inner.push()
  }

  #ended(): void {
    if (this.#marked !== undefined && this.isQuiet) {
      // What failed there is its next owner's, with the attempt not counted.
      if (this.#marked.intake.isEnded) this.#unmark()
      this.#marked = undefined
    }
    if (this.#pending === undefined && this.#marked === undefined && this.isQuiet) this.#endTurn()
    this.#turns.look()
    this.#leaveOnceOver()
  }

  /** It was decided about. Where it did not fail (deferred, given back, moved), its attempt does not count. */
  #decided({ intake, offset }: DeliveredEntry): void {
    if (this.#marked?.offset === offset && !intake.failed.has(offset)) this.#unmark()
  }

  #cancel(pending: Pending): void {
    if (pending.isMarked) this.#takeBack(pending)
    this.#free(pending)
    this.#host.lanes.refresh(pending.lane)
    this.#endTurn()
  }

  #endTurn(): void {
    if (this.#turns.has(this)) this.#spend()
    this.#turns.end(this)
  }

  #spend(): void {
    this.#carefulMs += this.#host.runtime.monotonic() - this.#turnAt
    if (this.#carefulMs >= maxCarefulMs) this.#window = 0
  }

  #free({ lane, intake }: Pending): void {
    this.#pending = undefined
    lane.isBusy = false
    intake.running--
  }

  /** The attempt is not counted when the process ends from now on. */
  #unmark(): void {
    this.#takeBack(this.#marked!)
    this.#marked = undefined
  }

  #takeBack(entry: DeliveredEntry): void {
    this.#note(entry, { attempts: entry.attempt - 1, dueAt: 0, key: entry.key })
  }

  #note({ intake, offset }: DeliveredEntry, state: FailedState): void {
    const known = intake.failed.get(offset) ?? intake.assignment.failed.get(offset)
    intake.failed.set(offset, { ...state, first: known?.first })
    this.#careful.noted()
  }

  #leaveOnceOver(): void {
    if (this.#careful.isClosing() && this.running === 0) this.#turns.remove(this)
  }
}
