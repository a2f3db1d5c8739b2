import type { Headers } from '../message.ts'
import type { History, HistoryEvent, Place } from './history.ts'
import { deliveriesOf, forEachInItsLife, generationOf, heldBack, type DeliveredMessage } from './inspect-groups.ts'
import { Durable, lagOf, type CommittedPosition } from './inspect-progress.ts'
import { TestError } from './test-error.ts'

/** A message whose send was acknowledged. */
export interface PublishedMessage<V = unknown> extends Place {
  readonly value: V
  readonly headers: Headers
  /** Number of the send, unique in the history. */
  readonly send: number
}

/** A send that was called, but not yet acknowledged or refused. */
export type PendingSend<V = unknown> = Omit<PublishedMessage<V>, 'offset'>

/** A send that was refused. */
export type RefusedSend<V = unknown> = PendingSend<V> & { readonly error: unknown }

/** What happened in a topic; every field is computed when it is read. */
export interface TopicView<V = unknown> {
  /** How many partitions the topic has. */
  readonly partitions: number
  /** In the order of the acknowledgements, of all lives. */
  readonly published: PublishedMessage<V>[]
  /** Of the present life. */
  readonly pendingSends: PendingSend<V>[]
  readonly refused: RefusedSend<V>[]
}

/** What a group did; every field is computed when it is read. */
export interface GroupView {
  /** In the order in which they were handed out, of all lives. */
  readonly delivered: DeliveredMessage[]
  /** The latest durable positions, by topic and partition. */
  readonly committed: CommittedPosition[]
  /** What runs now. */
  readonly inFlight: DeliveredMessage[]
  /** Keys that wait until they are told to go on. */
  readonly parked: (string | undefined)[]
  /** Acknowledged messages of its topics that are in the log, but not durably finished by the group. */
  readonly lag: number
  /** How often partitions were handed to members after the membership had changed: 1 after the first join. */
  readonly generation: number
}

/** A message that waits for its time. */
export interface PendingMessage extends Place {
  readonly kind: 'retry'
  readonly group: string
  /** The attempt that it waits for. */
  readonly attempt: number
  /** Virtual milliseconds since the test began. */
  readonly dueAt: number
  /** Virtual milliseconds from now. */
  readonly inMs: number
}

/** A message that was given up: one that was skipped or moved to the dead letters, or holds up its key until it is tried again. */
export interface DeadMessage extends Place {
  readonly group: string
  readonly attempts: number
  readonly error: unknown
}

/** What happened since an event. */
export interface HistoryCounts {
  /** Messages that were handed to handlers. */
  readonly attempts: number
  /** Those of them that had been handed out before. */
  readonly retried: number
  /** Messages that were given up. */
  readonly dead: number
  /** What handlers threw, in order. */
  readonly errors: unknown[]
}

/** Answers what is where now, out of a history alone. */
export class Inspection {
  readonly #history: History
  readonly #now: () => number

  /** `now` tells the virtual milliseconds since the test began. */
  constructor(history: History, now: () => number) {
    this.#history = history
    this.#now = now
  }

  /** Names of all topics that the history mentions. */
  get topics(): string[] {
    const names = this.#history.events.flatMap((event) => {
      if (event.kind === 'joined') return event.topics
      if (event.kind === 'snapshot') return event.logs.map(({ topic }) => topic)
      return 'topic' in event ? [event.topic] : []
    })
    return [...new Set(names)]
  }

  /** Names of all groups that the history mentions. */
  get groups(): string[] {
    const names = this.#history.events.flatMap((event) => {
      if (event.kind === 'snapshot') return event.progress.map(({ group }) => group)
      return 'group' in event ? [event.group] : []
    })
    return [...new Set(names)]
  }

  /**
   * Looks at a topic.
   *
   * @throws TestError `UNKNOWN_NAME`
   */
  topic<V = unknown>(name: string): TopicView<V> {
    const history = this.#history
    mustKnow('topic', name, this.topics)
    return {
      get partitions() {
        return partitionsOf(history, name)
      },
      get published() {
        return sendsOf(history, name).published as PublishedMessage<V>[]
      },
      get pendingSends() {
        return sendsOf(history, name).pending as PendingSend<V>[]
      },
      get refused() {
        return sendsOf(history, name).refused as RefusedSend<V>[]
      },
    }
  }

  /**
   * Looks at a consumer group.
   *
   * @throws TestError `UNKNOWN_NAME`
   */
  group(name: string): GroupView {
    const history = this.#history
    mustKnow('group', name, this.groups)
    return {
      get delivered() {
        return deliveriesOf(history, name)
      },
      get committed() {
        return [...new Durable(history, name).places.values()]
          .map(({ topic, partition, position }) => ({ topic, partition, position }))
          .toSorted((a, b) => compare(a.topic, b.topic) || a.partition - b.partition)
      },
      get inFlight() {
        return deliveriesOf(history, name).filter(({ outcome }) => outcome === 'running')
      },
      get parked() {
        return heldBack(history).flatMap((one) => (one.group === name && one.isParked ? [one.key] : []))
      },
      get lag() {
        return lagOf(history, name)
      },
      get generation() {
        return generationOf(history, name)
      },
    }
  }

  /** Whether the process died and was not restarted since. */
  get isCrashed(): boolean {
    return this.#history.events.findLast(({ kind }) => kind === 'crash' || kind === 'wired')?.kind === 'crash'
  }

  /** Messages that wait for their next attempt, the earliest first. */
  pending(): PendingMessage[] {
    const now = this.#now()
    return heldBack(this.#history)
      .flatMap(({ group, topic, partition, offset, key, attempts, dueAt }): PendingMessage[] => {
        if (dueAt === undefined) return []
        const attempt = attempts + 1
        return [{ kind: 'retry', group, topic, partition, offset, key, attempt, dueAt, inMs: dueAt - now }]
      })
      .toSorted((a, b) => a.dueAt - b.dueAt)
  }

  /** Messages that were given up, in that order. */
  dead(): DeadMessage[] {
    return heldBack(this.#history).flatMap(({ group, topic, partition, offset, key, attempts, error, dueAt }) =>
      dueAt === undefined ? [{ group, topic, partition, offset, key, attempts, error }] : [],
    )
  }

  /** Counts what happened from an event on, given by its number. */
  counts(fromSeq = 0): HistoryCounts {
    const counts = { attempts: 0, retried: 0, dead: 0, errors: [] as unknown[] }
    for (const event of this.#history.events.slice(fromSeq)) {
      if (event.kind === 'deliver') counts.attempts++
      if (event.kind === 'deliver' && event.attempt > 1) counts.retried++
      if (event.kind === 'parked' || event.kind === 'skipped' || event.kind === 'dead-lettered') counts.dead++
      if (event.kind === 'error') counts.errors.push(event.error)
    }
    return counts
  }
}

function mustKnow(what: 'topic' | 'group', name: string, known: readonly string[]): void {
  if (known.includes(name)) return
  const names = known.map((one) => `'${one}'`).join(', ')
  const others = known.length === 0 ? `there is no ${what} yet` : `known are ${names}`
  throw new TestError('UNKNOWN_NAME', `No ${what} is named '${name}': ${others}`)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

function partitionsOf(history: History, topic: string): number {
  let count = 0
  for (const event of history.events) {
    if (!('topic' in event) || event.topic !== topic) continue
    if (event.kind === 'topic:created') count = event.partitions
    else if ('partition' in event) count = Math.max(count, event.partition + 1)
  }
  return count
}

interface Sends {
  readonly published: PublishedMessage[]
  readonly pending: PendingSend[]
  readonly refused: RefusedSend[]
}

function sendsOf(history: History, name: string): Sends {
  const open = new Map<number, PendingSend>()
  /** Those without an answer when their life ended: the next one may find them in the store. */
  const unknown = new Map<number, PendingSend>()
  const sends = { published: [] as PublishedMessage[], refused: [] as RefusedSend[] }
  const ended = (): void => {
    for (const [send, sent] of open) unknown.set(send, sent)
    open.clear()
  }
  forEachInItsLife(history, ended, take)
  return { ...sends, pending: [...open.values()] }

  function take(event: HistoryEvent): void {
    if (event.kind === 'send' && event.topic === name) {
      const { topic, partition, key, value, headers, send } = event
      open.set(send, { topic, partition, key, value, headers, send })
    }
    if (event.kind !== 'acked' && event.kind !== 'refused') return
    const sent = open.get(event.send) ?? unknown.get(event.send)
    if (sent === undefined) return
    open.delete(event.send)
    if (event.kind === 'refused') sends.refused.push({ ...sent, error: event.error })
    else sends.published.push({ ...sent, partition: event.partition, offset: event.offset, key: event.key })
  }
}
