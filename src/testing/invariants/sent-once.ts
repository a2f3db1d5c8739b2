import type { HistoryEvent } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { placeText } from './place-map.ts'
import { isSameValue } from './same-value.ts'

type Send = HistoryEvent<'send'>

/** A message that was sent with an id and acknowledged. */
interface FirstSend {
  readonly place: HistoryEvent<'acked'>
  /** When it was called: it can't have been appended before. */
  readonly calledAt: number
  /** How many sends with ids its topic had seen by then. */
  readonly count: number
  readonly dedupe: Send['dedupe']
}

/** Who is told twice that one message was stored is told one place. */
export const sentOnce: Invariant = {
  name: 'sent-once',
  about:
    'Within the window of its topic an id stands for one message, a sequence of a producer for one send; a fenced producer sends nothing.',
  begin: () => new SentOnce().checks,
}

class SentOnce {
  readonly #sends = new Map<number, Send & { readonly count: number; readonly isFenced: boolean }>()
  /** By topic and id. */
  readonly #first = new Map<string, FirstSend>()
  /** Sends with ids of each topic. */
  readonly #counts = new Map<string, number>()
  /** The newest epoch of each producer. */
  readonly #epochs = new Map<string, number>()
  /** The send of each producer that had the greatest sequence. */
  readonly #last = new Map<string, NonNullable<Send['producer']>>()

  readonly checks: EventChecks = {
    send: (event) => this.#sent(event),
    acked: (event) => this.#acked(event),
    repeated: (event) => this.#repeated(event),
    'producer:opened': ({ producer, epoch }) => {
      const known = this.#epochs.get(producer) ?? 0
      this.#epochs.set(producer, Math.max(known, epoch))
      return epoch > known ? undefined : `producer ${producer} was opened with epoch ${epoch} after ${known}`
    },
    // Over a restart the wall clock counts, which lied.
    jumped: () => this.#first.clear(),
    'topic:created': ({ topic }) => this.#forget(topic),
    'topic:deleted': ({ topic }) => this.#forget(topic),
  }

  #sent(event: Send): void {
    const { id, topic, producer } = event
    if (id === undefined && producer === undefined) return
    const count = (this.#counts.get(topic) ?? 0) + (id === undefined ? 0 : 1)
    this.#counts.set(topic, count)
    const isFenced = producer !== undefined && producer.epoch < (this.#epochs.get(producer.name) ?? 0)
    this.#sends.set(event.send, { ...event, count, isFenced })
  }

  #acked(event: HistoryEvent<'acked'>): string | undefined {
    const sent = this.#sends.get(event.send)
    if (sent === undefined) return
    this.#sends.delete(event.send)
    const { id, producer, topic, count } = sent
    if (sent.isFenced) return `${placeText(event)} was sent by producer ${producer!.name} after it had been fenced`
    if (producer?.sequence !== undefined) {
      const last = this.#last.get(producer.name)
      this.#last.set(producer.name, producer)
      // The messages of one batch have one sequence.
      if (last !== undefined && last !== producer && last.sequence! >= producer.sequence) {
        return `${placeText(event)} has sequence ${producer.sequence} of ${producer.name}, which sent ${last.sequence} before`
      }
    }
    if (id === undefined) return
    const name = `${topic}/${id}`
    const first = this.#first.get(name)
    this.#first.set(name, { place: event, calledAt: sent.at, count, dedupe: sent.dedupe })
    if (first === undefined || !isWithin(sent, first, event.at)) return
    return `${placeText(event)} has the id ${id}, which is that of ${placeText(first.place)}`
  }

  #repeated(event: HistoryEvent<'repeated'>): string | undefined {
    const sent = this.#sends.get(event.send)
    if (sent?.id === undefined) return
    this.#sends.delete(event.send)
    const first = this.#first.get(`${sent.topic}/${sent.id}`)
    if (first === undefined || !isWithin(sent, first, event.at)) return
    const { partition, offset } = first.place
    if (event.partition === partition && event.offset === offset) return
    return `send ${event.send} of id ${sent.id} was told ${placeText(event)}, the first one ${placeText(first.place)}`
  }

  #forget(topic: string): void {
    for (const name of this.#first.keys()) if (name.startsWith(`${topic}/`)) this.#first.delete(name)
  }
}

/** Whether a send was surely appended, or found to be there, while the first one was known. */
function isWithin({ dedupe, count }: Send & { readonly count: number }, first: FirstSend, at: number): boolean {
  // A window that was changed may have forgotten it.
  if (!dedupe || !first.dedupe || !isSameValue(dedupe, first.dedupe)) return false
  return count - first.count < dedupe.maxCount && at - first.calledAt <= dedupe.maxAgeMs
}
