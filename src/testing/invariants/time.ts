import type { HistoryEvent, OffsetPairs } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { Members } from './members.ts'
import { OwnedPlace, OwnedPlaces, withOwners } from './owned-places.ts'
import { placeText } from './place-map.ts'

/** What is known of a message that failed. */
interface Failure {
  readonly key: string | undefined
  /** How often it failed, as the engine counts; 0 when it begins anew. */
  attempts: number
  /** When the next attempt may begin; undefined while its key is parked. */
  dueAt: number | undefined
  /** Whether the count is in the store. */
  isDurable: boolean
  /** The owner is gone without having settled it: the count before it may be what the next one finds. */
  isUnclear: boolean
  /** The last count that is in the store. */
  kept: number
  /** The group was moved: the partition is granted next without it. */
  isForgotten: boolean
}

/** Virtual times are sums of fractions: what differs by less is the same moment. */
const tolerance = 1e-6
/** Two owners failed with a message at once: whose failure was decided about can't be told. */
const unclear = -1

class TimedPlace extends OwnedPlace {
  readonly failures = new Map<number, Failure>()
  /** Fences of failed messages that nothing was decided about yet. */
  readonly undecided = new Map<number, number>()
}

/** Nothing is tried again before its time, and no attempt is forgotten. */
export const time: Invariant = {
  name: 'time',
  about:
    'The next attempt of a message follows the failed one, over restarts and owners too, and not before its back-off is over.',
  begin: () => new Time().checks,
}

class Time {
  readonly #places = new OwnedPlaces(() => new TimedPlace())
  readonly #owners = this.#places.follow((place) => {
    place.undecided.clear()
    for (const failure of place.failures.values()) if (!failure.isDurable) failure.isUnclear = true
  })
  readonly #members = new Members()
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  /** Between a crash and the next life. */
  #isDead = false
  /** The wall clock jumped: what is stored of a back-off means another moment by now. */
  #hasJumped = false

  readonly checks: EventChecks = withOwners(this.#owners, {
    joined: this.#members.joined,
    crash: (event) => {
      this.#isDead = true
      this.#owners.crash(event)
    },
    granted: (event) => {
      const { failures } = this.#places.granted(event)
      for (const [offset, { isForgotten }] of failures) if (isForgotten) failures.delete(offset)
    },
    sought: ({ group, topic, partition }) => {
      for (const failure of this.#places.at(group, topic, partition).failures.values()) {
        // A crash may have cut the move off.
        if (this.#isDead) failure.isUnclear = true
        else failure.isForgotten = true
        failure.kept = 0
      }
    },
    error: (event) => this.#over(event),
    // It fails even so when its effects are refused.
    done: (event) => this.#over(event),
    failed: (event) => this.#failed(event),
    // Parked without an attempt: fewer are allowed than in the life before.
    parked: ({ group, topic, partition, offset }) => {
      const failure = this.#places.at(group, topic, partition).failures.get(offset)
      if (failure !== undefined) failure.dueAt = undefined
    },
    renewed: (event) => this.#renewed(event),
    deliver: (event) => (event.isDuplicate ? undefined : this.#deliver(event)),
    settle: (event) => {
      this.#settling.set(event.settlement, event)
      this.#ended(event)
    },
    settled: (event) => this.#settled(event),
    unsettled: ({ settlement }) => void this.#settling.delete(settlement),
    jumped: () => {
      this.#hasJumped = true
    },
    snapshot: ({ reason, life }) => {
      if (reason !== 'restart') return
      this.#isDead = false
      this.#settling.clear()
      this.#places.endLives(life, (place) => {
        place.undecided.clear()
        for (const failure of place.failures.values()) if (!failure.isDurable) failure.isUnclear = true
        for (const failure of place.failures.values()) if (failure.isForgotten) failure.isUnclear = true
      })
    },
  })

  #over({ group, topic, partition, offset, fence, isDuplicate }: HistoryEvent<'done' | 'error'>): void {
    if (isDuplicate) return
    const { undecided } = this.#places.at(group, topic, partition)
    const other = undecided.get(offset)
    undecided.set(offset, other === undefined || other === fence ? fence : unclear)
  }

  #failed({ group, topic, partition, offset, key, attempt, retryInMs, at }: HistoryEvent<'failed'>): void {
    const { failures, undecided, fence } = this.#places.at(group, topic, partition)
    // What could not be read failed without having been handed out: only an owner reads.
    const failedUnder = undecided.get(offset) ?? fence
    undecided.delete(offset)
    if (failedUnder !== unclear && failedUnder !== fence) return
    const attempts = failedUnder === unclear ? unclear : attempt
    const dueAt = retryInMs === undefined ? undefined : at + retryInMs
    failures.set(offset, {
      key,
      attempts,
      dueAt,
      isDurable: false,
      isUnclear: false,
      isForgotten: false,
      kept: keptOf(failures.get(offset)),
    })
  }

  /** Whoever waits goes on from now on, who was parked with its attempts counted anew. */
  #renewed({ group, member, key, at }: HistoryEvent<'renewed'>): void {
    this.#places.of(group)?.forEach(({ failures, owner }) => {
      if (owner !== member) return
      for (const [offset, failure] of failures) {
        if (key !== undefined && failure.key !== key) continue
        // Whether a crash left it parked is seen when it is handed out.
        const { dueAt, isUnclear } = failure
        if (dueAt === undefined) failures.set(offset, { ...anew(failure, at), isUnclear })
        else failure.dueAt = Math.min(dueAt, at)
      }
    })
  }

  /** A message ends its subscription: it is counted anew, by whoever has it next. */
  #ended({ group, member, partitions, at }: HistoryEvent<'settle'>): void {
    const limits = this.#members.limits(group, member)
    if (limits?.onExhausted !== 'stop') return
    for (const { topic, partition, failed } of partitions) {
      const { failures } = this.#places.at(group, topic, partition)
      for (const { offset, attempts } of failed) {
        const failure = failures.get(offset)
        if (attempts > 0 || failure === undefined || failure.attempts === 0) continue
        if (failure.dueAt === undefined || failure.attempts >= limits.attempts) failures.set(offset, anew(failure, at))
      }
    }
  }

  #settled({ settlement, group }: HistoryEvent<'settled'>): void {
    const event = this.#settling.get(settlement)
    if (event === undefined) return
    this.#settling.delete(settlement)
    for (const { topic, partition, failed, finished } of event.partitions) {
      const { failures } = this.#places.at(group, topic, partition)
      for (const { offset, attempts } of failed) {
        const failure = failures.get(offset)
        if (failure?.attempts === attempts) failure.isDurable = true
      }
      if (failures.size === 0) continue
      for (const offset of failures.keys()) if (isIn(finished, offset)) failures.delete(offset)
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
    const { dueAt, attempts, isUnclear, kept } = failure
    if (attempts === unclear) return
    const what = `${group}: attempt ${attempt} of ${placeText(event)} began at ${at} ms`
    if (isUnclear && (attempt === kept + 1 || attempt === attempts + 1)) {
      // Now it is known what was in the store.
      failure.attempts = attempt - 1
      failure.isDurable = true
      failure.isUnclear = false
      failure.isForgotten = false
      if (attempt === kept + 1) {
        // What was in the store had become due before.
        failure.dueAt = at
        return
      }
    }
    if (dueAt === undefined) return `${what} although its key was parked`
    if (attempt !== attempts + 1) return `${what} after attempt ${attempts}`
    if (!this.#hasJumped && at + tolerance < dueAt) return `${what}, but its back-off ends at ${dueAt} ms`
  }
}

/** Counted anew, from now on. */
function anew(failure: Failure, dueAt: number): Failure {
  const fresh = { isDurable: false, isUnclear: false, isForgotten: false }
  return { key: failure.key, attempts: 0, dueAt, ...fresh, kept: keptOf(failure) }
}

function keptOf(failure: Failure | undefined): number {
  if (failure === undefined) return 0
  return failure.isDurable ? failure.attempts : failure.kept
}

function isIn(pairs: OffsetPairs, offset: number): boolean {
  for (let i = 0; i < pairs.length; i += 2) if (offset >= pairs[i]! && offset < pairs[i + 1]!) return true
  return false
}
