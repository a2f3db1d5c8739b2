import type {
  Assignment,
  GroupDescription,
  GroupPosition,
  JoinRequest,
  PartitionSettlement,
  Settlement,
  StartPosition,
} from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import { startOffset } from '../contracts/start-position.ts'
import type { CommitQueue, Contributor, Storage, WriteBatch } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import { groupKey } from '../key-layout.ts'
import { assign } from './assignment.ts'
import type { GroupTopic } from './group-topic.ts'
import { Places, type Member, type Place } from './places.ts'

/** What groups share with the engine around them. */
export interface GroupContext {
  readonly storage: Storage
  readonly commit: CommitQueue
  /** Told after each change of owners. */
  readonly rebalanced: (group: string, owners: number) => void
  /** Told before a member is granted anything: what it marks is on disk by then. */
  readonly ends?: { begin(): void } | undefined
}

/** A member's side of a group, for the broker around it. */
export interface GroupMembership {
  readonly id: string
  settle(settlement: Settlement): Promise<void>
  /** A settlement as a part of a commit. */
  part(settlement: Settlement): CommitPart
  leave(options?: { abandon?: boolean }): Promise<void>
}

/** Fences are made of the store's epoch and a count of grants, so that they rise over restarts without being stored. */
const grantsPerEpoch = 2 ** 32

/**
 * A consumer group: who owns which partition, and what is finished.
 *
 * A partition is released before it is granted: the new owner starts only when nothing of the old one runs any more, so
 * that order per key holds across every reassignment. All of it lives in the one process that owns the store.
 *
 * @remarks Semantics: KIP-848 (group epoch, target assignment, release before grant); differs: no sessions, no heartbeats.
 */
export class Group implements Contributor {
  readonly name: string
  readonly id: number
  readonly #context: GroupContext
  readonly #members: Member[] = []
  readonly #places: Places
  /** Members that are on their way in. */
  #joining = 0
  #memberCount = 0
  #grants = 0
  #isNew: boolean

  constructor(context: GroupContext, name: string, id: number, isNew: boolean) {
    this.#context = context
    this.name = name
    this.id = id
    this.#isNew = isNew
    this.#places = new Places(context.storage, name, id)
  }

  /** Takes up what was stored for a topic. */
  restore(topic: GroupTopic): void {
    this.#places.restore(topic)
  }

  describe(): GroupDescription {
    return { name: this.name, members: this.#members.map(({ id }) => id), topics: this.#places.topics() }
  }

  /** The position in one partition; undefined where the group has none. */
  positionIn(partitionId: number): number | undefined {
    return this.#places.get(partitionId)?.progress.position
  }

  positions(): GroupPosition[] {
    return this.#places.all().map(({ topic, partition, progress, owner }) => ({
      topic: topic.name,
      partition,
      position: progress.position,
      finishedAbove: progress.above,
      owner: owner?.id,
      backlog: topic.backlog(partition, progress.finished),
    }))
  }

  /** Adds a member; resolves when the group's positions are stored. */
  async join(request: JoinRequest): Promise<GroupMembership> {
    const topics = request.topics as readonly GroupTopic[]
    this.#joining++
    const starts = await this.#places.starts(topics, request.from).finally(() => this.#joining--)
    this.#checkTopics(topics)
    for (const [topic, offsets] of starts) this.#places.begin(topic, offsets)
    const member: Member = { id: `${this.name}-${++this.#memberCount}`, topics, listener: request.listener }
    this.#members.push(member)
    this.#context.ends?.begin()
    await this.#committed()
    this.#rebalance()
    return {
      id: member.id,
      settle: (settlement) => this.#settle(member, settlement),
      part: (settlement) => this.#part(member, settlement),
      leave: (options) => this.#leave(member, options?.abandon ?? false),
    }
  }

  /** Moves the group in the chosen partitions: takes them back, sets the position, grants them again. */
  async seek(to: StartPosition, where: { topic?: string; partition?: number } = {}): Promise<void> {
    const chosen = this.#places.choose(where)
    const targets = await Promise.all(chosen.map(({ topic, partition }) => startOffset(topic, partition, to)))
    for (const place of chosen) place.held++
    try {
      await this.#release(chosen)
      chosen.forEach((place, i) => this.#places.move(place, targets[i]!))
      await this.#committed()
    } finally {
      for (const place of chosen) place.held--
      this.#rebalance()
    }
  }

  /** Ends every membership, when the topic goes or the store fails. */
  lose(error: QueueError, topic?: GroupTopic): void {
    for (const member of [...this.#members]) {
      if (topic && !member.topics.includes(topic)) continue
      this.#remove(member)
      for (const place of this.#places.ownedBy(member)) this.#disown(place)
      member.listener.lost(error)
    }
    if (topic === undefined) return
    this.#places.drop(topic)
    this.#context.commit.mark(this)
    this.#rebalance()
  }

  /** Removes all rows of the group. */
  erase(writes: WriteBatch): void {
    this.#places.erase(writes)
    writes.remove('meta', groupKey(this.name))
  }

  /** Names of the topics that members consume now. */
  get consumedTopics(): ReadonlySet<string> {
    return new Set(this.#members[0]?.topics.map(({ name }) => name))
  }

  /** Whether nothing of the group is stored and nobody is in it. */
  get isUnused(): boolean {
    return this.#isNew && this.#members.length === 0 && this.#places.size === 0
  }

  get hasMembers(): boolean {
    return this.#members.length > 0 || this.#joining > 0
  }

  contribute(writes: WriteBatch): void {
    if (this.#isNew) writes.put('meta', groupKey(this.name), Buffer.from(JSON.stringify({ id: this.id })))
    this.#isNew = false
    this.#places.write(writes)
  }

  #checkTopics(topics: readonly GroupTopic[]): void {
    const [first] = this.#members
    if (first === undefined) return
    const same = first.topics.length === topics.length && topics.every((topic) => first.topics.includes(topic))
    if (same) return
    const names = first.topics.map(({ name }) => name).join(', ')
    throw new QueueError(
      'GROUP_CONFLICT',
      `the members of group ${this.name} consume ${names}: a new one has to do the same`,
      {
        group: this.name,
      },
    )
  }

  #settle(member: Member, settlement: Settlement): Promise<void> {
    const part = this.#part(member, settlement)
    try {
      part.check()
    } catch (error) {
      return Promise.reject(error as QueueError)
    }
    part.apply([])
    return this.#committed()
  }

  #part(member: Member, { partitions }: Settlement): CommitPart {
    return new SettlementPart(this, member, partitions)
  }

  /** Whether a member may settle them. @throws `FENCED` */
  checkSettlement(member: Member, partitions: readonly PartitionSettlement[]): void {
    for (const { assignment } of partitions) this.#assertOwner(member, assignment)
  }

  /** Takes what was checked. */
  applySettlement(partitions: readonly PartitionSettlement[]): void {
    for (const partition of partitions) this.#places.settle(this.#places.of(partition.assignment)!, partition)
    if (this.#places.hasChanges) this.#context.commit.mark(this)
  }

  #assertOwner(member: Member, assignment: Assignment): void {
    const place = this.#places.of(assignment)
    if (place?.owner === member && place.fence === assignment.fence) return
    const { partition, topic } = assignment
    const message = `partition ${partition} of ${topic.name} has another owner in group ${this.name}: nothing was settled`
    throw new QueueError('FENCED', message, { group: this.name, topic: topic.name, partition })
  }

  #committed(): Promise<void> {
    if (this.#isNew || this.#places.hasChanges) this.#context.commit.mark(this)
    return new Promise((resolve, reject) => this.#context.commit.wait(resolve, reject, undefined))
  }

  async #leave(member: Member, abandon: boolean): Promise<void> {
    if (!this.#remove(member)) return
    const places = this.#places.ownedBy(member)
    if (abandon) for (const place of places) this.#disown(place)
    else await this.#release(places)
    this.#rebalance()
  }

  #remove(member: Member): boolean {
    const index = this.#members.indexOf(member)
    if (index < 0) return false
    this.#members.splice(index, 1)
    return true
  }

  /** Moves partitions towards the target: takes back what should move, grants what is free. */
  #rebalance(): void {
    const consumed = new Set(this.#members[0]?.topics)
    const places = this.#places.all().filter(({ topic }) => consumed.has(topic))
    const target = assign(
      places.map(({ id, owner }) => ({ id, owner: owner?.id })),
      this.#members.map(({ id }) => id),
    )
    const moving: Place[] = []
    const granted = new Map<Member, Assignment[]>()
    for (const place of places) {
      const wanted = this.#members.find((member) => member.id === target.get(place.id))
      if (wanted === undefined || place.owner === wanted || place.held > 0) continue
      if (place.owner !== undefined) moving.push(place)
      else {
        if (!granted.has(wanted)) granted.set(wanted, [])
        granted.get(wanted)!.push(this.#grant(place, wanted))
      }
    }
    for (const [member, assignments] of granted) member.listener.assigned(assignments)
    if (granted.size > 0) this.#context.rebalanced(this.name, this.#members.length)
    if (moving.length > 0) void this.#release(moving).then(() => this.#rebalance())
  }

  #grant(place: Place, member: Member): Assignment {
    place.owner = member
    place.fence = this.#context.storage.epoch * grantsPerEpoch + ++this.#grants
    const { topic, partition, fence, progress } = place
    return { topic, partition, fence, finished: progress.finished, failed: progress.failed }
  }

  /** Takes partitions back from their owners; resolves when nothing of them runs any more. Never rejects. */
  async #release(places: readonly Place[]): Promise<void> {
    const byOwner = new Map<Member, Place[]>()
    for (const place of places) {
      if (place.owner === undefined || place.releasing) continue
      if (!byOwner.has(place.owner)) byOwner.set(place.owner, [])
      byOwner.get(place.owner)!.push(place)
    }
    for (const [owner, owned] of byOwner) {
      const drained = this.#drain(owner, owned)
      for (const place of owned) place.releasing = drained
    }
    await Promise.all(places.map((place) => place.releasing))
  }

  async #drain(owner: Member, places: Place[]): Promise<void> {
    const assignments = places.map(({ topic, partition, fence, progress }) => {
      return { topic, partition, fence, finished: progress.finished, failed: progress.failed }
    })
    try {
      await owner.listener.revoked(assignments)
    } catch {
      // A member that can't settle what ran is no reason to keep the partition: its messages are handed out again.
    }
    // Who was abandoned meanwhile has nothing to give back: the partition is another owner's by now.
    places.forEach((place, i) => {
      if (place.fence === assignments[i]!.fence) this.#disown(place)
    })
  }

  #disown(place: Place): void {
    place.owner = undefined
    place.fence = 0
    place.releasing = undefined
  }
}

/** A settlement as a part of a commit: an object for each message that has effects, and no more. */
class SettlementPart implements CommitPart {
  readonly #group: Group
  readonly #member: Member
  readonly #partitions: readonly PartitionSettlement[]

  constructor(group: Group, member: Member, partitions: readonly PartitionSettlement[]) {
    this.#group = group
    this.#member = member
    this.#partitions = partitions
  }

  check(): void {
    this.#group.checkSettlement(this.#member, this.#partitions)
  }

  apply(): void {
    this.#group.applySettlement(this.#partitions)
  }
}
