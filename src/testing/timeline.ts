import { isObject } from '../options.ts'
import { showDuration } from './duration.ts'
import type { History } from './history.ts'
import { rowsOf, type Row, type TimelineLevel } from './timeline-rows.ts'
import { refuseUnknown } from './test-error.ts'
import { toldOrder } from './told-order.ts'

/** What a timeline shows. */
export interface TimelineOptions {
  /**
   * - `flow`: sends, handler calls, failures, faults, crashes
   * - `commits`: also durable positions, members and their partitions
   * - `all`: every event
   *
   * @defaultValue `'flow'`
   */
  readonly level?: TimelineLevel
  /** Leaves out what is about messages of other keys. */
  readonly key?: string
  /** Leaves out what other groups did. */
  readonly group?: string
  /** Leaves out what is about other topics. */
  readonly topic?: string
  /** Only this many lines, the last ones. */
  readonly last?: number
}

const depths = { flow: 0, commits: 1, all: 2 } as const
const verbWidth = 9
/** Where the values of sends begin, after their verbs. */
const subjectWidth = 27

/**
 * Tells a history as text, one line for each thing that happened. Made of virtual time, places, keys and values alone, so
 * that the same run gives the same text: good for snapshots. A message is sent before it is handled; only `all` has the very
 * order of events, in which a sender is told a moment after the handlers.
 */
export function timeline(history: History, options: TimelineOptions = {}): string {
  refuseUnknown('timeline', options, ['level', 'key', 'group', 'topic', 'last'])
  const depth = depths[options.level ?? 'flow']
  const sent = new Map(history.of('send').map(({ send, value }) => [send, value]))
  const events = depth === depths.all ? history.events : toldOrder(history)
  const told = events.flatMap((event) =>
    rowsOf(event, sent)
      .filter((row) => depths[row.level] <= depth && isAsked(row, options))
      .map((row) => ({ row, time: `+${showDuration(event.at)}` })),
  )
  const timeWidth = Math.max(8, ...told.map(({ time }) => time.length + 1))
  let last = ''
  const lines = told.map(({ row, time }) => {
    if (row.verb === 'idle') return `${'idle'.padEnd(timeWidth)}${row.subject}`
    const shown = time === last ? '' : time
    last = time
    const subject = row.value === undefined ? row.subject : `${row.subject.padEnd(subjectWidth - 1)} ${row.value}`
    return `${shown.padEnd(timeWidth)}${row.verb.padEnd(verbWidth)}${subject}`.trimEnd()
  })
  return lines.slice(options.last === undefined ? 0 : Math.max(0, lines.length - options.last)).join('\n')
}

function isAsked(row: Row, { key, group, topic }: TimelineOptions): boolean {
  return (
    (key === undefined || row.key === undefined || row.key === key) &&
    (group === undefined || row.group === undefined || row.group === group) &&
    (topic === undefined || row.topic === undefined || row.topic === topic)
  )
}

/**
 * Tells a history as JSON, one event a line. Errors become `{ name, code, message }`, bigints `'1n'`, Maps
 * `{ map: [[key, value]] }`, Sets `{ set: [] }` and bytes `{ bytes: 'hex' }`; what is undefined is left out.
 */
export function timelineJson(history: History): string {
  return history.events.map((event) => JSON.stringify(plain(event, []))).join('\n')
}

function plain(value: unknown, around: readonly unknown[]): unknown {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (around.includes(value)) return '[circular]'
  const part = (one: unknown): unknown => plain(one, [...around, value])
  if (value instanceof Error) {
    const { name, message } = value
    return { name, code: part('code' in value ? value.code : undefined), message }
  }
  if (value instanceof Map) return { map: [...value].map(([key, one]) => [part(key), part(one)]) }
  if (value instanceof Set) return { set: [...value].map(part) }
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(part)
  if (!isObject(value) || typeof value['toJSON'] === 'function') return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, part(one)]))
}
