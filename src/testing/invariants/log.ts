import type { HistoryEvent } from '../history.ts'
import type { LogSnapshot } from '../log-snapshot.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { PartitionMap, placeText } from './place-map.ts'
import { isSameValue } from './same-value.ts'

type Send = HistoryEvent<'send'>

/** A message as a handler saw it; `start` brings its value. */
type Shown = HistoryEvent<'deliver'> | HistoryEvent<'start'>

class SentLog {
  /** What was sent to each offset, as far as it is known. */
  readonly at = new Map<number, Send>()
  /** Sends whose outcome is not known, in the order of their calls. */
  readonly pending = new Map<number, Send>()
  readonly shown = new Map<number, Shown>()
  isTrimmed = false
}

/** A log holds what was sent, each message once and where its sender was told. */
export const log: Invariant = {
  name: 'log',
  about:
    'An offset stands for one sent message, in the order of the sends; nothing is shown that a crash may take back.',
  begin: () => new Log().checks,
}

class Log {
  readonly #logs = new PartitionMap(() => new SentLog())
  readonly #sends = new Map<number, Send>()
  readonly #batches = new Map<number, Send[]>()

  readonly checks: EventChecks = {
    send: (event) => {
      this.#sends.set(event.send, event)
      this.#logs.at(event.topic, event.partition).pending.set(event.send, event)
      if (event.batch === undefined) return
      const batch = this.#batches.get(event.batch)
      if (batch === undefined) this.#batches.set(event.batch, [event])
      else batch.push(event)
    },
    acked: (event) => this.#acked(event),
    repeated: (event) => this.#repeated(event),
    refused: (event) => this.#refused(event),
    trimmed: ({ topic, partition }) => {
      this.#logs.at(topic, partition).isTrimmed = true
    },
    deliver: (event) => this.#shown(event),
    start: (event) => this.#shown(event),
    'topic:created': ({ topic }) => this.#forget(topic),
    'topic:deleted': ({ topic }) => this.#forget(topic),
    snapshot: (event) => this.#look(event),
  }

  #acked(event: HistoryEvent<'acked'>): string | undefined {
    const { send, topic, partition, offset, key } = event
    const sent = this.#sends.get(send)
    // Sent to a topic that was deleted meanwhile.
    if (sent === undefined) return
    this.#sends.delete(send)
    const { at, pending, shown } = this.#logs.at(sent.topic, sent.partition)
    pending.delete(send)
    const what = `send ${send} was acknowledged as ${placeText(event)}`
    if (topic !== sent.topic || partition !== sent.partition || key !== sent.key) {
      return `${what}, but was for ${sent.topic}[${sent.partition}] with key ${sent.key}`
    }
    const other = at.get(offset)
    at.set(offset, sent)
    if (other !== undefined && other.send !== send) return `${what}, which is send ${other.send} already`
    const seen = shown.get(offset)
    return seen === undefined ? undefined : differenceOf(sent, seen)
  }

  /** It was never appended: another send of that message was. */
  #repeated({ send }: HistoryEvent<'repeated'>): void {
    const sent = this.#sends.get(send)
    if (sent === undefined) return
    this.#sends.delete(send)
    this.#logs.at(sent.topic, sent.partition).pending.delete(send)
    const batch = sent.batch === undefined ? undefined : this.#batches.get(sent.batch)
    batch?.splice(batch.indexOf(sent), 1)
  }

  #shown(event: Shown): string | undefined {
    const { at, shown } = this.#logs.at(event.topic, event.partition)
    if (event.kind === 'start' || !shown.has(event.offset)) shown.set(event.offset, event)
    const sent = at.get(event.offset)
    return sent === undefined ? undefined : differenceOf(sent, event)
  }

  #refused({ send, error }: HistoryEvent<'refused'>): void {
    const sent = this.#sends.get(send)
    if (sent === undefined) return
    this.#sends.delete(send)
    // Only a failed store leaves open whether it was appended.
    const code = (error as { code?: unknown } | undefined)?.code
    if (code === undefined || code === 'STORE_FAILED' || code === 'STORE_CORRUPT' || code === 'INTERNAL') return
    this.#logs.at(sent.topic, sent.partition).pending.delete(send)
    if (sent.batch !== undefined) this.#batches.delete(sent.batch)
  }

  #look({ reason, logs }: HistoryEvent<'snapshot'>): string | undefined {
    let text: string | undefined
    for (const snapshot of logs) {
      text = this.#compare(snapshot) ?? text
    }
    if (reason !== 'restart') return text
    const gone = new Set<Send>()
    for (const { topic, partition, end } of logs) {
      const shownTooEarly = this.#cut(this.#logs.at(topic, partition), end, gone)
      text ??= shownTooEarly
    }
    for (const [batch, sends] of this.#batches) text ??= this.#halves(batch, sends, gone)
    // What is not there now will never be.
    this.#batches.clear()
    this.#sends.clear()
    this.#logs.forEach(({ pending }) => pending.clear())
    return text
  }

  /** Explains every record by a send, in the order of both. */
  #compare({ topic, partition, start, end, records }: LogSnapshot): string | undefined {
    const { at, pending } = this.#logs.at(topic, partition)
    const where = `${topic}[${partition}]`
    if (records.length !== end - start) return `${where} has ${records.length} messages in [${start}, ${end})`
    let text: string | undefined
    let last: Send | undefined
    let expected = start
    for (const { offset, key, value } of records) {
      if (offset !== expected++) return `${where} has offset ${offset} where ${expected - 1} should be`
      let sent = at.get(offset)
      if (sent === undefined) {
        sent = firstLike(pending, key, value)
        if (sent === undefined)
          text ??= `${placeText({ topic, partition, offset, key })} was never sent, or was refused`
        else {
          pending.delete(sent.send)
          at.set(offset, sent)
        }
      }
      if (sent === undefined) continue
      if (last !== undefined && sent.seq < last.seq) {
        text ??= `${placeText({ topic, partition, offset, key })} is send ${sent.send}, but comes after send ${last.send}`
      }
      last = sent
    }
    return text
  }

  /** Forgets what a crash took; nothing of it may have been shown but what was sent as buffered. */
  #cut({ at, pending, shown }: SentLog, end: number, gone: Set<Send>): string | undefined {
    let text: string | undefined
    for (const [offset, seen] of shown) {
      if (offset < end) continue
      const acks = at.get(offset)?.acks ?? levelOf(pending, seen)
      if (acks === 'flushed') {
        text ??= `${placeText(seen)} was handed out to ${seen.group} before it was flushed: the log ends at ${end} after the crash`
      }
      shown.delete(offset)
    }
    for (const [offset, sent] of at) {
      if (offset < end) continue
      gone.add(sent)
      at.delete(offset)
    }
    return text
  }

  #halves(batch: number, sends: readonly Send[], gone: ReadonlySet<Send>): string | undefined {
    let there = 0
    for (const sent of sends) {
      // It may stand for a message that was there already.
      if (sent.id !== undefined) return undefined
      const { pending, isTrimmed } = this.#logs.at(sent.topic, sent.partition)
      // It may have been there and be removed already.
      if (isTrimmed) return undefined
      if (!pending.has(sent.send) && !gone.has(sent)) there++
    }
    if (there === 0 || there === sends.length) return undefined
    return `${there} of the ${sends.length} messages of batch ${batch} (${sends[0]!.topic}) are there after a restart`
  }

  #forget(topic: string): void {
    this.#logs.forget(topic)
    for (const [send, event] of this.#sends) if (event.topic === topic) this.#sends.delete(send)
    for (const [batch, sends] of this.#batches) {
      if (sends.some((sent) => sent.topic === topic)) this.#batches.delete(batch)
    }
  }
}

function firstLike(pending: ReadonlyMap<number, Send>, key: string | undefined, value: unknown): Send | undefined {
  for (const sent of pending.values()) if (sent.key === key && isSameValue(sent.value, value)) return sent
  return undefined
}

/** Which level a message was sent at that was not acknowledged; undefined when it can't be told. */
function levelOf(pending: ReadonlyMap<number, Send>, seen: Shown): Send['acks'] | undefined {
  let level: Send['acks'] | undefined
  for (const sent of pending.values()) {
    if (differenceOf(sent, seen) !== undefined) continue
    if (level !== undefined && sent.acks !== level) return undefined
    level = sent.acks
  }
  return level
}

function differenceOf(sent: Send, seen: Shown): string | undefined {
  const what = seen.kind === 'deliver' ? 'was handed out' : 'was handled'
  if (sent.key !== seen.key) return `${seen.group}: ${placeText(seen)} ${what}, but was sent with key ${sent.key}`
  if (seen.kind === 'deliver' || isSameValue(sent.value, seen.value)) return undefined
  return `${seen.group}: ${placeText(seen)} ${what} with another value than was sent`
}
