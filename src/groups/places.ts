import type { Assignment, MemberListener, PartitionSettlement, StartPosition } from '../contracts/broker.ts'
import { startOffsets } from '../contracts/start-position.ts'
import type { Storage, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import type { GroupTopic } from './group-topic.ts'
import { Progress } from './progress.ts'

/** A member of a group. */
export interface Member {
  readonly id: string
  readonly topics: readonly GroupTopic[]
  readonly listener: MemberListener
}

/** One partition in the eyes of a group. */
export interface Place {
  /** Number of the partition, unique in the store. */
  readonly id: number
  readonly topic: GroupTopic
  readonly partition: number
  readonly progress: Progress
  /** Who may hand out its messages. Changes only through grant and release. */
  owner: Member | undefined
  /** The fence of the last grant; a settlement must carry it. */
  fence: number
  /** Set while the owner drains what runs; the partition is granted again only after it resolved. */
  releasing: Promise<void> | undefined
  /** While above zero nobody is granted the partition: its position is being moved. */
  held: number
}

/** Every partition that a group has a position in, and which of the positions have changes to be stored. */
export class Places {
  readonly #storage: Storage
  readonly #group: string
  readonly #groupId: number
  readonly #places = new Map<number, Place>()
  /** Progress with changes for the next commit. */
  readonly #changed = new Set<Progress>()
  /** Progress whose rows the next commit removes, because the topic is gone. */
  #obsolete: Progress[] = []

  constructor(storage: Storage, group: string, groupId: number) {
    this.#storage = storage
    this.#group = group
    this.#groupId = groupId
  }

  get size(): number {
    return this.#places.size
  }

  get hasChanges(): boolean {
    return this.#changed.size > 0 || this.#obsolete.length > 0
  }

  all(): Place[] {
    return [...this.#places.values()]
  }

  get(id: number): Place | undefined {
    return this.#places.get(id)
  }

  of({ topic, partition }: Assignment): Place | undefined {
    return this.#places.get((topic as GroupTopic).partitionIds[partition]!)
  }

  ownedBy(member: Member): Place[] {
    return this.all().filter(({ owner }) => owner === member)
  }

  /** Names of the topics. */
  topics(): string[] {
    return [...new Set(this.all().map(({ topic }) => topic.name))]
  }

  /** @throws `OFFSET_OUT_OF_RANGE` when there is none */
  choose(where: { readonly topic?: string; readonly partition?: number }): Place[] {
    const chosen = this.all().filter(({ topic, partition }) => {
      if (where.topic !== undefined && topic.name !== where.topic) return false
      return where.partition === undefined || partition === where.partition
    })
    if (chosen.length > 0) return chosen
    const facts = { group: this.#group, ...where }
    throw new QueueError('OFFSET_OUT_OF_RANGE', `group ${this.#group} has no position there`, facts)
  }

  /** Takes up what was stored for a topic. */
  restore(topic: GroupTopic): void {
    topic.partitionIds.forEach((id, partition) => {
      const progress = Progress.restore(this.#storage, this.#groupId, id)
      if (progress) this.#add(topic, partition, progress)
    })
  }

  /**
   * Where the group begins in the topics that it is new on; all of it is known before anything is set.
   *
   * @throws `INVALID_OPTION` when it is new on one and `from` is missing
   */
  async starts(
    topics: readonly GroupTopic[],
    from: StartPosition | undefined,
  ): Promise<[topic: GroupTopic, offsets: number[]][]> {
    const found: [GroupTopic, number[]][] = []
    for (const topic of topics) {
      if (topic.partitionIds.every((id) => this.#places.has(id))) continue
      if (from === undefined) throw this.#fromMissing(topic)
      found.push([topic, await startOffsets(topic, from)])
    }
    return found
  }

  begin(topic: GroupTopic, offsets: readonly number[]): void {
    topic.partitionIds.forEach((id, partition) => {
      // Another member may have begun meanwhile; its positions stand.
      if (this.#places.has(id)) return
      const progress = Progress.begin(this.#groupId, id, offsets[partition]!)
      this.#add(topic, partition, progress)
      this.#changed.add(progress)
    })
  }

  settle(place: Place, { finished, failed }: PartitionSettlement): void {
    // What failed first may have been finished since.
    if (failed) place.progress.fail(failed)
    place.progress.finish(finished)
    this.#changed.add(place.progress)
  }

  move(place: Place, position: number): void {
    place.progress.moveTo(position)
    this.#changed.add(place.progress)
  }

  /** Forgets a topic; its rows go with the next commit. */
  drop(topic: GroupTopic): void {
    for (const id of topic.partitionIds) {
      const place = this.#places.get(id)
      if (place === undefined) continue
      this.#places.delete(id)
      this.#changed.delete(place.progress)
      this.#obsolete.push(place.progress)
    }
  }

  write(writes: WriteBatch): void {
    for (const progress of this.#obsolete) progress.erase(writes)
    this.#obsolete = []
    for (const progress of this.#changed) progress.write(writes)
    this.#changed.clear()
  }

  /** Removes the rows of every place. */
  erase(writes: WriteBatch): void {
    for (const { progress } of this.#places.values()) progress.erase(writes)
  }

  #add(topic: GroupTopic, partition: number, progress: Progress): void {
    const id = topic.partitionIds[partition]!
    this.#places.set(id, { id, topic, partition, progress, owner: undefined, fence: 0, releasing: undefined, held: 0 })
  }

  #fromMissing({ name }: GroupTopic): QueueError {
    const allowed = `'earliest', 'latest', { offset } or { timestamp }`
    const message = `group ${this.#group} is new on topic ${name}: option from is missing; allowed is ${allowed}`
    return new QueueError('INVALID_OPTION', message, { option: 'from', allowed, group: this.#group, topic: name })
  }
}
