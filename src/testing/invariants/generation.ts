import type { Delivery, HistoryEvent } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { placeText } from './place-map.ts'

class FencedPlace extends OwnedPlace {
  /** Of the last grant of all lives. */
  lastFence = 0
  /** As the owner or its settlements told it last; -1 while it is not known. */
  position = -1
  /** Messages that run under the present fence. */
  running = 0
}

/** One owner a partition, and nothing of an older one counts. */
export const generation: Invariant = {
  name: 'generation',
  about:
    'A partition has one owner in a group, fences rise, only the owner hands out and settles, and positions never go back.',
  begin: () => new Generation().checks,
}

class Generation {
  readonly #places = new OwnedPlaces(() => new FencedPlace())
  /** Settlements under way, and whether the engine has to refuse, may take, or has to take them. */
  readonly #settling = new Map<
    number,
    { readonly event: HistoryEvent<'settle'>; readonly isStale: boolean; readonly isOwn: boolean }
  >()
  readonly #owners = this.#places.follow()

  readonly checks: EventChecks = withOwners(this.#owners, {
    granted: (event) => this.#granted(event),
    released: (event) => this.#released(event),
    sought: ({ group, topic, partition, position, seq }) => {
      const place = this.#places.at(group, topic, partition)
      place.position = position
      place.since = seq
    },
    deliver: (event) => (event.isDuplicate ? undefined : this.#deliver(event)),
    done: (event) => this.#ended(event),
    error: (event) => this.#ended(event),
    settle: (event) => {
      let isStale = false
      let isOwn = true
      for (const { topic, partition, fence } of event.partitions) {
        const place = this.#places.at(event.group, topic, partition)
        if (!place.accepts(fence) || (fence === place.fence && place.owner !== event.member)) isStale = true
        if (fence !== place.fence || place.owner !== event.member) isOwn = false
      }
      this.#settling.set(event.settlement, { event, isStale, isOwn })
    },
    settled: (event) => this.#settled(event),
    unsettled: ({ group, member, settlement, error }) => {
      const settling = this.#settling.get(settlement)
      this.#settling.delete(settlement)
      if (!settling?.isOwn || (error as { code?: unknown } | undefined)?.code !== 'FENCED') return
      return `${group}: settlement ${settlement} of ${member} was refused although it owned all of its partitions`
    },
    crash: (event) => {
      this.#owners.crash(event)
      this.#endLife()
    },
    snapshot: (event) => {
      if (event.reason !== 'restart') return
      this.#places.endLives(event.life)
      this.#endLife()
      for (const { group, topic, partition, position } of event.progress) {
        this.#places.at(group, topic, partition).position = position
      }
    },
  })

  #granted(event: HistoryEvent<'granted'>): string | undefined {
    const { group, topic, partition, member, fence, position } = event
    const before = this.#places.at(group, topic, partition)
    const what = `${group}: ${topic}[${partition}] was granted to ${member} with fence ${fence}`
    let text: string | undefined
    if (before.owner !== undefined) text = `${what} while ${before.owner} owns it with fence ${before.fence}`
    else if (fence <= before.lastFence) text = `${what}, which does not rise above ${before.lastFence}`
    else if (position < before.position) text = `${what} at position ${position}, which was ${before.position} before`
    const place = this.#places.granted(event)
    place.lastFence = Math.max(place.lastFence, fence)
    place.position = position
    place.running = 0
    return text
  }

  #released(event: HistoryEvent<'released'>): string | undefined {
    const { group, topic, partition, member, fence } = event
    const { owner, fence: present, running } = this.#places.at(group, topic, partition)
    this.#owners.released(event)
    if (fence !== present) return
    const what = `${group}: ${member} gave back ${topic}[${partition}] with fence ${fence}`
    if (owner !== member) return `${what}, which ${owner} owns`
    if (running > 0) return `${what} while ${running} of its messages run`
  }

  #deliver(event: HistoryEvent<'deliver'>): string | undefined {
    const place = this.#places.at(event.group, event.topic, event.partition)
    if (event.fence === place.fence) place.running++
    if (place.owner === event.member && place.fence === event.fence) return
    const owner = place.owner === undefined ? 'nobody owns it' : `${place.owner} owns it with fence ${place.fence}`
    return `${event.group}: ${placeText(event)} was handed out to ${event.member} with fence ${event.fence}, but ${owner}`
  }

  #ended(event: Delivery): void {
    if (event.isDuplicate) return
    const place = this.#places.at(event.group, event.topic, event.partition)
    // What ends with an older fence ran for another owner.
    if (event.fence === place.fence && place.running > 0) place.running--
  }

  #settled({ group, member, settlement, positions }: HistoryEvent<'settled'>): string | undefined {
    const settling = this.#settling.get(settlement)
    if (settling === undefined) return
    this.#settling.delete(settlement)
    if (settling.isStale)
      return `${group}: settlement ${settlement} of ${member} was taken although it has an old fence`
    let text: string | undefined
    for (const { topic, partition, position } of positions) {
      const place = this.#places.at(group, topic, partition)
      // An old owner may still hold the position of before a seek.
      if (settling.event.seq < place.since) continue
      if (position < place.position) {
        text ??= `${group}: the position of ${topic}[${partition}] went back from ${place.position} to ${position}`
      }
      place.position = position
    }
    return text
  }

  /** A settlement that was on its way may have told a position that the disk never saw. */
  #endLife(): void {
    this.#settling.clear()
    this.#places.forEach((place) => {
      place.position = -1
      place.running = 0
    })
  }
}
