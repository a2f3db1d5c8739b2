import type { Headers } from './message.ts'

/** Names of headers, and of groups, that begin like this are the engine's own. */
export const reservedPrefix = 'lanemq.'

/** Headers that the engine writes. What they hold is JSON, but for the id. */
export const reservedHeader = {
  /** On a message in a topic of dead letters: where it comes from and why, see `DeadLetterFacts`. */
  deadLetter: 'lanemq.dead-letter',
  /** On a message that was sent back: the one group that it is for, see `RedriveFacts`. */
  redrive: 'lanemq.redrive',
  /** The id that the sender gave the message, as it is. */
  id: 'lanemq.id',
} as const

/** Headers as the sender gave them, without the engine's own. */
export function userHeaders(headers: Headers): Headers {
  for (const name in headers) {
    if (!name.startsWith(reservedPrefix)) continue
    return Object.freeze(Object.fromEntries(Object.entries(headers).filter(([one]) => !one.startsWith(reservedPrefix))))
  }
  return headers
}

/**
 * Headers with facts of the engine, as they are stored. They come first, before names that an object would put before
 * them, so that they are found without reading the rest; what the engine said of the message there before is dropped.
 */
export function withReserved(headers: Headers, name: string, facts: object): string {
  const { [reservedHeader.deadLetter]: _letter, [reservedHeader.redrive]: _redrive, ...kept } = headers
  const rest = JSON.stringify(kept).slice(1)
  return `${startOf(name)}${JSON.stringify(JSON.stringify(facts))}${rest === '}' ? '' : ','}${rest}`
}

/** Stored headers with the id of the message, before those that it has. */
export function withId(headers: string | undefined, id: string): string {
  const first = startOf(reservedHeader.id) + JSON.stringify(id)
  return headers === undefined ? `${first}}` : `${first},${headers.slice(1)}`
}

/** How the stored headers begin that have a header of the engine. */
export function startOf(name: string): string {
  return `{${JSON.stringify(name)}:`
}

/** What a header of the engine holds; undefined where it is not there, or is not what the engine writes. */
export function readReserved(headers: Headers, name: string): Readonly<Record<string, unknown>> | undefined {
  const text = headers[name]
  if (text === undefined) return undefined
  try {
    const facts: unknown = JSON.parse(text)
    return typeof facts === 'object' && facts !== null ? (facts as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
