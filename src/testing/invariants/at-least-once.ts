import type { HistoryEvent } from '../history.ts'
import { CallOutcomes } from './call-outcomes.ts'
import { FinishedOffsets } from './finished-offsets.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { LogOffsets } from './log-offsets.ts'
import { Members } from './members.ts'
import { GroupMap, offsetText, PartitionMap } from './place-map.ts'

class HandledPlace {
  isKnown = false
  /** Done in some life since the last seek, or reported as removed. */
  readonly handled = new FinishedOffsets()
  /** Settled, not handled, and not known to exist: an acknowledgement may come yet that says it does. */
  readonly suspects = new Set<number>()
}

/** Nothing is settled that was not handled. */
export const atLeastOnce: Invariant = {
  name: 'at-least-once',
  about: 'Every message that a group settles was done by it, or reported to it as removed.',
  begin: () => new AtLeastOnce().checks,
}

class AtLeastOnce {
  readonly #members = new Members()
  readonly #logs = new PartitionMap(() => new LogOffsets())
  readonly #places = new GroupMap(() => new HandledPlace())
  #hasSuspects = false
  // Who was abandoned still asks for its settlement, which is refused: so a zombie's messages count as done here.
  readonly #outcomes = new CallOutcomes(this.#members, ({ group, topic, partition, offset }, isFinished) => {
    if (isFinished) this.#places.at(group, topic, partition).handled.add(offset)
  })

  readonly checks: EventChecks = {
    joined: this.#members.joined,
    acked: ({ topic, partition, offset, key }) => {
      this.#logs.at(topic, partition).add(offset, key)
      if (this.#hasSuspects) return this.#exists(topic, partition, offset)
    },
    trimmed: ({ topic, partition, start }) => {
      const log = this.#logs.at(topic, partition)
      log.trimmed = Math.max(log.trimmed, start)
    },
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
    gap: ({ group, topic, partition, from, to }) => this.#places.at(group, topic, partition).handled.addRange(from, to),
    deliver: (event) => {
      this.#logs.at(event.topic, event.partition).add(event.offset, event.key)
      this.#outcomes.deliver(event)
    },
    done: this.#outcomes.done,
    error: this.#outcomes.error,
    settle: (event) => this.#settle(event),
    'topic:created': ({ topic }) => this.#forget(topic),
    'topic:deleted': ({ topic }) => this.#forget(topic),
    'group:deleted': ({ group }) => this.#places.forgetGroup(group),
    crash: () => this.#outcomes.forgetAll(),
    snapshot: (event) => (event.reason === 'restart' ? this.#restart(event) : undefined),
  }

  #settle({ group, partitions }: HistoryEvent<'settle'>): string | undefined {
    let text: string | undefined
    for (const { topic, partition, finished } of partitions) {
      const place = this.#places.at(group, topic, partition)
      if (!place.isKnown) continue
      const log = this.#logs.at(topic, partition)
      for (let i = 0; i < finished.length; i += 2) {
        for (let offset = Math.max(finished[i]!, place.handled.position); offset < finished[i + 1]!; offset++) {
          if (offset < log.trimmed || place.handled.has(offset)) continue
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

  #restart({ logs, progress }: HistoryEvent<'snapshot'>): string | undefined {
    this.#outcomes.forgetAll()
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

  #forget(topic: string): void {
    this.#logs.forget(topic)
    this.#places.forget(topic)
  }
}

function neverHandled(group: string, topic: string, partition: number, offset: number): string {
  return `${group}: ${offsetText(topic, partition, offset)} was settled although it was never done`
}
