import type { History, HistoryEvent } from './history.ts'
import { showDuration } from './duration.ts'
import { showError, showKey, showValue } from './show.ts'
import { showPartition } from './timeline-rows.ts'
import { toldOrder } from './told-order.ts'

/** What Mermaid takes for its own syntax, and its escape. */
const special = /[#;"'<>&%{}\\\r\n]/g

/** Tells a history as a Mermaid `sequenceDiagram` of producers, partitions and groups, for documents. */
export function mermaid(history: History): string {
  const diagram = new Diagram()
  const sent = new Map(history.of('send').map(({ send, value }) => [send, value]))
  for (const event of toldOrder(history)) draw(diagram, event, sent)
  return diagram.text()
}

class Diagram {
  readonly #names = new Map<string, string>()
  readonly #participants: string[] = []
  readonly #lines: string[] = []

  arrow(from: string, arrow: '->>' | '-->>' | '--x', to: string, text: string): void {
    this.#lines.push(`${from}${arrow}${to}: ${escaped(text)}`)
  }

  /** A note over everything. */
  note(text: string): void {
    const names = [...this.#names.values()]
    const over = [...new Set([names[0] ?? this.producers(), names.at(-1) ?? this.producers()])]
    this.#lines.push(`Note over ${over.join(',')}: ${escaped(text)}`)
  }

  producers(): string {
    return this.#participant('P', 'producers')
  }

  partition(place: { readonly topic: string; readonly partition: number }): string {
    return this.#participant('T', showPartition(place))
  }

  group(name: string): string {
    return this.#participant('G', name)
  }

  text(): string {
    return ['sequenceDiagram', ...[...this.#participants, ...this.#lines].map((line) => `  ${line}`)].join('\n')
  }

  /** Participants stand in the order in which they first do something. */
  #participant(letter: 'P' | 'T' | 'G', label: string): string {
    const id = `${letter}${label}`
    const known = this.#names.get(id)
    if (known !== undefined) return known
    const name = `${letter}${this.#names.size}`
    this.#names.set(id, name)
    this.#participants.push(`participant ${name} as ${escaped(label)}`)
    return name
  }
}

function draw(diagram: Diagram, event: HistoryEvent, sent: ReadonlyMap<number, unknown>): void {
  if (event.kind === 'acked') {
    const value = sent.has(event.send) ? ` ${showValue(sent.get(event.send))}` : ''
    diagram.arrow(diagram.producers(), '->>', diagram.partition(event), `${messageOf(event)}${value}`)
  } else if (event.kind === 'start') {
    const text = `${messageOf(event)} attempt ${event.attempt}`
    diagram.arrow(diagram.partition(event), '->>', diagram.group(event.group), text)
  } else if (event.kind === 'done') {
    diagram.arrow(diagram.group(event.group), '-->>', diagram.partition(event), `done ${messageOf(event)}`)
  } else if (event.kind === 'failed') {
    const next = event.retryInMs === undefined ? 'no retry' : `retry in ${showDuration(event.retryInMs)}`
    const text = `fail ${messageOf(event)} ${showError(event.error)}, ${next}`
    diagram.arrow(diagram.group(event.group), '--x', diagram.partition(event), text)
  } else if (event.kind === 'settled') {
    for (const place of event.positions) {
      diagram.arrow(diagram.group(event.group), '->>', diagram.partition(place), `commit ${place.position}`)
    }
  } else {
    const text = noteOf(event)
    if (text !== undefined) diagram.note(text)
  }
}

function noteOf(event: HistoryEvent): string | undefined {
  if (event.kind === 'parked') return `${event.group} parks ${showPartition(event)} ${messageOf(event)}`
  if (event.kind === 'skipped') return `${event.group} skips ${showPartition(event)} ${messageOf(event)}`
  if (event.kind === 'dead-lettered')
    return `${event.group} moves ${showPartition(event)} ${messageOf(event)} to ${event.deadLetterTopic}`
  if (event.kind === 'crash') return event.power ? 'power loss' : 'crash'
  if (event.kind === 'snapshot' && event.reason === 'restart') return `restart, life ${event.life}`
  if (event.kind === 'fault') return `fault ${event.name}`
  if (event.kind === 'drained') return `${event.idle} after ${showDuration(event.at)} virtual`
  return undefined
}

function messageOf({ offset, key }: { readonly offset: number; readonly key: string | undefined }): string {
  return key === undefined ? `@${offset}` : `@${offset} ${showKey(key)}`
}

function escaped(text: string): string {
  return text.replaceAll(special, (one) => (one === '\r' || one === '\n' ? ' ' : `#${one.charCodeAt(0)};`))
}
