import type { IntakeRing } from './intake-ring.ts'
import type { Intakes } from './intakes.ts'
import { blockedBy, type KeyLanes, type Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** What pausing needs of the loop around it. */
export interface PauseHost {
  readonly lanes: KeyLanes
  readonly ring: IntakeRing
  readonly intakes: Intakes
  /** Names of the topics that are consumed. */
  readonly topics: readonly string[]
  /** Puts back what was gathered for a call that has not been made. */
  readonly release: (matches: (intake: PartitionIntake, key: string | undefined) => boolean) => void
  /** Something may be handed out again. */
  readonly moved: () => void
}

/**
 * What is paused: everything, partitions, or keys. Pausing hands out nothing new; what runs goes on. A pause outlives a
 * seek and a change of owners.
 */
export class PauseDesk {
  /** Whether nothing at all is handed out. */
  isPaused = false
  #isAsked = false
  #isHeld = false
  readonly #keys = new Set<string>()
  /** Paused partitions, as `topic/partition`. */
  readonly #partitions = new Set<string>()
  readonly #host: PauseHost

  constructor(host: PauseHost) {
    this.#host = host
  }

  /** Whether anything is paused: all, a partition or a key. */
  get holdsAny(): boolean {
    return this.isPaused || this.#keys.size > 0 || this.#partitions.size > 0
  }

  pause(): void {
    this.#isAsked = true
    this.isPaused = true
  }

  resume(): void {
    this.#isAsked = false
    this.isPaused = this.#isHeld
    this.#host.moved()
  }

  /** Hands out nothing while something is away that every handler needs, beside what is paused. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.isPaused = isHeld || this.#isAsked
    this.#host.moved()
  }

  pausePartition(topic: string | undefined, partition: number): void {
    for (const name of this.#named(topic)) this.#partitions.add(`${name}/${partition}`)
    for (const intake of this.#matching(topic, partition)) {
      intake.isPaused = true
      this.#host.ring.remove(intake)
      this.#host.release((other) => other === intake)
    }
    // Lanes that are ready are put aside by the loop.
    this.#host.moved()
  }

  resumePartition(topic: string | undefined, partition: number): void {
    for (const name of this.#named(topic)) this.#partitions.delete(`${name}/${partition}`)
    for (const intake of this.#matching(topic, partition)) {
      intake.isPaused = false
      this.#host.ring.add(intake)
      for (const lane of intake.held.splice(0)) this.#unblock(lane, blockedBy.pausedPartition)
    }
    this.#host.moved()
  }

  pauseKey(key: string): void {
    this.#keys.add(key)
    for (const lane of this.#host.intakes.lanesOf(key)) lane.blocked |= blockedBy.pausedKey
    this.#host.release((_, gathered) => gathered === key)
    this.#host.moved()
  }

  resumeKey(key: string): void {
    this.#keys.delete(key)
    for (const lane of this.#host.intakes.lanesOf(key)) this.#unblock(lane, blockedBy.pausedKey)
    this.#host.moved()
  }

  /** Whether messages of a key have to wait. */
  holdsKey(key: string): boolean {
    return this.#keys.size > 0 && this.#keys.has(key)
  }

  /** Whether a partition is paused, to be asked when it is granted. */
  holdsPartition(topic: string, partition: number): boolean {
    return this.#partitions.has(`${topic}/${partition}`)
  }

  /** Puts a lane aside whose next message belongs to a paused partition; false when it may go on. */
  holds(lane: Lane, intake: PartitionIntake): boolean {
    if (!intake.isPaused) return false
    lane.blocked |= blockedBy.pausedPartition
    this.#host.lanes.deferAll(lane)
    intake.held.push(lane)
    return true
  }

  #unblock(lane: Lane, reason: number): void {
    lane.blocked &= ~reason
    this.#host.lanes.refresh(lane)
  }

  #named(topic: string | undefined): readonly string[] {
    return topic === undefined ? this.#host.topics : [topic]
  }

  #matching(topic: string | undefined, partition: number): PartitionIntake[] {
    return [...this.#host.intakes].filter(({ assignment }) => {
      return assignment.partition === partition && (topic === undefined || assignment.topic.name === topic)
    })
  }
}
