import { isQueueError } from '../../errors.ts'
import type { HistoryEvent } from '../history.ts'
import { CallOutcomes } from './call-outcomes.ts'
import { isRefusal, offsetsIn } from './effect-units.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { Members } from './members.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { placeText } from './place-map.ts'

class RepeatPlace extends OwnedPlace {
  readonly durable = new FinishedOffsets()
  /** Done, and nothing happened since that may have lost it. */
  readonly done = new Set<number>()
  /** Finished for good by a member that hands out afterwards, and not handed out yet. */
  readonly ahead = new Set<number>()
}

/**
 * Whether a message can have failed after its handler returned: what was to commit with it, or the mark of its idempotency
 * store, was refused, which the engine says with an error of its own. An end of the process is none: it ends what runs.
 */
function mayFollowReturn(error: unknown): boolean {
  return isQueueError(error) && error.code !== 'PROCESS_ENDED'
}

/** What is finished is not handed out again. */
export const noRepeat: Invariant = {
  name: 'no-repeat',
  about:
    'A finished message is handed out again only after a seek, or when it was not settled before a crash or an abandon; where it is finished first, it is handed out once, and only then.',
  begin: () => new NoRepeat().checks,
}

class NoRepeat {
  readonly #members = new Members()
  readonly #places = new OwnedPlaces(() => new RepeatPlace())
  readonly #outcomes = new CallOutcomes(this.#members, ({ group, topic, partition, offset }, isFinished) => {
    if (isFinished) this.#places.at(group, topic, partition).done.add(offset)
  })
  /** Settlements under way. */
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  readonly #owners = this.#places.follow((place) => place.done.clear())

  readonly checks: EventChecks = withOwners(this.#owners, {
    joined: this.#members.joined,
    granted: (event) => {
      const place = this.#places.granted(event)
      if (place.isKnown) return
      place.isKnown = true
      place.since = event.seq
      place.durable.reset(event.position)
    },
    left: (event) => {
      if (event.abandoned) this.#outcomes.forget(event.group, event.member)
      this.#owners.left(event)
    },
    lost: (event) => {
      this.#outcomes.forget(event.group, event.member)
      this.#owners.lost(event)
    },
    sought: ({ group, topic, partition, position, seq }) => {
      const place = this.#places.at(group, topic, partition)
      place.isKnown = true
      place.since = seq
      place.durable.reset(position)
      place.done.clear()
      place.ahead.clear()
    },
    skipped: ({ group, topic, partition, offset }) => void this.#places.at(group, topic, partition).done.add(offset),
    'dead-lettered': ({ group, topic, partition, offset }) =>
      void this.#places.at(group, topic, partition).done.add(offset),
    deliver: (event) => {
      if (event.isDuplicate) return
      this.#outcomes.deliver(event)
      const { group, member, topic, partition, offset } = event
      const place = this.#places.at(group, topic, partition)
      if (place.isKnown && this.#members.isAtMostOnce(group, member)) {
        if (place.ahead.delete(offset)) return
        return `${group}: ${placeText(event)} was handed out although it was not finished before, or for the second time`
      }
      if (place.isKnown && place.durable.has(offset)) {
        return `${group}: ${placeText(event)} was handed out although it is finished for good`
      }
      if (!place.done.delete(offset)) return
      return `${group}: ${placeText(event)} was handed out again although it is done`
    },
    done: this.#outcomes.done,
    error: (event) => {
      if (!event.isDuplicate) return this.#outcomes.error(event)
      // The engine sees the outcome of the duplicate, which fails what was done and what is behind it.
      this.#places.of(event.group)?.forEach(({ done }) => done.clear())
    },
    deferred: ({ group, topic, partition, offset }) => {
      this.#places.at(group, topic, partition).done.delete(offset)
    },
    failed: (event) => {
      const { group, topic, partition, offset, error } = event
      if (!this.#places.at(group, topic, partition).done.delete(offset) || mayFollowReturn(error)) return
      return `${group}: ${placeText(event)} counts as failed although it is done`
    },
    settle: (event) => {
      this.#settling.set(event.settlement, event)
    },
    settled: ({ settlement }) => this.#settled(settlement),
    unsettled: (event) => this.#unsettled(event),
    crash: (event) => {
      this.#endLife()
      this.#owners.crash(event)
    },
    snapshot: (event) => {
      if (event.reason === 'restart') this.#restart(event)
    },
  })

  /** A handler whose effects were refused has not done its work, whoever has its message next. */
  #unsettled({ settlement, error }: HistoryEvent<'unsettled'>): void {
    const refused = this.#settling.get(settlement)
    this.#settling.delete(settlement)
    if (refused === undefined || !isRefusal(error)) return
    for (const { topic, partition, finished } of refused.partitions) {
      const { done } = this.#places.at(refused.group, topic, partition)
      for (const offset of offsetsIn(finished)) done.delete(offset)
    }
  }

  #settled(settlement: number): void {
    const event = this.#settling.get(settlement)
    if (event === undefined) return
    this.#settling.delete(settlement)
    for (const { topic, partition, finished } of event.partitions) {
      const place = this.#places.at(event.group, topic, partition)
      // The group was moved meanwhile: what was finished before counts no more.
      if (!place.isKnown || event.seq <= place.since) continue
      if (this.#members.isAtMostOnce(event.group, event.member)) {
        for (const offset of offsetsIn(finished)) if (!place.durable.has(offset)) place.ahead.add(offset)
      }
      place.durable.addPairs(finished)
    }
  }

  #endLife(): void {
    this.#outcomes.forgetAll()
    this.#settling.clear()
  }

  #restart({ life, seq, progress }: HistoryEvent<'snapshot'>): void {
    this.#endLife()
    this.#places.endLives(life, (place) => {
      place.done.clear()
      place.ahead.clear()
    })
    for (const { group, topic, partition, position, finishedAbove } of progress) {
      const place = this.#places.at(group, topic, partition)
      place.isKnown = true
      place.since = seq
      place.durable.reset(position, finishedAbove)
    }
  }
}
