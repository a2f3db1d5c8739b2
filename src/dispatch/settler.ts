import type { Membership, PartitionSettlement } from '../contracts/broker.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { PartitionIntake } from './partition-intake.ts'

/**
 * Commits what was finished, one settlement at a time: while one is on its way the next gathers, so acknowledging costs a
 * share of a commit, and the more there is to acknowledge the larger the share.
 */
export class Settler {
  /** Finished messages whose settlement is not durable yet. */
  unsettled = 0
  /** Settlements made, and messages in them. */
  settlements = 0
  settled = 0
  readonly #intakes: () => Iterable<PartitionIntake>
  readonly #onSettled: () => void
  readonly #onFailure: (error: QueueError) => void
  #membership: Membership | undefined
  #underWay = false
  #isStopped = false
  #started = 0
  #completed = 0
  /** Who waits until so many settlements are complete. */
  #waiters: { readonly target: number; readonly resolve: () => void }[] = []

  constructor(intakes: () => Iterable<PartitionIntake>, onSettled: () => void, onFailure: (error: QueueError) => void) {
    this.#intakes = intakes
    this.#onSettled = onSettled
    this.#onFailure = onFailure
  }

  set membership(membership: Membership) {
    this.#membership = membership
  }

  /** Settles what is finished, unless a settlement is under way: then it follows that one. */
  settle(): void {
    if (this.#underWay || this.unsettled === 0 || this.#membership === undefined) return
    const partitions: PartitionSettlement[] = []
    for (const intake of this.#intakes()) {
      if (intake.finished.length === 0) continue
      partitions.push({ assignment: intake.assignment, finished: intake.finished })
      intake.finished = []
    }
    const count = this.unsettled
    this.#underWay = true
    this.#started++
    this.#commit(this.#membership, partitions).then(
      () => {
        this.settlements++
        this.settled += count
        this.#complete(count)
        this.settle()
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
    if (this.#underWay) for (const intake of this.#intakes()) if (intake.finished.length > 0) target = this.#started + 1
    if (this.#completed >= target) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ target, resolve }))
  }

  /** Gives up: nothing can be settled any more. */
  stop(): void {
    this.#isStopped = true
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
