import type { Membership, PartitionSettlement } from '../contracts/broker.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** With so many handlers running, finished messages gather for a while before they are settled together. */
const gatherFrom = 8
/** How long they gather, in milliseconds. */
const gatherMs = 5
/** So many finished messages are settled without waiting for more. */
const enough = 1_000

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
  readonly #runtime: Runtime
  readonly #intakes: () => Iterable<PartitionIntake>
  readonly #onSettled: () => void
  readonly #onFailure: (error: QueueError) => void
  #membership: Membership | undefined
  #underWay = false
  /** When the last settlement began, by the monotonic clock. */
  #startedAt = -Infinity
  /** Set while finished messages gather. */
  #timer: Timer | undefined
  #isStopped = false
  #started = 0
  #completed = 0
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

  set membership(membership: Membership) {
    this.#membership = membership
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
    for (const intake of this.#intakes()) {
      const { assignment, finished, failed } = intake
      if (finished.length === 0 && failed.size === 0) continue
      partitions.push({ assignment, finished, ...(failed.size === 0 ? {} : { failed }) })
      intake.finished = []
      if (failed.size > 0) intake.failed = new Map()
    }
    const count = this.unsettled
    this.#underWay = true
    this.#started++
    this.#commit(this.#membership, partitions).then(
      () => {
        this.settlements++
        this.settled += count
        this.#complete(count)
        if (this.#waiters.length > 0) this.settle()
        this.#onSettled()
      },
      (error: unknown) => {
        this.#complete(count)
        this.#onFailure(error as QueueError)
      },
    )
  }

  /** Resolves when everything that is finished now is settled, or can't be any more. */
  flush(): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    this.settle()
    let target = this.#started
    if (this.#underWay)
      for (const { finished, failed } of this.#intakes())
        if (finished.length + failed.size > 0) target = this.#started + 1
    if (this.#completed >= target) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ target, resolve }))
  }

  /** Gives up: nothing can be settled any more. */
  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.unsettled = 0
    this.#membership = undefined
    this.#tell(Infinity)
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

  async #commit(membership: Membership, partitions: PartitionSettlement[]): Promise<void> {
    try {
      await membership.settle({ partitions })
    } catch (error) {
      if (!isQueueError(error, 'FENCED')) throw error
      // One of them has another owner by now; the others are still ours.
      for (const partition of partitions) {
        await membership.settle({ partitions: [partition] }).catch((reason: unknown) => {
          if (!isQueueError(reason, 'FENCED')) throw reason
        })
      }
    }
  }
}
