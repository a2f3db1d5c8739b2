import { showDuration } from './duration.ts'
import type {
  Delivery,
  EffectSource,
  HistoryEvent,
  HistoryKind,
  OffsetPairs,
  Place,
  PreparedIdentity,
} from './history.ts'
import { showError, showKey, showValue } from './show.ts'

/** How much a timeline tells. */
export type TimelineLevel = 'flow' | 'commits' | 'all'

/** One line of a timeline, before it is laid out. */
export interface Row {
  /** The lowest level that shows it. */
  readonly level: TimelineLevel
  /** At most 8 letters; `idle` stands where the time does. */
  readonly verb: string
  readonly subject: string
  /** Shown in a column of its own. */
  readonly value?: string | undefined
  /** What it is about; undefined for rows that are about everything. */
  readonly topic?: string | undefined
  readonly group?: string | undefined
  /** Null for a message without a key, undefined where it is not about one message. */
  readonly key?: string | null
}

type Partition = { readonly topic: string; readonly partition: number }
/** The values of sends by their numbers. */
type Sent = ReadonlyMap<number, unknown>
type Told = Row | readonly Row[]

/** The lines that each kind of event makes. A kind without an entry does not compile. */
const tellers: { readonly [K in HistoryKind]: (event: HistoryEvent<K>, sent: Sent) => Told } = {
  wired: ({ life }) => row('all', 'wired', `life ${life}`),
  'topic:created': ({ topic, partitions }) => row('all', 'create', `${topic}, ${partitions} partitions`, { topic }),
  'topic:deleted': ({ topic }) => row('flow', 'delete', topic, { topic }),
  send: ({ topic, partition, key, value }) => ({
    ...row('all', 'sending', `${showPartition({ topic, partition })}${showOf(key)}`, { topic, key: key ?? null }),
    value: showValue(value),
  }),
  acked: (event, sent) => ({
    ...row('flow', 'send', showPlace(event), aboutPlace(event)),
    value: sent.has(event.send) ? showValue(sent.get(event.send)) : undefined,
  }),
  repeated: (event, sent) => ({
    ...row('flow', 'repeat', showPlace(event), aboutPlace(event)),
    value: sent.has(event.send) ? showValue(sent.get(event.send)) : undefined,
  }),
  'producer:opened': ({ producer, epoch }) => row('commits', 'open', `producer ${producer} epoch ${epoch}`),
  refused: ({ topic, partition, key, error }) => {
    const about = { topic, key: key ?? null }
    return row('flow', 'refuse', `${showPartition({ topic, partition })}${showOf(key)} ${showError(error)}`, about)
  },
  prepare: (event) => preparedRow('all', 'storing', event, ` ${showValue(event.value)}`),
  prepared: (event) => preparedRow('flow', 'prepare', event),
  unprepared: (event) => preparedRow('flow', 'refuse', event, ` ${showError(event.error)}`),
  decide: (event) => preparedRow('all', 'decide', event, ` ${event.decision}`),
  decided: (event) => {
    const place = event.offset === undefined ? '' : ` @${event.offset}`
    return preparedRow('flow', event.decision, event, place)
  },
  undecided: (event) => preparedRow('flow', 'refuse', event, ` ${event.decision} ${showError(event.error)}`),
  checked: (event) => {
    const { check, answer, error, nextInMs } = event
    const why = error === undefined ? '' : ` ${showError(error)}`
    const next = nextInMs === undefined ? '' : `, again in ${showDuration(nextInMs)}`
    return preparedRow('flow', 'check', event, ` #${check} ${answer}${why}${next}`)
  },
  trimmed: (event) => row('flow', 'trim', `${showPartition(event)} below @${event.start}`, { topic: event.topic }),
  joined: ({ group, member, topics }) => row('commits', 'join', `${group} ${member} ${topics.join(', ')}`, { group }),
  resized: ({ group, member, concurrency }) =>
    row('commits', 'resize', `${group} ${member} to ${concurrency}`, { group }),
  left: ({ group, member, abandoned }) =>
    row('commits', 'leave', `${group} ${member}${abandoned ? ' abandoned' : ''}`, { group }),
  lost: ({ group, member, error }) => row('flow', 'lost', `${group} ${member} ${showError(error)}`, { group }),
  granted: (event) => {
    const { group, member, topic, position } = event
    return row('commits', 'grant', `${group} ${member} ${showPartition(event)} from @${position}`, { group, topic })
  },
  released: (event) => {
    const { group, member, topic } = event
    return row('commits', 'release', `${group} ${member} ${showPartition(event)}`, { group, topic })
  },
  'group:deleted': ({ group }) => row('flow', 'delete', `group ${group}`, { group }),
  sought: (event) => {
    const { group, topic, position } = event
    return row('flow', 'seek', `${group} ${showPartition(event)} -> ${position}`, { group, topic })
  },
  deliver: (event) => handed('all', 'deliver', event),
  start: (event) => handed('flow', 'start', event),
  done: (event) => handed('flow', 'done', event),
  error: (event) => handed('all', 'error', event, showError(event.error)),
  'timed-out': (event) => handed('flow', 'timeout', event, event.isAbandoned ? 'abandoned' : undefined),
  late: (event) => handed('flow', 'late', event),
  cancelled: ({ group, member, calls, error }) =>
    row('flow', 'cancel', `${group} ${member} ${calls} calls, ${showError(error)}`, { group }),
  failed: (event) => {
    const { retryInMs, error } = event
    const next = retryInMs === undefined ? 'no retry' : `retry in ${showDuration(retryInMs)}`
    return handed('flow', 'fail', event, `${showError(error)}, ${next}`)
  },
  deferred: (event) =>
    handed('flow', 'defer', event, `${showError(event.reason)}, again in ${showDuration(event.retryInMs)}`),
  duplicate: (event) => row('flow', 'known', `${event.group} ${showPlace(event)} was done before`, aboutPlace(event)),
  parked: (event) =>
    row('flow', 'park', `${event.group} ${showPlace(event)} ${showError(event.error)}`, aboutPlace(event)),
  'dead-lettered': (event) =>
    row(
      'flow',
      'dead',
      `${event.group} ${showPlace(event)} -> ${event.deadLetterTopic}, ${event.reason}`,
      aboutPlace(event),
    ),
  skipped: (event) =>
    row('flow', 'skip', `${event.group} ${showPlace(event)} ${showError(event.error)}`, aboutPlace(event)),
  renewed: ({ group, key }) => row('flow', 'renew', `${group}${key === undefined ? '' : ` ${key}`}`, { group }),
  settle: ({ group, member, partitions }) =>
    partitions.flatMap((one) => [
      row('all', 'settle', `${group} ${member} ${showPartition(one)} ${showPairs(one.finished)}`, {
        group,
        topic: one.topic,
      }),
      ...(one.marked ?? []).map(({ offset, attempt }) =>
        row('commits', 'mark', `${group} ${showPartition(one)}@${offset} #${attempt}`, { group, topic: one.topic }),
      ),
    ]),
  settled: ({ group, positions }) =>
    positions.map((one) =>
      row('commits', 'commit', `${group} ${showPartition(one)} -> ${one.position}`, { group, topic: one.topic }),
    ),
  unsettled: ({ group, member, error }) =>
    row('commits', 'refuse', `${group} ${member} commit ${showError(error)}`, { group }),
  'transaction:begun': ({ transaction, sends, settlements }) =>
    row('all', 'begin', `${showSource({ transaction })}, ${sends.length} sends, ${settlements.length} settlements`),
  'letters:finished': ({ topic, partition, letters }) =>
    row('flow', 'letters', `${topic}[${partition}] ${letters.length} finished: ${letters.join(' ')}`),
  'transaction:committed': ({ transaction }) => row('commits', 'commit', showSource({ transaction })),
  'transaction:refused': ({ transaction, error }) =>
    row('flow', 'refuse', `${showSource({ transaction })} ${showError(error)}`),
  state: ({ store, key, value, of }) => {
    const by = of === undefined ? '' : ` by ${showSource(of)}`
    const subject = `${store} ${showKey(key)}${by}`
    return value === undefined
      ? row('commits', 'unset', subject)
      : { ...row('commits', 'set', subject), value: showValue(value) }
  },
  accepted: ({ of, outputs }) => row('all', 'accept', [showSource(of), ...outputs.map(showPlace)].join(' ')),
  gap: (event) => {
    const { group, topic, from, to, count } = event
    return row('flow', 'gap', `${group} ${showPartition(event)} ${showPairs([from, to])}, ${count} unfinished`, {
      group,
      topic,
    })
  },
  fault: ({ name, text }) => row('flow', 'fault', text === '' ? name : `${name}: ${text}`),
  crash: ({ power, point }) =>
    row('flow', 'crash', `${power ? 'power loss' : 'process'}${point === '' ? '' : ` at ${point}`}`),
  zombie: ({ text }) => row('flow', 'zombie', text),
  snapshot: ({ logs, progress, prepared = [], reason, life }) => [
    ...(reason === 'restart' ? [row('flow', 'restart', `life ${life}`)] : []),
    ...logs.map((one) =>
      row('all', 'stored', `${showPartition(one)} ${showPairs([one.start, one.end])}`, { topic: one.topic }),
    ),
    ...progress.map((one) => {
      const above = one.finishedAbove.map((offset) => ` @${offset}`).join('')
      const about = { group: one.group, topic: one.topic }
      return row('all', 'stored', `${one.group} ${showPartition(one)} -> ${one.position}${above}`, about)
    }),
    ...prepared.map((one) => preparedRow('all', 'stored', one)),
  ],
  'store:full': () => row('flow', 'full', 'store'),
  'store:available': () => row('flow', 'free', 'store'),
  'store:failed': ({ error }) => row('flow', 'broken', `store ${showError(error)}`),
  jumped: ({ byMs }) => row('flow', 'jump', `wall clock ${byMs < 0 ? '' : '+'}${showDuration(byMs)}`),
  external: ({ text, isDeclared }) => row(isDeclared ? 'all' : 'flow', 'external', text),
  thrown: ({ error }) => row('flow', 'thrown', showError(error)),
  drained: ({ idle, left, at }) =>
    row('flow', 'idle', `${idle} after ${showDuration(at)} virtual${left === 0 ? '' : `, ${left} left`}`),
}

/** The lines that an event makes; `sent` has the values of the sends, which their acknowledgements do not repeat. */
export function rowsOf(event: HistoryEvent, sent: Sent): readonly Row[] {
  const told = (tellers[event.kind] as (event: HistoryEvent, sent: Sent) => Told)(event, sent)
  return 'verb' in told ? [told] : told
}

function row(
  level: TimelineLevel,
  verb: string,
  subject: string,
  about: Pick<Row, 'topic' | 'group' | 'key'> = {},
): Row {
  return { level, verb, subject: oneLine(subject), ...about }
}

function preparedRow(level: TimelineLevel, verb: string, event: PreparedIdentity, outcome = ''): Row {
  const { producer, id, topic, key } = event
  return row(level, verb, `${producer} ${id} for ${topic}${showOf(key)}${outcome}`, { topic, key: key ?? null })
}

function handed(
  level: TimelineLevel,
  verb: string,
  event: (Delivery | HistoryEvent<'failed' | 'deferred'>) & HistoryEvent,
  outcome?: string,
): Row {
  const again = 'isDuplicate' in event && event.isDuplicate ? ' duplicate' : ''
  const subject = `${event.group} ${showPlace(event)} #${event.attempt}${again}`
  return row(level, verb, outcome === undefined ? subject : `${subject} ${outcome}`, aboutPlace(event))
}

function aboutPlace(event: Place & { readonly group?: string }): Pick<Row, 'topic' | 'group' | 'key'> {
  const about = { topic: event.topic, key: event.key ?? null }
  return event.group === undefined ? about : { ...about, group: event.group }
}

/** Shows the place of a message: `orders[1]@0 o-1`. */
export function showPlace(place: Place): string {
  return `${showPartition(place)}@${place.offset}${showOf(place.key)}`
}

/** Shows a partition: `orders[1]`. */
export function showPartition({ topic, partition }: Partition): string {
  return `${topic}[${partition}]`
}

function showSource(source: EffectSource): string {
  return 'settlement' in source ? `settlement ${source.settlement}` : `transaction ${source.transaction}`
}

function showOf(key: string | undefined): string {
  return key === undefined ? '' : ` ${showKey(key)}`
}

/** `@0..@2 @5`: both ends included. */
function showPairs(pairs: OffsetPairs): string {
  const ranges: string[] = []
  for (let i = 0; i < pairs.length; i += 2) {
    const first = pairs[i]!
    const last = pairs[i + 1]! - 1
    if (last >= first) ranges.push(first === last ? `@${first}` : `@${first}..@${last}`)
  }
  return ranges.length === 0 ? 'nothing' : ranges.join(' ')
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]\s*/g, ' ')
}
