import type { Assignment, BrokerTopic } from '../contracts/broker.ts'
import type { Lane } from './key-lanes.ts'
import { PartitionIntake, type ConsumedTopic, type IntakeReader } from './partition-intake.ts'

/** The partitions that a subscription owns now and those that it is giving back, with the lanes of their messages. */
export class Intakes implements Iterable<PartitionIntake> {
  readonly #consumed: ReadonlyMap<BrokerTopic, ConsumedTopic>
  /** Whether each partition is one lane, instead of sharing the keys of its topic. */
  readonly #isByPartition: boolean
  readonly #owned = new Set<PartitionIntake>()
  /** The same by their numbers, which deferred messages are kept with. A number is used again when its partition is gone. */
  readonly #numbered: (PartitionIntake | undefined)[] = []
  readonly #lanesOfTopic = new Map<BrokerTopic, Map<string, Lane>>()

  readonly #reader: IntakeReader

  constructor(consumed: readonly ConsumedTopic[], isByPartition: boolean, reader: IntakeReader) {
    this.#reader = reader
    this.#consumed = new Map(consumed.map((entry) => [entry.topic, entry]))
    this.#isByPartition = isByPartition
  }

  [Symbol.iterator](): IterableIterator<PartitionIntake> {
    return this.#owned.values()
  }

  get(number: number): PartitionIntake {
    return this.#numbered[number]!
  }

  /** Those that were not revoked. */
  get active(): PartitionIntake[] {
    return [...this.#owned].filter(({ isEnded }) => !isEnded)
  }

  get isAny(): boolean {
    return this.#owned.size > 0
  }

  get isFetching(): boolean {
    for (const intake of this.#owned) if (intake.isFetching) return true
    return false
  }

  add(assignment: Assignment): PartitionIntake {
    const vacant = this.#numbered.indexOf(undefined)
    const number = vacant < 0 ? this.#numbered.length : vacant
    const consumed = this.#consumed.get(assignment.topic)!
    const intake = new PartitionIntake(number, assignment, consumed, this.#lanesFor(assignment.topic), this.#reader)
    this.#numbered[number] = intake
    this.#owned.add(intake)
    return intake
  }

  remove(intake: PartitionIntake): void {
    this.#owned.delete(intake)
    this.#numbered[intake.number] = undefined
  }

  /** Those of the given assignments, each of which is known by its fence. */
  of(assignments: readonly Assignment[]): PartitionIntake[] {
    const fences = new Set(assignments.map(({ fence }) => fence))
    return [...this.#owned].filter(({ assignment }) => fences.has(assignment.fence))
  }

  /** Those that share a map of lanes. */
  withLanes(map: Map<string, Lane> | undefined): PartitionIntake[] {
    return [...this.#owned].filter(({ lanes }) => lanes === map)
  }

  /** The lanes, by key, that messages of a partition may be in. */
  lanesAround(intake: PartitionIntake): Iterable<Map<string, Lane>> {
    return this.#isByPartition ? [intake.lanes] : this.#lanesOfTopic.values()
  }

  /** The lanes of a key, one a topic. */
  lanesOf(key: string): Lane[] {
    const found: Lane[] = []
    for (const lanes of this.#lanesOfTopic.values()) {
      const lane = lanes.get(key)
      if (lane) found.push(lane)
    }
    return found
  }

  #lanesFor(topic: BrokerTopic): Map<string, Lane> {
    if (this.#isByPartition) return new Map()
    let lanes = this.#lanesOfTopic.get(topic)
    if (lanes === undefined) this.#lanesOfTopic.set(topic, (lanes = new Map()))
    return lanes
  }
}
