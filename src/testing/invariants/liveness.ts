import type { EventChecks, Invariant } from './invariant.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import { KnownLogs } from './log-offsets.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { offsetText } from './place-map.ts'

class FinishedPlace extends OwnedPlace {
  readonly finished = new FinishedOffsets()
}

/** Work comes to an end, and the engine to no harm. */
export const liveness: Invariant = {
  name: 'liveness',
  about:
    'When nothing can run any more, every message of a consumed partition is settled; no task of the engine throws.',
  begin: () => new Liveness().checks,
}

class Liveness {
  readonly #logs = new KnownLogs()
  readonly #places = new OwnedPlaces(() => new FinishedPlace())
  readonly #owners = this.#places.follow()
  readonly #followed = this.#logs.follow((topic) => this.#places.forget(topic))

  readonly checks: EventChecks = withOwners(this.#owners, this.#followed, {
    thrown: ({ error }) => `a task of the engine threw: ${String(error)}`,
    granted: (event) => {
      const place = this.#places.granted(event)
      if (!place.isKnown) place.finished.reset(event.position)
      place.isKnown = true
    },
    sought: ({ group, topic, partition, position }) => {
      const place = this.#places.at(group, topic, partition)
      place.isKnown = true
      place.finished.reset(position)
    },
    settle: ({ group, partitions }) => {
      for (const { topic, partition, fence, finished } of partitions) {
        const place = this.#places.at(group, topic, partition)
        if (place.accepts(fence)) place.finished.addPairs(finished)
      }
    },
    snapshot: ({ reason, life, logs, progress }) => {
      if (reason !== 'restart') return
      this.#places.endLives(life)
      this.#logs.reset(logs)
      for (const { group, topic, partition, position, finishedAbove } of progress) {
        const place = this.#places.at(group, topic, partition)
        place.isKnown = true
        place.finished.reset(position, finishedAbove)
      }
    },
    drained: ({ idle, left }) => {
      if (idle !== 'empty') return
      return left > 0 ? `drain says that nothing is left, but ${left} messages are` : this.#firstLeft()
    },
  })

  #firstLeft(): string | undefined {
    let text: string | undefined
    this.#places.forEach(({ owner, finished }, group, topic, partition) => {
      const log = this.#logs.find(topic, partition)
      if (owner === undefined || log === undefined || text !== undefined) return
      const left = log.all.find((offset) => offset >= log.trimmed && !finished.has(offset))
      if (left === undefined) return
      text = `${group}: nothing is left to be done, but ${offsetText(topic, partition, left)} was never settled by ${owner}`
    })
    return text
  }
}
