import type { HistoryEvent, OffsetPairs, ProgressSnapshot } from '../history.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { offsetText } from './place-map.ts'

/** What the store must, and may, have as finished. */
interface Extent {
  /** Settled for good. */
  readonly durable: FinishedOffsets
  /** With what was taken into memory and may have reached the store. */
  readonly taken: FinishedOffsets
}

class StoredPlace extends OwnedPlace {
  extent = beginAt(0)
  /** From before a seek that is not known to be durable: a crash may bring it back. */
  previous: Extent | undefined
}

/** What is on disk is what memory said. */
export const store: Invariant = {
  name: 'store',
  about: 'The progress in the store has everything that was settled for good, and nothing that was in no settlement.',
  begin: () => new Store().checks,
}

class Store {
  readonly #places = new OwnedPlaces(() => new StoredPlace())
  /** Settlements whose outcome is not known. */
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  /** Of those with several partitions: the ones in which they finish something new. */
  readonly #news = new Map<number, HistoryEvent<'settle'>['partitions']>()
  readonly #owners = this.#places.follow()

  readonly checks: EventChecks = withOwners(this.#owners, {
    granted: (event) => this.#granted(event),
    sought: ({ group, topic, partition, position, seq }) => {
      const place = this.#places.at(group, topic, partition)
      if (place.isKnown) place.previous ??= place.extent
      place.isKnown = true
      place.since = seq
      place.extent = beginAt(position)
    },
    settle: (event) => {
      this.#settling.set(event.settlement, event)
      if (event.partitions.length > 1) this.#news.set(event.settlement, this.#newsOf(event))
      for (const { topic, partition, fence, finished } of event.partitions) {
        const place = this.#places.at(event.group, topic, partition)
        if (place.accepts(fence)) place.extent.taken.addPairs(finished)
      }
    },
    settled: ({ settlement }) => this.#settled(settlement),
    unsettled: ({ settlement, error }) => {
      // After any other failure it may have reached the store.
      if ((error as { code?: unknown } | undefined)?.code === 'FENCED') this.#ended(settlement)
    },
    snapshot: (event) => this.#look(event),
  })

  #granted(event: HistoryEvent<'granted'>): string | undefined {
    const place = this.#places.granted(event)
    const { group, topic, partition, position, seq } = event
    // A partition is granted again only when a seek of it is durable.
    place.previous = undefined
    if (!place.isKnown) {
      place.isKnown = true
      place.since = seq
      place.extent = beginAt(position)
      return
    }
    const { durable, taken } = place.extent
    if (position >= durable.position && position <= taken.position) return
    const known = durable.position === taken.position ? taken.position : `${durable.position} to ${taken.position}`
    return `${group}: ${topic}[${partition}] was granted at position ${position}, but it was settled up to ${known}`
  }

  #settled(settlement: number): void {
    const event = this.#settling.get(settlement)
    if (event === undefined) return
    this.#ended(settlement)
    for (const { topic, partition, finished } of event.partitions) {
      const place = this.#places.at(event.group, topic, partition)
      // The group was moved meanwhile: what was finished before counts no more.
      if (event.seq < place.since) place.previous?.durable.addPairs(finished)
      else {
        place.previous = undefined
        place.extent.durable.addPairs(finished)
      }
    }
  }

  #look({ reason, life, seq, logs, progress }: HistoryEvent<'snapshot'>): string | undefined {
    let text: string | undefined
    const found = new Map<StoredPlace, FinishedOffsets>()
    for (const snapshot of progress) {
      const { group, topic, partition, position, finishedAbove } = snapshot
      const place = this.#places.at(group, topic, partition)
      const stored = new FinishedOffsets()
      stored.reset(position, finishedAbove)
      found.set(place, stored)
      text ??= place.isKnown ? compare(place, stored, snapshot) : undefined
      const end = logs.find((log) => log.topic === topic && log.partition === partition)?.end ?? Infinity
      const highest = Math.max(position - 1, ...finishedAbove)
      if (highest >= end) {
        text ??= `${group}: ${offsetText(topic, partition, highest)} is finished, but the log ends at ${end}`
      }
    }
    this.#places.forEach((place, group, topic, partition) => {
      if (!place.isKnown || found.has(place)) return
      text ??= `${group}: the store has lost the position of ${topic}[${partition}], which was ${place.extent.durable.position}`
    })
    text ??= this.#halves(found)
    if (reason === 'restart') this.#restart(found, life, seq)
    return text
  }

  #ended(settlement: number): void {
    this.#settling.delete(settlement)
    this.#news.delete(settlement)
  }

  #newsOf({ group, partitions }: HistoryEvent<'settle'>): HistoryEvent<'settle'>['partitions'] {
    return partitions.filter(({ topic, partition, finished }) => {
      return !hasAll(this.#places.at(group, topic, partition).extent.taken, finished)
    })
  }

  /** A settlement is committed whole or not at all. */
  #halves(found: ReadonlyMap<StoredPlace, FinishedOffsets>): string | undefined {
    for (const [settlement, partitions] of this.#news) {
      const { group, seq } = this.#settling.get(settlement)!
      let there: string | undefined
      let missing: string | undefined
      for (const { topic, partition, finished } of partitions) {
        const place = this.#places.at(group, topic, partition)
        const stored = found.get(place)
        if (stored === undefined || seq < place.since) continue
        if (hasAll(stored, finished)) there = `${topic}[${partition}]`
        else missing = `${topic}[${partition}]`
      }
      if (there === undefined || missing === undefined) continue
      return `${group}: settlement ${settlement} is in the store for ${there}, but not for ${missing}`
    }
    return undefined
  }

  #restart(found: ReadonlyMap<StoredPlace, FinishedOffsets>, life: number, seq: number): void {
    this.#settling.clear()
    this.#news.clear()
    this.#places.endLives(life)
    for (const [place, stored] of found) {
      place.isKnown = true
      place.since = seq
      place.previous = undefined
      place.extent = beginAt(stored.position)
      place.extent.durable.addProgress(0, stored.above)
      place.extent.taken.addProgress(0, stored.above)
    }
  }
}

function beginAt(position: number): Extent {
  return { durable: new FinishedOffsets(position), taken: new FinishedOffsets(position) }
}

function hasAll(offsets: FinishedOffsets, pairs: OffsetPairs): boolean {
  for (let i = 0; i < pairs.length; i += 2) {
    for (let offset = Math.max(pairs[i]!, offsets.position); offset < pairs[i + 1]!; offset++) {
      if (!offsets.has(offset)) return false
    }
  }
  return true
}

function compare(place: StoredPlace, stored: FinishedOffsets, where: ProgressSnapshot): string | undefined {
  const text = compareExtent(place.extent, stored, where)
  if (text === undefined || place.previous === undefined) return text
  return compareExtent(place.previous, stored, where) === undefined ? undefined : text
}

function compareExtent(
  { durable, taken }: Extent,
  stored: FinishedOffsets,
  { group, topic, partition }: ProgressSnapshot,
): string | undefined {
  const lost = durable.firstMissingIn(stored)
  if (lost !== undefined) {
    return `${group}: ${offsetText(topic, partition, lost)} was settled for good, but the store has it as unfinished`
  }
  const extra = stored.firstMissingIn(taken)
  if (extra === undefined) return undefined
  return `${group}: the store has ${offsetText(topic, partition, extra)} as finished, but it was in no settlement`
}
