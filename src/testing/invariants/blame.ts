import { isQueueError } from '../../errors.ts'
import type { Delivery, HistoryEvent } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { placeText } from './place-map.ts'

/** Nobody is counted for an end of the process that may have been another's. */
export const blame: Invariant = {
  name: 'blame',
  about: 'An end of the process counts only for a message that was marked in that life, and beside which nothing ran.',
  begin: () => new Blame().checks,
}

type Attempt = Pick<Delivery, 'group' | 'topic' | 'partition' | 'offset' | 'attempt'>

class Blame {
  /** What handlers have, by call and place. */
  readonly #running = new Map<string, Attempt>()
  /** The life in which each attempt was marked last. */
  readonly #marked = new Map<string, number>()
  /** What ran when a life ended. */
  readonly #ran = new Map<number, readonly Attempt[]>()

  readonly checks: EventChecks = {
    deliver: (event) => {
      this.#running.set(callOf(event), event)
    },
    done: (event) => void this.#running.delete(callOf(event)),
    error: (event) => void this.#running.delete(callOf(event)),
    settle: ({ group, partitions, life }) => {
      for (const { topic, partition, marked = [] } of partitions) {
        for (const { offset, attempt } of marked) {
          this.#marked.set(attemptOf({ group, topic, partition, offset, attempt }), life)
        }
      }
    },
    crash: ({ life }) => {
      this.#ran.set(life, [...this.#running.values()])
      this.#running.clear()
    },
    failed: (event) => (isQueueError(event.error, 'PROCESS_ENDED') ? this.#blamed(event) : undefined),
  }

  #blamed(event: HistoryEvent<'failed'>): string | undefined {
    const attempt = attemptOf(event)
    const life = this.#marked.get(attempt)
    const what = `${event.group}: attempt ${event.attempt} of ${placeText(event)} is counted as one that ended the process`
    if (life === undefined) return `${what}, but it was never marked`
    const ran = this.#ran.get(life)
    if (ran === undefined) return `${what}, but the process did not end in life ${life}, where it was marked`
    const others = ran.filter((other) => attemptOf(other) !== attempt)
    if (others.length === 0) return
    return `${what}, although ${others.length} other messages ran when life ${life} ended`
  }
}

function callOf({ call, topic, partition, offset }: Delivery): string {
  return `${call} ${topic}/${partition}/${offset}`
}

function attemptOf({ group, topic, partition, offset, attempt }: Attempt): string {
  return `${group} ${topic}/${partition}/${offset} ${attempt}`
}
