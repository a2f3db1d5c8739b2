import type { HistoryEvent } from '../history.ts'
import { Addressees } from './addressees.ts'
import { CallOutcomes } from './call-outcomes.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { KnownLogs } from './log-offsets.ts'
import { Members } from './members.ts'
import { GroupMap, offsetText } from './place-map.ts'

class HandledPlace {
  isKnown = false
  /** Done in some life since the last seek, or reported as removed. */
  readonly handled = new FinishedOffsets()
  /** Settled, not handled, and not known to exist: an acknowledgement may come yet that says it does. */
  readonly suspects = new Set<number>()
}

/** Nothing is settled that was not handled, but by who hands out at most once. */
export const atLeastOnce: Invariant = {
  name: 'at-least-once',
  about:
    'Every message that a group settles was done by it, known to be done, moved to its dead letters, sent back to another group, or reported as removed or skipped, unless it is finished before it is handed out.',
  begin: () => new AtLeastOnce().checks,
}

class AtLeastOnce {
  readonly #members = new Members()
  readonly #logs = new KnownLogs()
  readonly #addressees = new Addressees()
  readonly #places = new GroupMap(() => new HandledPlace())
  readonly #followed = this.#logs.follow((topic) => this.#forget(topic))
  #hasSuspects = false
  /** Settlements of transactions that are under way. */
  readonly #byTransaction = new Map<number, HistoryEvent<'settle'>>()
  // Who was abandoned still asks for its settlement, which is refused: so a zombie's messages count as done here.
  readonly #outcomes = new CallOutcomes(this.#members, ({ group, topic, partition, offset }, isFinished) => {
    if (isFinished) this.#places.at(group, topic, partition).handled.add(offset)
  })

  readonly checks: EventChecks = {
    joined: this.#members.joined,
    send: this.#addressees.send,
    accepted: this.#addressees.accepted,
    acked: (event) => {
      this.#followed.acked(event)
      if (this.#hasSuspects) return this.#exists(event.topic, event.partition, event.offset)
    },
    trimmed: this.#followed.trimmed,
    granted: ({ group, topic, partition, position }) => {
      const place = this.#places.at(group, topic, partition)
      if (!place.isKnown) place.handled.reset(position)
      place.isKnown = true
    },
    sought: ({ group, topic, partition, position }) => {
      const place = this.#places.at(group, topic, partition)
      place.isKnown = true
      place.handled.reset(position)
      place.suspects.clear()
    },
    // Done in an earlier life, or by another member: its idempotency store says so.
    duplicate: ({ group, topic, partition, offset }) => this.#places.at(group, topic, partition).handled.add(offset),
    gap: ({ group, topic, partition, from, to }) => this.#places.at(group, topic, partition).handled.addRange(from, to),
    // Traced: it counts as handled.
    skipped: ({ group, topic, partition, offset }) => this.#places.at(group, topic, partition).handled.add(offset),
    'dead-lettered': ({ group, topic, partition, offset }) =>
      this.#places.at(group, topic, partition).handled.add(offset),
    deliver: (event) => {
      this.#logs.at(event.topic, event.partition).add(event.offset, event.key)
      this.#outcomes.deliver(event)
    },
    done: this.#outcomes.done,
    error: this.#outcomes.error,
    settle: (event) => {
      if (event.byTransaction === undefined) return this.#settle(event)
      this.#byTransaction.set(event.settlement, event)
    },
    // Acknowledged together with what was done for them.
    settled: ({ settlement }) => {
      for (const { topic, partition, finished } of this.#byTransaction.get(settlement)?.partitions ?? []) {
        const { handled } = this.#places.at(this.#byTransaction.get(settlement)!.group, topic, partition)
        handled.addPairs(finished)
      }
      this.#byTransaction.delete(settlement)
    },
    unsettled: ({ settlement }) => void this.#byTransaction.delete(settlement),
    'topic:created': this.#followed['topic:created'],
    'topic:deleted': this.#followed['topic:deleted'],
    'group:deleted': ({ group }) => this.#places.forgetGroup(group),
    crash: () => {
      this.#outcomes.forgetAll()
      this.#byTransaction.clear()
    },
    snapshot: (event) => (event.reason === 'restart' ? this.#restart(event) : undefined),
  }

  #forget(topic: string): void {
    this.#places.forget(topic)
    this.#addressees.forget(topic)
  }

  #settle({ group, member, partitions }: HistoryEvent<'settle'>): string | undefined {
    let text: string | undefined
    const isFirst = this.#members.isAtMostOnce(group, member)
    for (const { topic, partition, finished, deadLettered } of partitions) {
      const place = this.#places.at(group, topic, partition)
      if (!place.isKnown) continue
      if (isFirst) {
        place.handled.addPairs(finished)
        continue
      }
      const log = this.#logs.at(topic, partition)
      for (let i = 0; i < finished.length; i += 2) {
        for (let offset = Math.max(finished[i]!, place.handled.position); offset < finished[i + 1]!; offset++) {
          if (offset < log.trimmed || place.handled.has(offset) || deadLettered?.includes(offset)) continue
          if (this.#addressees.isForOthers(group, topic, partition, offset)) continue
          if (log.has(offset)) text ??= neverHandled(group, topic, partition, offset)
          else this.#hasSuspects = place.suspects.add(offset).size > 0
        }
      }
    }
    return text
  }

  /** An offset turns out to be a message. */
  #exists(topic: string, partition: number, offset: number): string | undefined {
    let text: string | undefined
    this.#places.forEach(({ suspects }, group, ofTopic, ofPartition) => {
      if (ofTopic !== topic || ofPartition !== partition || !suspects.delete(offset)) return
      text ??= neverHandled(group, topic, partition, offset)
    })
    return text
  }

  #restart(event: HistoryEvent<'snapshot'>): string | undefined {
    const { logs, progress } = event
    this.#outcomes.forgetAll()
    this.#addressees.restart(event)
    let text: string | undefined
    for (const snapshot of logs) {
      const { topic, partition, end } = snapshot
      this.#logs.at(topic, partition).reset(snapshot)
      if (this.#hasSuspects) {
        for (const { offset } of snapshot.records) text = this.#exists(topic, partition, offset) ?? text
      }
      this.#places.forEach(({ handled }, _group, ofTopic, ofPartition) => {
        if (ofTopic === topic && ofPartition === partition) handled.truncate(end)
      })
    }
    for (const { group, topic, partition, position, finishedAbove } of progress) {
      const place = this.#places.at(group, topic, partition)
      if (place.isKnown) place.handled.addProgress(position, finishedAbove)
      else place.handled.reset(position, finishedAbove)
      place.isKnown = true
    }
    return text
  }
}

function neverHandled(group: string, topic: string, partition: number, offset: number): string {
  return `${group}: ${offsetText(topic, partition, offset)} was settled although it was never done`
}
