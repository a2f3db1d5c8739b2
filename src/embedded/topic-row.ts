import type { DedupeSettings, RetentionSettings, TopicSettings } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import { keepEverything } from '../log/retention.ts'

/** What the store keeps of a topic. */
export interface TopicRow {
  readonly partitionIds: readonly number[]
  readonly contentType: string
  /** Whether values are text; a text codec and a binary one can't share a batch. */
  readonly text: boolean
  /** Limits that are set; JSON has no Infinity. */
  readonly retention: Partial<RetentionSettings>
  /** The window of ids, without an age that is Infinity; where none was declared, the default counts. */
  readonly dedupe?: (Pick<DedupeSettings, 'maxCount'> & Partial<DedupeSettings>) | false | undefined
}

/** The window of a topic that declared none. */
const defaultDedupe: DedupeSettings = { maxCount: 100_000, maxAgeMs: 120_000 }

export function encodeTopicRow(row: TopicRow): Buffer {
  const retention = Object.fromEntries(Object.entries(row.retention).filter(([, value]) => value !== Infinity))
  const { dedupe } = row
  const isEndless = dedupe && dedupe.maxAgeMs === Infinity
  return Buffer.from(JSON.stringify({ ...row, retention, dedupe: isEndless ? { maxCount: dedupe.maxCount } : dedupe }))
}

export function decodeTopicRow(stored: Uint8Array): TopicRow {
  return JSON.parse(Buffer.from(stored).toString()) as TopicRow
}

export function settingsOf(row: TopicRow): TopicSettings {
  return {
    partitions: row.partitionIds.length,
    contentType: row.contentType,
    text: row.text,
    retention: { ...keepEverything, ...row.retention },
    dedupe: dedupeOf(row.dedupe),
  }
}

function dedupeOf(stored: TopicRow['dedupe']): DedupeSettings | false {
  if (stored === false) return false
  return stored === undefined ? defaultDedupe : { ...stored, maxAgeMs: stored.maxAgeMs ?? Infinity }
}

/** @throws `TOPIC_CONFLICT` when what is wanted of an existing topic is something that can't be changed */
export function assertSameTopic(name: string, settings: TopicSettings, wanted: Partial<TopicSettings>): void {
  for (const field of ['partitions', 'contentType'] as const) {
    const value = wanted[field]
    if (value === undefined || value === settings[field]) continue
    const message = `topic ${name} exists with ${field} ${settings[field]}, not ${value}: leave it out or use that`
    throw new QueueError('TOPIC_CONFLICT', message, {
      topic: name,
      option: field,
      value,
      allowed: String(settings[field]),
    })
  }
}
