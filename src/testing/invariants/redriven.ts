import type { RedriveFacts } from '../../dead-letter-facts.ts'
import type { HistoryEvent, ProgressSnapshot } from '../history.ts'
import { isFinished } from './effect-units.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { offsetText, PartitionMap } from './place-map.ts'

/** A message that is sent back. */
interface Copy {
  readonly topic: string
  readonly key: string | undefined
  readonly redrive: RedriveFacts
}

/** What a transaction sent back or deleted: it is on disk whole or not at all. */
interface Slice {
  readonly letters: HistoryEvent<'letters:finished'>
  readonly copies: readonly { readonly topic: string; readonly partition: number; readonly offset: number }[]
}

/** Letters go back once, whole slices at a time, and those of a key in their order. */
export const redriven: Invariant = {
  name: 'redriven',
  about:
    'A dead letter is finished exactly when the message that it was is in its topic again, once; those of a key go back in the order in which they were sent.',
  begin: () => new Redriven().checks,
}

class Redriven {
  readonly #sends = new Map<number, Copy>()
  readonly #under = new Map<number, HistoryEvent<'letters:finished'>>()
  readonly #finished = new PartitionMap(() => new Set<number>())
  /** Since the last restart. */
  #slices: Slice[] = []

  readonly checks: EventChecks = {
    send: ({ send, topic, key, redrive }) => {
      if (redrive !== undefined) this.#sends.set(send, { topic, key, redrive })
    },
    'letters:finished': (event) => void this.#under.set(event.transaction, event),
    accepted: (event) => this.#accepted(event),
    'transaction:refused': ({ transaction }) => void this.#under.delete(transaction),
    'topic:created': ({ topic }) => this.#forget(topic),
    'topic:deleted': ({ topic }) => this.#forget(topic),
    snapshot: (event) => {
      const text = this.#look(event)
      if (event.reason === 'restart') this.#restart(event)
      return text
    },
  }

  #accepted({ of, outputs }: HistoryEvent<'accepted'>): string | undefined {
    const letters = 'transaction' in of ? this.#under.get(of.transaction) : undefined
    const copies = outputs.map(({ send }) => this.#taken(send))
    const count = copies.filter((copy) => copy !== undefined).length
    const ended = letters?.letters.length ?? 0
    if (count > 0 && count !== ended) return `${count} messages were sent back, and ${ended} letters finished with them`
    if (letters === undefined) return undefined
    this.#under.delete(letters.transaction)
    this.#slices.push({ letters, copies: outputs })
    const { topic, partition } = letters
    const finished = this.#finished.at(topic, partition)
    const twice = letters.letters.find((offset) => finished.has(offset))
    for (const offset of letters.letters) finished.add(offset)
    if (twice !== undefined) return `the letter ${offsetText(topic, partition, twice)} was taken twice`
    return this.#disorder(copies)
  }

  #taken(send: number): Copy | undefined {
    const copy = this.#sends.get(send)
    this.#sends.delete(send)
    return copy
  }

  #disorder(copies: readonly (Copy | undefined)[]): string | undefined {
    const last = new Map<string, Copy>()
    for (const copy of copies) {
      if (copy?.key === undefined) continue
      const { origin } = copy.redrive
      const lane = `${copy.topic}/${origin.partition}/${copy.key}`
      const before = last.get(lane)?.redrive.origin
      if (before !== undefined && before.offset > origin.offset) {
        return `key ${copy.key} of ${copy.topic}: what was at offset ${origin.offset} was sent back after ${before.offset}`
      }
      last.set(lane, copy)
    }
    return undefined
  }

  #look({ logs, kept = [] }: HistoryEvent<'snapshot'>): string | undefined {
    for (const { letters, copies } of this.#slices) {
      const { topic, partition } = letters
      const keeper = kept.find((one) => one.topic === topic && one.partition === partition)
      if (copies.length === 0 || !logs.some((one) => one.topic === topic)) continue
      const isDone = (offset: number): boolean => keeper !== undefined && isFinished(keeper, offset)
      const done = letters.letters.filter(isDone).length
      const there = copies.filter((copy) => isThere(copy, logs)).length
      const isWhole = done === letters.letters.length && there === copies.length
      if (isWhole || (done === 0 && there === 0)) continue
      const of = offsetText(topic, partition, letters.letters[0]!)
      return `the redrive of ${of} is torn: ${done} of ${letters.letters.length} letters are finished, ${there} of ${copies.length} messages are in the log`
    }
    return undefined
  }

  #restart({ logs, kept = [] }: HistoryEvent<'snapshot'>): void {
    this.#slices = []
    this.#sends.clear()
    this.#under.clear()
    const keeperOf = (topic: string, partition: number): ProgressSnapshot | undefined =>
      kept.find((one) => one.topic === topic && one.partition === partition)
    for (const { topic, partition, end } of logs) {
      const keeper = keeperOf(topic, partition)
      const finished = this.#finished.at(topic, partition)
      finished.clear()
      for (let offset = 0; keeper !== undefined && offset < end; offset++) {
        if (isFinished(keeper, offset)) finished.add(offset)
      }
    }
  }

  #forget(topic: string): void {
    this.#finished.forget(topic)
    this.#slices = this.#slices.filter(({ letters, copies }) => {
      return letters.topic !== topic && copies.every((copy) => copy.topic !== topic)
    })
  }
}

function isThere(copy: Slice['copies'][number], logs: HistoryEvent<'snapshot'>['logs']): boolean {
  const log = logs.find((one) => one.topic === copy.topic && one.partition === copy.partition)
  // What retention took was there.
  if (log !== undefined && copy.offset < log.start) return true
  return log?.records.find(({ offset }) => offset === copy.offset)?.redrive !== undefined
}
