import type { Message } from '../../src/index.ts'

export type Ordering = 'key' | 'partition' | 'unordered'

/** What a message tells its handlers to do. */
export interface Plan {
  readonly id: number
  readonly kind: 'sync' | 'micro' | 'slow'
  readonly ms: number
  /** How often each group fails before it succeeds. */
  readonly fails: number
}

/** What the world keeps of a message: its place in the log is known when it is sent, since offsets are dense. */
export interface Sent {
  readonly key: string | undefined
  readonly plan: Plan
  /** Whether a send with `acks: 'flushed'` was acknowledged. */
  isFlushed: boolean
}

/** One member as the invariants see it. */
export interface MemberView {
  readonly name: string
  concurrency: number
  /** Handler calls under way. */
  running: number
  isPaused: boolean
  readonly pausedKeys: Set<string>
  readonly pausedPartitions: Set<number>
}

/** One partition of one group. */
class Place {
  /** Everything below is finished, or not the group's business. */
  base: number
  readonly finished = new Set<number>()
  /** Finished, and the settlement is known to be durable. */
  readonly settled = new Set<number>()
  /** Finished before a crash, perhaps not settled: may be handed out once more. */
  maybe = new Set<number>()
  readonly running = new Set<number>()
  /** The highest offset of each order that was started since the last seek or restart. */
  readonly highest = new Map<string, number>()
  /** A seek that takes effect with the first fence above this one. */
  seek: { readonly base: number; readonly above: number } | undefined
  fence = 0
  /** Everything below was removed from the log. */
  removed = 0

  constructor(base: number) {
    this.base = base
  }

  /** Nobody waits for the message any more, though it may be handed out once more. */
  isDone(offset: number): boolean {
    return offset < this.removed || this.isFinished(offset) || this.maybe.has(offset)
  }

  isFinished(offset: number): boolean {
    return offset < this.base || this.finished.has(offset)
  }

  moveTo(base: number): void {
    this.base = base
    for (const set of [this.finished, this.settled, this.maybe]) set.clear()
    this.highest.clear()
    this.seek = undefined
  }
}

/** What one group may do, checked at each handler call. Throws a sentence when it does something else. */
export class GroupModel {
  readonly name: string
  readonly ordering: Ordering
  readonly #logs: readonly Sent[][]
  readonly #places: Place[]
  /** Failures so far, by message. */
  readonly #failed = new Map<number, number>()

  constructor(name: string, ordering: Ordering, logs: readonly Sent[][], bases: readonly number[]) {
    this.name = name
    this.ordering = ordering
    this.#logs = logs
    this.#places = bases.map((base) => new Place(base))
  }

  /** One handler call begins with these messages. */
  started(member: MemberView, messages: readonly Message<Plan>[], fence: number | undefined): void {
    member.running++
    this.#demand(member.running <= member.concurrency, `${member.name} runs ${member.running} of ${member.concurrency}`)
    for (const message of messages) {
      this.#check(member, message, messages, fence)
      this.#placeOf(message).running.add(message.offset)
    }
  }

  /** The call is over; `outcomes` says of each message whether it is finished. */
  ended(member: MemberView, messages: readonly Message<Plan>[], outcomes: readonly boolean[]): void {
    member.running--
    messages.forEach((message, i) => {
      const place = this.#placeOf(message)
      place.running.delete(message.offset)
      place.maybe.delete(message.offset)
      if (outcomes[i]) place.finished.add(message.offset)
      else this.#takeBack(place, message)
    })
  }

  /** Whether the message still has to fail; counts one failure. */
  fails({ id, fails }: Plan): boolean {
    const failed = this.#failed.get(id) ?? 0
    if (failed >= fails) return false
    this.#failed.set(id, failed + 1)
    return true
  }

  /** Everything that is finished now; give it to {@link GroupModel.settle} when it is known to be durable. */
  snapshot(): number[][] {
    return this.#places.map((place) => [...place.finished])
  }

  settle(snapshot: readonly number[][]): void {
    snapshot.forEach((offsets, partition) => {
      const place = this.#places[partition]!
      for (const offset of offsets) if (place.finished.has(offset)) place.settled.add(offset)
    })
  }

  /** A seek begins; it takes effect with the next grant of the partition. */
  seeks(partition: number, base: number, knownFence: number): void {
    const place = this.#places[partition]!
    place.seek = { base, above: Math.max(place.fence, knownFence) }
  }

  /** The seek is over, whether the partition was granted again or not. */
  sought(partition: number): void {
    const { seek } = this.#places[partition]!
    if (seek) this.#places[partition]!.moveTo(seek.base)
  }

  /** Everything below `before` is removed: what is not finished of it may be handed out no more. */
  trimmed(partition: number, before: number): void {
    const place = this.#places[partition]!
    place.removed = Math.max(place.removed, before)
  }

  /** The process died; the log ends at `ends` now, and the group stands at `positions`. */
  crashed(ends: readonly number[], positions: readonly number[]): void {
    this.#places.forEach((place, partition) => {
      const [end, position] = [ends[partition]!, positions[partition]!]
      this.#demand(position <= end, `the position ${position} of partition ${partition} is beyond its end ${end}`)
      if (place.seek) place.moveTo(Math.min(place.seek.base, end))
      place.running.clear()
      place.highest.clear()
      const finished = new Set([...place.finished, ...place.maybe])
      for (let offset = place.base; offset < position; offset++) {
        const isDone = offset < place.removed || finished.has(offset)
        this.#demand(isDone, `after a restart the position ${position} passed ${partition}/${offset}`)
      }
      place.finished.clear()
      for (const offset of place.settled) if (offset < end) place.finished.add(offset)
      for (let offset = place.base; offset < position; offset++) place.finished.add(offset)
      place.maybe = new Set([...finished].filter((offset) => offset < end && !place.finished.has(offset)))
      place.settled.clear()
      for (const offset of place.finished) place.settled.add(offset)
    })
  }

  /** The position and the count above it that the queue reports, compared with what handlers did. */
  positionIs(partition: number, position: number, finishedAbove: number): void {
    const place = this.#places[partition]!
    for (let offset = place.base; offset < position; offset++) {
      this.#demand(place.isDone(offset), `the position ${position} passed the unfinished ${partition}/${offset}`)
    }
    const log = this.#logs[partition]!
    const above = log.filter((_, offset) => offset > position && place.isDone(offset)).length
    this.#demand(finishedAbove <= above, `${finishedAbove} are finished above ${position}, but only ${above} were`)
  }

  /** Nothing that is in the log is left. */
  isComplete(): void {
    this.#logs.forEach((log, partition) => {
      const place = this.#places[partition]!
      log.forEach(({ key, plan }, offset) => {
        this.#demand(place.isDone(offset), `${partition}/${offset} (key ${key}, message ${plan.id}) was never finished`)
      })
    })
  }

  #check(member: MemberView, message: Message<Plan>, call: readonly Message<Plan>[], fence: number | undefined): void {
    const { partition, offset, key, value } = message
    const place = this.#places[partition]!
    if (fence !== undefined) {
      if (place.seek && fence > place.seek.above) place.moveTo(place.seek.base)
      this.#demand(fence >= place.fence, `${partition}/${offset} ran with the old fence ${fence} after ${place.fence}`)
      place.fence = fence
    }
    const what = `${partition}/${offset} (key ${key}) was handed out`
    const sent = this.#logs[partition]![offset]
    this.#demand(sent !== undefined, `${what} but never sent`)
    this.#demand(
      sent!.plan.id === value.id && sent!.key === key,
      `${what} with message ${value.id}, not ${sent!.plan.id}`,
    )
    this.#demand(!place.running.has(offset), `${what} while it runs`)
    this.#demand(!place.isFinished(offset), `${what} although it is finished`)
    this.#demand(!member.isPaused, `${what} while ${member.name} is paused`)
    this.#demand(!member.pausedPartitions.has(partition), `${what} while its partition is paused`)
    this.#demand(key === undefined || !member.pausedKeys.has(key), `${what} while its key is paused`)
    this.#checkOrder(message, place, call, what)
  }

  /** A message that failed comes before everything of its order that was in the same call. */
  #takeBack(place: Place, { key, offset }: Message<Plan>): void {
    const order = this.#orderOf(key)
    if (order === undefined) return
    place.highest.set(order, Math.min(offset, place.highest.get(order) ?? 0))
  }

  #orderOf(key: string | undefined): string | undefined {
    return this.ordering === 'partition' ? '' : this.ordering === 'key' ? key : undefined
  }

  #checkOrder(message: Message<Plan>, place: Place, call: readonly Message<Plan>[], what: string): void {
    const { partition, offset, key } = message
    const order = this.#orderOf(key)
    if (order === undefined) return
    const follows = ({ key: other }: { readonly key: string | undefined }): boolean =>
      this.ordering === 'partition' || other === key
    const log = this.#logs[partition]!
    for (const running of place.running) {
      const isHere = call.some((other) => other.partition === partition && other.offset === running)
      this.#demand(isHere || !follows(log[running]!), `${what} while ${partition}/${running} of its order runs`)
    }
    for (let earlier = place.base; earlier < offset; earlier++) {
      if (!follows(log[earlier]!) || place.isDone(earlier)) continue
      const isBefore = call.findIndex((other) => other.partition === partition && other.offset === earlier)
      this.#demand(
        isBefore >= 0 && isBefore < call.indexOf(message),
        `${what} before ${partition}/${earlier} of its order is finished`,
      )
    }
    const highest = place.highest.get(order) ?? 0
    this.#demand(offset >= highest, `${what} after ${partition}/${highest} of its order was`)
    place.highest.set(order, offset)
  }

  #placeOf({ partition }: { readonly partition: number }): Place {
    return this.#places[partition]!
  }

  #demand(holds: boolean, otherwise: string): void {
    if (!holds) throw new Error(`group ${this.name}: ${otherwise}`)
  }
}
