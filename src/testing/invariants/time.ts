import type { HistoryEvent } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { OwnedPlace, OwnedPlaces } from './owned-places.ts'
import { placeText } from './place-map.ts'

/** The last failure of a message. */
interface Failure {
  readonly attempt: number
  /** When the next attempt may begin; undefined when its key was stopped. */
  readonly dueAt: number | undefined
}

/** Virtual times are sums of fractions: what differs by less is the same moment. */
const tolerance = 1e-6
/** Two owners failed with a message at once: whose failure was decided about can't be told. */
const unclear = -1

class TimedPlace extends OwnedPlace {
  /** The last failures under the present fence. */
  readonly failures = new Map<number, Failure>()
  /** Fences of failed messages that nothing was decided about yet. */
  readonly undecided = new Map<number, number>()
}

/** Nothing is tried again before its time. */
export const time: Invariant = {
  name: 'time',
  about: 'The next attempt of a message follows the failed one, and not before its back-off is over.',
  begin: () => new Time().checks,
}

class Time {
  readonly #places = new OwnedPlaces(() => new TimedPlace())
  readonly #owners = this.#places.follow((place) => {
    place.failures.clear()
    place.undecided.clear()
  })

  readonly checks: EventChecks = {
    ...this.#owners,
    granted: (event) => this.#places.granted(event).failures.clear(),
    error: (event) => {
      if (event.isDuplicate) return
      const { undecided } = this.#places.at(event.group, event.topic, event.partition)
      const other = undecided.get(event.offset)
      undecided.set(event.offset, other === undefined || other === event.fence ? event.fence : unclear)
    },
    failed: (event) => this.#failed(event),
    deliver: (event) => (event.isDuplicate ? undefined : this.#deliver(event)),
    snapshot: ({ reason, life }) => {
      if (reason !== 'restart') return
      this.#places.endLives(life, (place) => {
        place.failures.clear()
        place.undecided.clear()
      })
    },
  }

  #failed({ group, topic, partition, offset, attempt, retryInMs, at }: HistoryEvent<'failed'>): void {
    const { failures, undecided, fence } = this.#places.at(group, topic, partition)
    // What could not be read failed without having been handed out: only an owner reads.
    const failedUnder = undecided.get(offset) ?? fence
    undecided.delete(offset)
    if (failedUnder === unclear) failures.set(offset, { attempt: unclear, dueAt: undefined })
    else if (failedUnder === fence) {
      failures.set(offset, { attempt, dueAt: retryInMs === undefined ? undefined : at + retryInMs })
    }
  }

  #deliver(event: HistoryEvent<'deliver'>): string | undefined {
    const { group, topic, partition, offset, attempt, at } = event
    const { failures, undecided } = this.#places.at(group, topic, partition)
    undecided.delete(offset)
    const failure = failures.get(offset)
    if (failure === undefined) {
      return attempt === 1 ? undefined : `${group}: ${placeText(event)} has attempt ${attempt} without a failed one`
    }
    failures.delete(offset)
    const { dueAt } = failure
    if (failure.attempt === unclear) return
    const what = `${group}: attempt ${attempt} of ${placeText(event)} began at ${at} ms`
    if (dueAt !== undefined && at + tolerance < dueAt) return `${what}, but its back-off ends at ${dueAt} ms`
    // Counted anew after a stop, and when the message was put back before it was handed out.
    if (attempt === 1 || (attempt === failure.attempt + 1 && dueAt !== undefined)) return
    return dueAt === undefined ? `${what} although its key was stopped` : `${what} after attempt ${failure.attempt}`
  }
}
