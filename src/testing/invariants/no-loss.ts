import type { HistoryEvent } from '../history.ts'
import type { LogSnapshot } from '../log-snapshot.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { offsetText, PartitionMap, placeText } from './place-map.ts'
import { isSameValue } from './same-value.ts'

/** A message that was acknowledged. */
interface Acknowledged {
  readonly place: HistoryEvent<'acked'>
  readonly value: unknown
  /** Whether no crash may take it any more. */
  isSafe: boolean
}

/** The acknowledged messages of a partition, by offset. */
class AcknowledgedLog {
  readonly messages = new Map<number, Acknowledged>()
  trimmed = 0
}

/** Every acknowledged message is in its log at every look, or was removed by retention. */
export const noLoss: Invariant = {
  name: 'no-loss',
  about:
    'An acknowledged message stays in its log until retention removes it; a crash takes only buffered ones, from the end.',
  begin: () => new NoLoss().checks,
}

class NoLoss {
  readonly #sends = new Map<number, HistoryEvent<'send'>>()
  readonly #logs = new PartitionMap(() => new AcknowledgedLog())
  /** Messages acknowledged as buffered, in the order of their acknowledgements; those before `#covered` are on disk. */
  #buffered: Acknowledged[] = []
  #covered = 0
  /** Whether something happened since the last look that may take buffered messages away. */
  #mayLose = false

  readonly checks: EventChecks = {
    send: (event) => {
      this.#sends.set(event.send, event)
    },
    acked: (event) => this.#acked(event),
    refused: ({ send }) => {
      this.#sends.delete(send)
    },
    trimmed: ({ topic, partition, start }) => {
      const log = this.#logs.at(topic, partition)
      log.trimmed = Math.max(log.trimmed, start)
    },
    'topic:created': ({ topic }) => this.#forget(topic),
    'topic:deleted': ({ topic }) => this.#forget(topic),
    // A send without an answer may turn out to be there after the restart, and is acknowledged then.
    crash: () => {
      this.#mayLose = true
    },
    'store:failed': () => {
      this.#mayLose = true
    },
    snapshot: (event) => this.#look(event),
  }

  #acked(event: HistoryEvent<'acked'>): void {
    const sent = this.#sends.get(event.send)
    // Sent to a topic that was deleted meanwhile.
    if (sent === undefined) return
    this.#sends.delete(event.send)
    const isSafe = event.acks === 'flushed'
    const message: Acknowledged = { place: event, value: sent.value, isSafe }
    this.#logs.at(event.topic, event.partition).messages.set(event.offset, message)
    if (!isSafe) this.#buffered.push(message)
    // Commits are made in order: what was accepted before a flushed message was sent is on disk with it.
    else
      for (; this.#buffered[this.#covered] !== undefined; this.#covered++) {
        const earlier = this.#buffered[this.#covered]!
        if (earlier.place.seq > sent.seq) break
        earlier.isSafe = true
      }
  }

  #look({ reason, logs }: HistoryEvent<'snapshot'>): string | undefined {
    let text: string | undefined
    const seen = new Set<AcknowledgedLog>()
    for (const snapshot of logs) {
      const log = this.#logs.at(snapshot.topic, snapshot.partition)
      seen.add(log)
      const loss = this.#compare(log, snapshot)
      text ??= loss
      if (reason === 'restart') log.trimmed = snapshot.start
    }
    this.#logs.forEach((log, topic, partition) => {
      if (seen.has(log) || log.messages.size === 0) return
      const [offset] = log.messages.keys()
      text ??= `${offsetText(topic, partition, offset!)} was acknowledged, but the partition is not there`
    })
    if (reason === 'restart') {
      // What is on disk now stays there.
      for (const message of this.#buffered) message.isSafe = true
      this.#buffered = []
      this.#covered = 0
      this.#mayLose = false
    }
    return text
  }

  #compare({ messages, trimmed }: AcknowledgedLog, { start, end, records }: LogSnapshot): string | undefined {
    let text: string | undefined
    for (const [offset, { place, value, isSafe }] of messages) {
      const what = (): string => `${placeText(place)} was acknowledged as ${isSafe ? 'flushed' : 'buffered'}`
      if (offset < start) {
        if (offset >= trimmed) text ??= `${what()}, but the log begins at ${start} and retention had reached ${trimmed}`
        messages.delete(offset)
        continue
      }
      const direct = records[offset - start]
      const record = direct?.offset === offset ? direct : records.find((other) => other.offset === offset)
      if (record === undefined) {
        if (isSafe || !this.#mayLose || offset < end)
          text ??= `${what()}, but the log [${start}, ${end}) has no such message`
        messages.delete(offset)
      } else if (record.key !== place.key) text ??= `${what()}, but the log has it with key ${record.key}`
      else if (!isSameValue(value, record.value)) text ??= `${what()}, but the log has another value there`
    }
    return text
  }

  #forget(topic: string): void {
    this.#logs.forget(topic)
    for (const [send, event] of this.#sends) if (event.topic === topic) this.#sends.delete(send)
  }
}
