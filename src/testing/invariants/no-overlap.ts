import type { Delivery } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { Members } from './members.ts'
import { GroupMap, placeText } from './place-map.ts'

/** A call that has messages of an order. */
interface LiveLane {
  readonly call: number
  readonly member: string
  /** The last of them. */
  last: Delivery
  count: number
}

/** Live calls by what they must not share: a key, an offset where nothing is ordered, or `whole` of a partition. */
type LiveLanes = Map<string | number, LiveLane>

const whole = -1

/** Two calls never have messages of one key at once. */
export const noOverlap: Invariant = {
  name: 'no-overlap',
  about: 'At most one live handler call has messages of a key (or partition, or the same message) in a group.',
  begin: () => new NoOverlap().checks,
}

class NoOverlap {
  readonly #members = new Members()
  readonly #places = new GroupMap<LiveLanes>(() => new Map())
  /** A member keeps a key to one call over all partitions of a topic; by group, topic and member. */
  readonly #keys = new GroupMap<Map<string, LiveLanes>>(() => new Map())

  readonly checks: EventChecks = {
    joined: this.#members.joined,
    deliver: (event) => {
      if (event.isDuplicate) return
      const lane = this.#laneOf(event)
      const other =
        take(this.#places.at(event.group, event.topic, event.partition), lane, event) ??
        (typeof lane === 'string' ? take(this.#keysOf(event), lane, event) : undefined)
      if (other === undefined) return
      return `${event.group}: ${placeText(event)} was handed out to ${event.member} while ${placeText(other.last)} runs at ${other.member}`
    },
    done: (event) => this.#ended(event),
    error: (event) => this.#ended(event),
    left: ({ group, member, abandoned }) => {
      if (abandoned) this.#forget(group, member)
    },
    lost: ({ group, member }) => this.#forget(group, member),
    sought: ({ group, topic, partition }) => this.#places.at(group, topic, partition).clear(),
    'topic:deleted': ({ topic }) => {
      this.#places.forget(topic)
      this.#keys.forget(topic)
    },
    'group:deleted': ({ group }) => {
      this.#places.forgetGroup(group)
      this.#keys.forgetGroup(group)
    },
    crash: () => this.#forgetAll(),
    snapshot: ({ reason }) => {
      if (reason === 'restart') this.#forgetAll()
    },
  }

  #laneOf({ group, member, key, offset }: Delivery): string | number {
    const ordering = this.#members.ordering(group, member)
    if (ordering === 'partition') return whole
    return ordering === 'key' && key !== undefined ? key : offset
  }

  #keysOf({ group, topic, member }: Delivery): LiveLanes {
    const members = this.#keys.at(group, topic, 0)
    let lanes = members.get(member)
    if (lanes === undefined) members.set(member, (lanes = new Map()))
    return lanes
  }

  #ended(event: Delivery): void {
    if (event.isDuplicate) return
    const lane = this.#laneOf(event)
    give(this.#places.at(event.group, event.topic, event.partition), lane, event.call)
    if (typeof lane === 'string') give(this.#keysOf(event), lane, event.call)
  }

  /** What these calls still do is a zombie's. */
  #forget(group: string, member: string): void {
    this.#places.of(group)?.forEach((lanes) => {
      for (const [lane, live] of lanes) if (live.member === member) lanes.delete(lane)
    })
    this.#keys.of(group)?.forEach((members) => members.delete(member))
  }

  #forgetAll(): void {
    this.#places.forEach((lanes) => lanes.clear())
    this.#keys.forEach((members) => members.clear())
  }
}

/** Gives a lane to a call; returns who has it already. */
function take(lanes: LiveLanes, lane: string | number, event: Delivery): LiveLane | undefined {
  const live = lanes.get(lane)
  if (live?.call === event.call) {
    live.count++
    live.last = event
    return undefined
  }
  lanes.set(lane, { call: event.call, member: event.member, last: event, count: 1 })
  return live
}

function give(lanes: LiveLanes, lane: string | number, call: number): void {
  const live = lanes.get(lane)
  // After an overlap, which was told, the lane is the later call's.
  if (live?.call === call && --live.count === 0) lanes.delete(lane)
}
