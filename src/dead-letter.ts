import type { DeadLetterFacts, ErrorSummary, RedriveFacts } from './dead-letter-facts.ts'
import type { Headers } from './message.ts'
import { murmur2OfText } from './partitioner.ts'
import { readReserved, reservedHeader, reservedPrefix } from './reserved-headers.ts'

const limits = { name: 128, message: 1_024, code: 64, stack: 4_096 } as const

/** What is kept of something that was thrown. Never throws itself. */
export function summarizeError(error: unknown): ErrorSummary {
  try {
    if (!(error instanceof Error)) return { name: typeof error, message: cut(String(error), limits.message) }
    const { name, message, stack } = error
    const { code } = error as { code?: unknown }
    return {
      name: cut(name, limits.name),
      message: cut(message, limits.message),
      ...(typeof code === 'string' || typeof code === 'number' ? { code: cut(String(code), limits.code) } : {}),
      ...(typeof stack === 'string' ? { stack: cut(stack, limits.stack) } : {}),
    }
  } catch {
    return { name: 'Error', message: 'an error that cannot be read' }
  }
}

/** What the headers of a dead letter say; undefined where they are no dead letter's. */
export function readDeadLetterFacts(headers: Headers): DeadLetterFacts | undefined {
  return readReserved(headers, reservedHeader.deadLetter) as DeadLetterFacts | undefined
}

/** What the headers of a message say that was sent back; undefined where it was not. */
export function readRedriveFacts(headers: Headers): RedriveFacts | undefined {
  return readReserved(headers, reservedHeader.redrive) as RedriveFacts | undefined
}

/** Text of at most so many characters, without half of one at its end. */
function cut(text: string, limit: number): string {
  return (text.length <= limit ? text : `${text.slice(0, limit - 1)}…`).toWellFormed()
}

/** Longest name of a topic, and how much of one a name made of others keeps. */
const maxTopicName = 249
const keptOfTopic = 140
const keptOfGroup = 80

/**
 * The topic of a group's dead letters: `<topic>.<group>.dlq`. Where that is no name of a topic, because it is too long or
 * the group has other characters, what fits of it is kept, with a hash of the whole. Two groups may share a topic.
 */
export function deadLetterTopicName(topic: string, group: string): string {
  const name = `${topic}.${group}.dlq`
  if (name.length <= maxTopicName && /^[a-zA-Z0-9._-]+$/.test(name)) return name
  const hash = (murmur2OfText(name) >>> 0).toString(16).padStart(8, '0')
  const kept = group.replaceAll(/[^a-zA-Z0-9._-]/g, '_').slice(0, keptOfGroup)
  return `${topic.slice(0, keptOfTopic)}.${kept}.${hash}.dlq`
}

/** The group of the engine that keeps what was deleted from a topic of dead letters, or sent back, as finished. */
export function deadLetterKeeper(deadLetterTopic: string): string {
  return reservedPrefix + deadLetterTopic
}
