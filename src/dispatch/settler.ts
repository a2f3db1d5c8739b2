import type { Assignment, Effects, Membership, PartitionSettlement } from '../contracts/broker.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { Acknowledgement, PendingAcknowledgement } from './acknowledgement.ts'
import type { DeliveredEntry } from './delivered-entry.ts'
import type { Refusal } from './deliveries.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** With so many handlers running, finished messages gather for a while before they are settled together. */
const gatherFrom = 8
/** How long they gather, in milliseconds. */
const gatherMs = 5
/** So many finished messages are settled without waiting for more. */
const enough = 1_000
/** Handled messages that may wait for their settlement before the loop pauses. */
const maxUnsettled = 32_768
/** Bytes of outputs that may wait for the disk before the loop pauses. */
const maxOutputBytes = 16_777_216

/**
 * Commits what was finished, one settlement at a time: while one is on its way the next gathers, so acknowledging costs a
 * share of a commit, and the more there is to acknowledge the larger the share.
 *
 * Handlers that wait end one by one, and a commit for each would wake the loop so often that their own timers get late. So
 * while many run, settlements keep a few milliseconds apart; with few there is nothing to gather for.
 */
export class Settler {
  /** Finished messages, and failures, whose settlement is not durable yet. */
  unsettled = 0
  /** Settlements made, and messages in them. */
  settlements = 0
  settled = 0
  /** Bytes of outputs that are not durable yet. */
  #outputBytes = 0
  readonly #runtime: Runtime
  readonly #intakes: () => Iterable<PartitionIntake>
  readonly #onSettled: () => void
  readonly #onFailure: (error: QueueError) => void
  #membership: Membership | undefined
  #underWay = false
  /** How many of {@link Settler.unsettled} the settlement under way makes durable. */
  #countUnderWay = 0
  /** When the last settlement began, by the monotonic clock. */
  #startedAt = -Infinity
  /** Set while finished messages gather. */
  #timer: Timer | undefined
  #isStopped = false
  #started = 0
  #completed = 0
  /** Answered when the settlement that begins next is over. */
  #acknowledgements: PendingAcknowledgement[] = []
  /** Who waits until so many settlements are complete. */
  #waiters: { readonly target: number; readonly resolve: () => void }[] = []

  constructor(
    runtime: Runtime,
    intakes: () => Iterable<PartitionIntake>,
    onSettled: () => void,
    onFailure: (error: QueueError) => void,
  ) {
    this.#runtime = runtime
    this.#intakes = intakes
    this.#onSettled = onSettled
    this.#onFailure = onFailure
  }

  /** Whether the member has joined, so that something can be settled. */
  get hasMembership(): boolean {
    return this.#membership !== undefined
  }

  set membership(membership: Membership) {
    this.#membership = membership
  }

  /** Whether so much waits for the disk that nothing more should be handed out. */
  get isFull(): boolean {
    return this.unsettled >= maxUnsettled || this.#outputBytes >= maxOutputBytes
  }

  /**
   * Finishes messages together with effects, at once; the next settlement makes it durable. Returns why not, if that can't
   * be: then nothing has changed.
   */
  accept(entries: readonly DeliveredEntry[], effects: Effects): Refusal | undefined {
    // The membership is over: whoever gets the messages next runs their handlers again.
    if (this.#membership === undefined) return { error: undefined }
    try {
      const { bytes } = this.#membership.accept({ partitions: settlementsOf(entries) }, effects)
      this.#outputBytes += bytes
    } catch (error) {
      return { error }
    }
    this.unsettled += entries.length
    return undefined
  }

  /** Whether it can settle, or never will again. */
  get isReady(): boolean {
    return this.#membership !== undefined || this.#isStopped
  }

  /** Settles what is finished now or, while many handlers run that may add to it, a few milliseconds later. */
  settleSoon(running: number): void {
    if (this.#underWay || this.unsettled === 0 || this.#membership === undefined) return
    if (running < gatherFrom || this.unsettled >= enough) return this.settle()
    if (this.#timer !== undefined) return
    const leftMs = this.#startedAt + gatherMs - this.#runtime.monotonic()
    if (leftMs <= 0) this.settle()
    else
      this.#timer ??= this.#runtime.timer(leftMs, 'settle', () => {
        this.#timer = undefined
        this.settle()
      })
  }

  /** Settles what is finished, unless a settlement is under way: then it follows that one. */
  settle(): void {
    if (this.#underWay || this.unsettled === 0 || this.#membership === undefined) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#startedAt = this.#runtime.monotonic()
    const partitions: PartitionSettlement[] = []
    const intakes: PartitionIntake[] = []
    for (const intake of this.#intakes()) {
      const { assignment, finished, failed } = intake
      if (finished.length === 0 && failed.size === 0) continue
      partitions.push({ assignment, finished, ...(failed.size === 0 ? {} : { failed }) })
      intakes.push(intake)
      intake.finished = []
      if (failed.size > 0) intake.failed = new Map()
    }
    const count = this.unsettled
    const bytes = this.#outputBytes
    this.#countUnderWay = count
    const acknowledgements = this.#acknowledgements
    if (acknowledgements.length > 0) this.#acknowledgements = []
    this.#underWay = true
    this.#started++
    this.#commit(this.#membership, partitions, intakes).then(
      () => {
        this.settlements++
        this.settled += count
        this.#outputBytes -= bytes
        this.#complete(count)
        answer(acknowledgements)
        if (this.#waiters.length > 0) this.settle()
        this.#onSettled()
      },
      (error: unknown) => {
        this.#complete(count)
        this.#onFailure(error as QueueError)
        refuse(acknowledgements, error)
      },
    )
  }

  /** Whether something waits until the settlement under way is complete. */
  get isBehind(): boolean {
    return this.#underWay && this.unsettled > this.#countUnderWay
  }

  /** Resolves when everything that is finished now is settled, or can't be any more. */
  flush(): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    this.settle()
    const target = this.#started + (this.isBehind ? 1 : 0)
    if (this.#completed >= target) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ target, resolve }))
  }

  /** Answers it when what is finished now is settled, or can't be any more. It hurries nothing. */
  acknowledge(intake: PartitionIntake | undefined, acknowledgement: Acknowledgement): void {
    const pending: PendingAcknowledgement = { intake, acknowledgement }
    if (this.#isStopped) refuse([pending])
    // What failed in a partition that is being given back is its next owner's.
    else if (intake?.isEnded && !acknowledgement.isDone) acknowledgement.refuse('the partition is given back')
    else this.#acknowledgements.push(pending)
  }

  /** The grant of a partition that has this fence, while the partition is not given back. */
  assignmentOf(topic: string, partition: number, fence: number): Assignment | undefined {
    if (this.#membership === undefined) return undefined
    for (const { assignment } of this.#intakes()) {
      const isIt = assignment.fence === fence && assignment.partition === partition
      if (isIt && assignment.topic.name === topic) return assignment
    }
    return undefined
  }

  /** Gives up: nothing can be settled any more. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.unsettled = 0
    this.#membership = undefined
    this.#tell(Infinity)
    refuse(this.#acknowledgements.splice(0))
  }

  #complete(count: number): void {
    this.#underWay = false
    this.#completed++
    this.unsettled = Math.max(0, this.unsettled - count)
    this.#tell(this.#completed)
  }

  #tell(completed: number): void {
    const waiters = this.#waiters
    this.#waiters = waiters.filter(({ target }) => target > completed)
    for (const { target, resolve } of waiters) if (target <= completed) resolve()
  }

  async #commit(
    membership: Membership,
    partitions: readonly PartitionSettlement[],
    intakes: readonly PartitionIntake[],
  ): Promise<void> {
    try {
      await membership.settle({ partitions })
    } catch (error) {
      if (!isQueueError(error, 'FENCED')) throw error
      // One of them has another owner by now; the others are still ours.
      for (const [i, partition] of partitions.entries()) {
        await membership.settle({ partitions: [partition] }).catch((reason: unknown) => {
          if (!isQueueError(reason, 'FENCED')) throw reason
          intakes[i]!.isFenced = true
        })
      }
    }
  }
}

/** The messages as finished offsets of their partitions. */
function settlementsOf(entries: readonly DeliveredEntry[]): PartitionSettlement[] {
  const [first] = entries
  if (entries.length === 1) {
    return [{ assignment: first!.intake.assignment, finished: [first!.offset, first!.offset + 1] }]
  }
  const finished = new Map<PartitionIntake, number[]>()
  for (const { intake, offset } of entries) {
    const ranges = finished.get(intake)
    if (ranges) ranges.push(offset, offset + 1)
    else finished.set(intake, [offset, offset + 1])
  }
  return [...finished].map(([{ assignment }, ranges]) => ({ assignment, finished: ranges }))
}

function answer(pending: readonly PendingAcknowledgement[]): void {
  for (const { intake, acknowledgement } of pending) {
    if (intake?.isFenced) acknowledgement.refuse('the partition has another owner')
    else acknowledgement.settled()
  }
}

function refuse(pending: readonly PendingAcknowledgement[], cause?: unknown): void {
  for (const { acknowledgement } of pending) acknowledgement.refuse('the subscription has ended', cause)
}
