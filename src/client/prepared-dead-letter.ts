import type { PreparedTarget, StoredPrepared } from '../contracts/prepared.ts'
import { deadLetterTopicName, summarizeError } from '../dead-letter.ts'
import type { Headers } from '../message.ts'
import { reservedHeader, withReserved } from '../reserved-headers.ts'
import { preparedId } from './prepared-message.ts'

/**
 * Where a prepared message goes that nobody decided about, with headers that say why. No group gave it up, and it never had
 * a place in its topic, so that it is no letter of `Group.deadLetters`, although the topic may have the same name.
 */
export function deadLetterOf(stored: StoredPrepared, error: unknown, now: number): PreparedTarget {
  const { ref, topic, preparedAt, checks } = stored
  const facts = {
    producer: ref.producer,
    topic,
    timestamp: preparedAt,
    id: preparedId(ref),
    attempts: checks,
    reason: 'undecided',
    lastError: error === undefined ? undefined : summarizeError(error),
    failedAt: now,
    redrives: 0,
  }
  const headers = stored.headers === undefined ? {} : (JSON.parse(stored.headers) as Headers)
  const target = deadLetterTopicName(topic, ref.producer)
  return { topic: target, headers: withReserved(headers, reservedHeader.deadLetter, facts) }
}
