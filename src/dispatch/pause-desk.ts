import type { BrokerTopic } from '../contracts/broker.ts'
import type { IntakeRing } from './intake-ring.ts'
import { blockedBy, type KeyLanes, type Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** What is paused: everything, partitions, or keys. Pausing hands out nothing new; what runs goes on. */
export class PauseDesk {
  isPaused = false
  readonly #keys = new Set<string>()
  readonly #lanes: KeyLanes
  readonly #ring: IntakeRing
  readonly #intakes: Iterable<PartitionIntake>
  readonly #lanesOfTopic: ReadonlyMap<BrokerTopic, Map<string, Lane>>
  readonly #onReady: () => void

  constructor(
    lanes: KeyLanes,
    ring: IntakeRing,
    intakes: Iterable<PartitionIntake>,
    lanesOfTopic: ReadonlyMap<BrokerTopic, Map<string, Lane>>,
    onReady: () => void,
  ) {
    this.#lanes = lanes
    this.#ring = ring
    this.#intakes = intakes
    this.#lanesOfTopic = lanesOfTopic
    this.#onReady = onReady
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
    this.#onReady()
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
    this.#onReady()
  }

  pauseKey(key: string): void {
    this.#keys.add(key)
    for (const lanes of this.#lanesOfTopic.values()) {
      const lane = lanes.get(key)
      if (lane) lane.blocked |= blockedBy.pausedKey
    }
  }

  resumeKey(key: string): void {
    this.#keys.delete(key)
    for (const lanes of this.#lanesOfTopic.values()) {
      const lane = lanes.get(key)
      if (lane) this.#unblock(lane, blockedBy.pausedKey)
    }
    this.#onReady()
  }

  /** Whether messages of a key have to wait. */
  holdsKey(key: string): boolean {
    return this.#keys.size > 0 && this.#keys.has(key)
  }

  /** Puts a lane aside whose next message belongs to a paused partition; false when it may go on. */
  holds(lane: Lane, intake: PartitionIntake): boolean {
    if (!intake.isPaused) return false
    lane.blocked |= blockedBy.pausedPartition
    this.#lanes.deferAll(lane)
    intake.held.push(lane)
    return true
  }

  #unblock(lane: Lane, reason: number): void {
    lane.blocked &= ~reason
    this.#lanes.refresh(lane)
  }

  #matching(topic: string | undefined, partition: number): PartitionIntake[] {
    return [...this.#intakes].filter(({ assignment }) => {
      return assignment.partition === partition && (topic === undefined || assignment.topic.name === topic)
    })
  }
}
