import type { HistoryEvent } from '../history.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { offsetText } from './place-map.ts'

class SettledPlace extends OwnedPlace {
  /** Everything that a settlement of an owner held, durable or not. */
  readonly claimed = new FinishedOffsets()
}

/** The position stays below everything that is unfinished. */
export const commitWatermark: Invariant = {
  name: 'commit-watermark',
  about: 'The position of a group never passes an offset that was in no settlement.',
  begin: () => new CommitWatermark().checks,
}

class CommitWatermark {
  readonly #places = new OwnedPlaces(() => new SettledPlace())
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  readonly #owners = this.#places.follow()

  readonly checks: EventChecks = withOwners(this.#owners, {
    granted: (event) => {
      const place = this.#places.granted(event)
      if (!place.isKnown) place.claimed.reset(event.position)
      place.isKnown = true
      return this.#check(event.group, event.topic, event.partition, event.position)
    },
    sought: ({ group, topic, partition, position, seq }) => {
      const place = this.#places.at(group, topic, partition)
      place.isKnown = true
      place.since = seq
      place.claimed.reset(position)
    },
    settle: (event) => {
      this.#settling.set(event.settlement, event)
      for (const { topic, partition, fence, finished } of event.partitions) {
        const place = this.#places.at(event.group, topic, partition)
        if (place.accepts(fence)) place.claimed.addPairs(finished)
      }
    },
    settled: (event) => this.#settled(event),
    unsettled: ({ settlement }) => {
      this.#settling.delete(settlement)
    },
    crash: (event) => {
      this.#settling.clear()
      this.#owners.crash(event)
    },
    snapshot: ({ reason, life, progress }) => {
      if (reason !== 'restart') return
      this.#settling.clear()
      this.#places.endLives(life)
      for (const { group, topic, partition, position, finishedAbove } of progress) {
        const place = this.#places.at(group, topic, partition)
        place.isKnown = true
        place.claimed.reset(position, finishedAbove)
      }
    },
  })

  #settled({ group, settlement, positions }: HistoryEvent<'settled'>): string | undefined {
    const settle = this.#settling.get(settlement)
    this.#settling.delete(settlement)
    let text: string | undefined
    for (const { topic, partition, position } of positions) {
      // An old owner may still hold the position of before a seek.
      const place = this.#places.at(group, topic, partition)
      if (settle === undefined || settle.seq < place.since) continue
      text ??= this.#check(group, topic, partition, position)
    }
    return text
  }

  #check(group: string, topic: string, partition: number, position: number): string | undefined {
    const { claimed, isKnown } = this.#places.at(group, topic, partition)
    if (!isKnown || position <= claimed.position) return undefined
    return `${group}: the position ${position} of ${topic}[${partition}] passed ${offsetText(topic, partition, claimed.position)}, which was in no settlement`
  }
}
