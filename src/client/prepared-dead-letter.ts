import type { PreparedTarget, StoredPrepared } from '../contracts/prepared.ts'
import type { Headers } from '../message.ts'
import { reservedHeader, withReserved } from '../reserved-headers.ts'
import { preparedId } from './prepared-message.ts'

/** Where a prepared message goes that nobody decided about, with headers that say why. */
export function deadLetterOf(stored: StoredPrepared, error: unknown, now: number): PreparedTarget {
  const { ref, topic, preparedAt, checks } = stored
  const facts = {
    producer: ref.producer,
    topic,
    timestamp: preparedAt,
    id: preparedId(ref),
    attempts: checks,
    reason: 'undecided',
    lastError: error instanceof Error ? { name: error.name, message: error.message.slice(0, 1_024) } : undefined,
    failedAt: now,
    redrives: 0,
  }
  const headers = stored.headers === undefined ? {} : (JSON.parse(stored.headers) as Headers)
  return { topic: topicOf(topic, ref.producer), headers: withReserved(headers, reservedHeader.deadLetter, facts) }
}

/** `<topic>.<producer>.dlq`, as far as that is the name of a topic. */
function topicOf(topic: string, producer: string): string {
  const kept = producer.replaceAll(/[^a-zA-Z0-9._-]/g, '_').slice(0, 80)
  return `${topic.slice(0, 160)}.${kept}.dlq`
}
