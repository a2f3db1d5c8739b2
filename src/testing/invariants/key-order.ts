import type { Delivery, HistoryEvent } from '../history.ts'
import { CallOutcomes } from './call-outcomes.ts'
import { isRefusal, offsetsIn } from './effect-units.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { KnownLogs, type LogOffsets } from './log-offsets.ts'
import { Members } from './members.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { offsetText, placeText } from './place-map.ts'

/** Messages of one order in one partition. */
class Lane {
  /** Place, in the list of its offsets, of the first that may be undone. */
  next = 0
  /** The last offset that was handed out and not given back; no lower one may come after it. */
  highest = -1
  /** The call that got the last message, and how far the list was looked through for it. */
  call = -1
  scanned = 0
}

class OrderedPlace extends OwnedPlace {
  /** Done in some life, or known to be finished. */
  readonly done = new FinishedOffsets()
  /** The call that each message is with. */
  readonly live = new Map<number, number>()
  readonly #lanes = new Map<string, Lane>()
  #whole = new Lane()

  lane(key: string | undefined): Lane {
    if (key === undefined) return this.#whole
    let lane = this.#lanes.get(key)
    if (lane === undefined) this.#lanes.set(key, (lane = new Lane()))
    return lane
  }

  /** The message is handed out again, and is the first of its order then. */
  comesAgain(offset: number, key: string | undefined): void {
    for (const lane of [this.#whole, key === undefined ? undefined : this.#lanes.get(key)]) {
      if (lane === undefined) continue
      lane.highest = Math.min(lane.highest, offset)
      lane.next = 0
      lane.call = -1
    }
  }

  /** What was handed out may be handed out again. */
  restart(): void {
    this.live.clear()
    this.#lanes.clear()
    this.#whole = new Lane()
  }
}

/** Messages of a key come in the order of their offsets. */
export const keyOrder: Invariant = {
  name: 'key-order',
  about: 'A message is handed out only when every earlier one of its key (or partition) is done or removed.',
  begin: () => new KeyOrder().checks,
}

class KeyOrder {
  readonly #members = new Members()
  readonly #logs = new KnownLogs()
  readonly #places = new OwnedPlaces(() => new OrderedPlace())
  readonly #outcomes = new CallOutcomes(this.#members, (message, isFinished) => {
    const { group, topic, partition, offset } = message
    const place = this.#places.at(group, topic, partition)
    place.live.delete(offset)
    if (isFinished) place.done.add(offset)
    else this.#comesAgain(message)
  })
  /** Settlements under way. */
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  readonly #owners = this.#places.follow((place) => place.restart())
  readonly #followed = this.#logs.follow((topic) => this.#places.forget(topic))

  readonly checks: EventChecks = withOwners(this.#owners, this.#followed, {
    joined: this.#members.joined,
    granted: (event) => {
      const place = this.#places.granted(event)
      if (!place.isKnown) place.done.reset(event.position)
      place.isKnown = true
    },
    left: (event) => {
      if (event.abandoned) this.#forget(event)
      this.#owners.left(event)
    },
    lost: (event) => {
      this.#forget(event)
      this.#owners.lost(event)
    },
    sought: ({ group, topic, partition, position }) => {
      const place = this.#places.at(group, topic, partition)
      place.restart()
      place.done.reset(position)
      place.isKnown = true
    },
    duplicate: ({ group, topic, partition, offset }) => this.#places.at(group, topic, partition).done.add(offset),
    gap: ({ group, topic, partition, from, to }) => this.#places.at(group, topic, partition).done.addRange(from, to),
    skipped: ({ group, topic, partition, offset }) => this.#places.at(group, topic, partition).done.add(offset),
    'dead-lettered': ({ group, topic, partition, offset }) => this.#places.at(group, topic, partition).done.add(offset),
    deliver: (event) => (event.isDuplicate ? undefined : this.#deliver(event)),
    done: this.#outcomes.done,
    error: (event) => {
      this.#outcomes.error(event)
      // The engine sees the outcome of the duplicate, which fails what was done.
      if (event.isDuplicate) this.#comesAgain(event)
    },
    deferred: ({ group, topic, partition, offset, key }) => {
      const place = this.#places.at(group, topic, partition)
      place.done.remove(offset)
      place.comesAgain(offset, key)
    },
    settle: (event) => void this.#settling.set(event.settlement, event),
    settled: ({ settlement }) => void this.#settling.delete(settlement),
    unsettled: (event) => this.#unsettled(event),
    crash: (event) => {
      this.#settling.clear()
      this.#outcomes.forgetAll()
      this.#owners.crash(event)
    },
    snapshot: (event) => {
      if (event.reason === 'restart') this.#restart(event)
    },
  })

  /** What these calls still do is a zombie's; what was finished before they began does not come again. */
  #forget({ group, member }: HistoryEvent<'left' | 'lost'>): void {
    this.#outcomes.forget(group, member)
    if (!this.#members.isAtMostOnce(group, member)) return
    this.#places.of(group)?.forEach(({ owner, live, done }) => {
      if (owner === member) for (const offset of live.keys()) done.add(offset)
    })
  }

  /** A handler whose effects were refused has not done its work, whoever has its message next. */
  #unsettled({ settlement, error }: HistoryEvent<'unsettled'>): void {
    const refused = this.#settling.get(settlement)
    this.#settling.delete(settlement)
    if (refused === undefined || !isRefusal(error)) return
    for (const { topic, partition, finished } of refused.partitions) {
      const place = this.#places.at(refused.group, topic, partition)
      const log = this.#logs.at(topic, partition)
      for (const offset of offsetsIn(finished)) {
        place.done.remove(offset)
        place.comesAgain(offset, log.keyOf(offset))
      }
    }
  }

  /** The message comes again, and what was behind it in the same call too. */
  #comesAgain({ group, member, topic, partition, offset, key }: Delivery): void {
    const isWhole = this.#members.ordering(group, member) === 'partition'
    const lane = this.#places.at(group, topic, partition).lane(isWhole ? undefined : key)
    lane.highest = Math.min(lane.highest, offset)
  }

  #deliver(event: HistoryEvent<'deliver'>): string | undefined {
    const { group, member, topic, partition, offset, key } = event
    const log = this.#logs.at(topic, partition)
    // It may be handed out before its sender was told.
    log.add(offset, key)
    this.#outcomes.deliver(event)
    const place = this.#places.at(group, topic, partition)
    place.live.set(offset, event.call)
    const ordering = this.#members.ordering(group, member)
    if (ordering === 'unordered' || (ordering === 'key' && key === undefined)) return
    const isByKey = ordering === 'key'
    const lane = place.lane(isByKey ? key : undefined)
    const highest = lane.highest
    lane.highest = Math.max(highest, offset)
    const undone = this.#firstUndone(event, place, lane, log, isByKey ? log.ofKey(key!) : log.all)
    const order = isByKey ? 'its key' : 'its partition'
    if (undone !== undefined) {
      return `${group}: ${placeText(event)} was handed out before ${offsetText(topic, partition, undone)} of ${order} was done`
    }
    if (offset >= highest) return
    return `${group}: ${placeText(event)} was handed out after ${offsetText(topic, partition, highest)} of ${order}`
  }

  #firstUndone(
    { offset, call }: HistoryEvent<'deliver'>,
    { done, live }: OrderedPlace,
    lane: Lane,
    { trimmed }: LogOffsets,
    offsets: readonly number[],
  ): number | undefined {
    const isDone = (earlier: number): boolean => earlier < trimmed || done.has(earlier)
    while (lane.next < offsets.length && offsets[lane.next]! < offset && isDone(offsets[lane.next]!)) lane.next++
    let index = lane.call === call ? Math.max(lane.scanned, lane.next) : lane.next
    for (; index < offsets.length && offsets[index]! < offset; index++) {
      const earlier = offsets[index]!
      // What is before it in the same array is handled before it.
      if (!isDone(earlier) && live.get(earlier) !== call) return earlier
    }
    lane.call = call
    lane.scanned = index
    return undefined
  }

  #restart({ life, logs, progress }: HistoryEvent<'snapshot'>): void {
    this.#outcomes.forgetAll()
    this.#places.endLives(life, (place) => place.restart())
    this.#logs.reset(logs)
    this.#places.forEach(({ done }, _group, topic, partition) => {
      const end = logs.find((log) => log.topic === topic && log.partition === partition)?.end
      if (end !== undefined) done.truncate(end)
    })
    for (const { group, topic, partition, position, finishedAbove } of progress) {
      const place = this.#places.at(group, topic, partition)
      if (!place.isKnown) place.done.reset(position, finishedAbove)
      else place.done.addProgress(position, finishedAbove)
      place.isKnown = true
    }
  }
}
