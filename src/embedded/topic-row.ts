import type { RetentionSettings, TopicSettings } from '../contracts/broker.ts'
import { keepEverything } from '../log/retention.ts'

/** What the store keeps of a topic. */
export interface TopicRow {
  readonly partitionIds: readonly number[]
  readonly contentType: string
  /** Whether values are text; a text codec and a binary one can't share a batch. */
  readonly text: boolean
  /** Limits that are set; JSON has no Infinity. */
  readonly retention: Partial<RetentionSettings>
}

export function encodeTopicRow(row: TopicRow): Buffer {
  const retention = Object.fromEntries(Object.entries(row.retention).filter(([, value]) => value !== Infinity))
  return Buffer.from(JSON.stringify({ ...row, retention }))
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
  }
}
