import { beforeEach, describe, expect, test } from 'vitest'
import { QueueError } from '../../../src/errors.ts'
import { History, type Delivery } from '../../../src/testing/history.ts'
import { mermaid } from '../../../src/testing/mermaid.ts'
import { timeline, timelineJson } from '../../../src/testing/timeline.ts'

class CardDeclined extends Error {}

let now = 0
let history: History

beforeEach(() => {
  now = 0
  history = new History(() => now)
})

const orders = { topic: 'orders', partition: 1 }
const first = { ...orders, offset: 0, key: 'o-1' }

function publish(send: number, offset: number, key: string | undefined, value: unknown): void {
  history.add('send', { ...orders, send, key, value, headers: {}, batch: undefined, acks: 'flushed' })
  history.add('acked', { ...orders, send, offset, key, acks: 'flushed' })
}

function delivery(call: number, attempt: number, isDuplicate = false): Delivery {
  return { ...first, group: 'billing', member: 'm1', call, attempt, fence: 77, isDuplicate }
}

/** The flow that the testing guide shows. */
function story(): void {
  const limits = { ordering: 'key', concurrency: 4, attempts: 3, batchMax: undefined } as const
  history.add('wired', {})
  history.add('joined', { group: 'billing', member: 'm1', topics: ['orders'], ...limits })
  history.add('granted', { ...orders, group: 'billing', member: 'm1', fence: 77, position: 0 })
  publish(1, 0, 'o-1', { total: 40 })
  history.add('deliver', delivery(1, 1))
  history.add('start', { ...delivery(1, 1), value: { total: 40 } })
  history.add('error', { ...delivery(1, 1), error: new CardDeclined('no') })
  const error = new CardDeclined('no')
  history.add('failed', { ...first, group: 'billing', attempt: 1, error, retryInMs: 1000 })
  now = 1000
  history.add('deliver', delivery(2, 2))
  history.add('start', { ...delivery(2, 2), value: { total: 40 } })
  history.add('done', delivery(2, 2))
  const partitions = [{ ...orders, fence: 77, finished: [0, 1], failed: [] }]
  history.add('settle', { group: 'billing', member: 'm1', settlement: 1, partitions })
  history.add('settled', { group: 'billing', member: 'm1', settlement: 1, positions: [{ ...orders, position: 1 }] })
  history.add('drained', { idle: 'empty', left: 0 })
}

const flow = `\
+0s     send     orders[1]@0 o-1            {total: 40}
        start    billing orders[1]@0 o-1 #1
        fail     billing orders[1]@0 o-1 #1 CardDeclined, retry in 1s
+1s     start    billing orders[1]@0 o-1 #2
        done     billing orders[1]@0 o-1 #2
idle    empty after 1s virtual`

describe('timeline', () => {
  test('tells that a message was sent before it tells that it was handled, as the engine hands it out a moment earlier', () => {
    history.add('send', { ...orders, send: 1, key: 'o-1', value: 1, headers: {}, batch: undefined, acks: 'flushed' })
    history.add('deliver', delivery(1, 1))
    history.add('start', { ...delivery(1, 1), value: 1 })
    history.add('acked', { ...orders, send: 1, offset: 0, key: 'o-1', acks: 'flushed' })
    history.add('done', delivery(1, 1))
    const verbs = (text: string): string[] => text.split('\n').map((line) => line.slice(8).split(' ')[0]!)
    expect(verbs(timeline(history))).toEqual(['send', 'start', 'done'])
    expect(verbs(timeline(history, { level: 'all' }))).toEqual(['sending', 'deliver', 'start', 'send', 'done'])
  })

  test('tells the flow', () => {
    story()
    expect(timeline(history)).toBe(flow)
  })

  test('tells commits and members', () => {
    story()
    expect(timeline(history, { level: 'commits' })).toBe(`\
+0s     join     billing m1 orders
        grant    billing m1 orders[1] from @0
        send     orders[1]@0 o-1            {total: 40}
        start    billing orders[1]@0 o-1 #1
        fail     billing orders[1]@0 o-1 #1 CardDeclined, retry in 1s
+1s     start    billing orders[1]@0 o-1 #2
        done     billing orders[1]@0 o-1 #2
        commit   billing orders[1] -> 1
idle    empty after 1s virtual`)
  })

  test('tells everything', () => {
    story()
    expect(timeline(history, { level: 'all' })).toBe(`\
+0s     wired    life 1
        join     billing m1 orders
        grant    billing m1 orders[1] from @0
        sending  orders[1] o-1              {total: 40}
        send     orders[1]@0 o-1            {total: 40}
        deliver  billing orders[1]@0 o-1 #1
        start    billing orders[1]@0 o-1 #1
        error    billing orders[1]@0 o-1 #1 CardDeclined
        fail     billing orders[1]@0 o-1 #1 CardDeclined, retry in 1s
+1s     deliver  billing orders[1]@0 o-1 #2
        start    billing orders[1]@0 o-1 #2
        done     billing orders[1]@0 o-1 #2
        settle   billing m1 orders[1] @0
        commit   billing orders[1] -> 1
idle    empty after 1s virtual`)
  })

  test('tells what seldom happens', () => {
    rareEvents()
    expect(timeline(history, { level: 'all' })).toBe(rare)
  })

  test('nothing happened: an empty text', () => {
    expect(timeline(history)).toBe('')
    expect(timeline(history, { last: 0 })).toBe('')
  })

  test('leaves out what is about other keys, topics and groups', () => {
    publish(1, 0, 'a', 1)
    publish(2, 1, 'b', 2)
    publish(3, 2, undefined, 3)
    history.add('fault', { name: 'duplicate', text: '' })
    history.add('sought', { group: 'audit', topic: 'other', partition: 0, position: 3 })
    expect(timeline(history, { key: 'b', topic: 'orders' })).toBe(`\
+0s     send     orders[1]@1 b              2
        fault    duplicate`)
    expect(timeline(history, { group: 'billing', last: 2 })).toBe(`\
        send     orders[1]@2                3
        fault    duplicate`)
    expect(timeline(history, { topic: 'other' })).toContain('seek     audit other[0] -> 3')
  })

  test('a long time makes its column wider, for all lines', () => {
    publish(1, 0, 'a', 1)
    now = 93_784_500
    publish(2, 1, 'b', 2)
    expect(timeline(history)).toBe(`\
+0s            send     orders[1]@0 a              1
+1d 2h 3m 4.5s send     orders[1]@1 b              2`)
  })

  test.each<[string, unknown]>([
    ["'text'", 'text'],
    [String.raw`'it\'s\n"two"'`, 'it\'s\n"two"'],
    ['undefined', undefined],
    ['12n', 12n],
    ['[1, [null]]', [1, [null]]],
    ["Map {'a' => {b: 1}}", new Map([['a', { b: 1 }]])],
    ['Set {1}', new Set([1])],
    ['<01 ff>', new Uint8Array([1, 255])],
    ["{'a-b': true}", { 'a-b': true }],
    ['{a: {b: {c: {d: …}}}}', { a: { b: { c: { d: [1] } } } }],
    [`'${'x'.repeat(58)}…`, 'x'.repeat(100)],
    ['1970-01-01T00:00:00.000Z', new Date(0)],
  ])('shows a value in one line: %s', (shown, value) => {
    publish(1, 0, 'a', value)
    expect(timeline(history)).toBe(`+0s     send     orders[1]@0 a              ${shown}`)
  })

  test('a value that contains itself comes to an end', () => {
    const round: unknown[] = []
    round.push(round, round)
    publish(1, 0, 'a', round)
    expect(timeline(history)).toMatch(/…$/)
    expect(timelineJson(history)).toContain('[circular]')
  })

  test('a key that is more than a word is quoted', () => {
    publish(1, 0, 'a b\n', 1)
    expect(timeline(history)).toContain(String.raw`orders[1]@0 'a b\n' `)
  })

  test.each([
    [new CardDeclined('at 12:00'), 'CardDeclined'],
    [new QueueError('STORE_FULL', 'no room'), 'STORE_FULL'],
    [Object.assign(new Error('x'), { name: 'AbortError' }), 'AbortError'],
    [new Error('boom'), "Error 'boom'"],
    ['thrown text', "'thrown text'"],
  ])('names the error %s', (error, shown) => {
    history.add('failed', { ...first, group: 'billing', attempt: 1, error, retryInMs: undefined })
    expect(timeline(history)).toBe(`+0s     fail     billing orders[1]@0 o-1 #1 ${shown}, no retry`)
  })
})

function rareEvents(): void {
  const member = { group: 'billing', member: 'm1' }
  const error = new QueueError('FENCED', 'x')
  history.add('topic:created', { topic: 'orders', partitions: 2 })
  history.add('deliver', delivery(1, 1, true))
  history.add('parked', { ...first, group: 'billing', error })
  history.add('refused', { ...orders, send: 9, key: undefined, error })
  history.add('unsettled', { ...member, settlement: 2, error })
  history.add('released', { ...orders, ...member, fence: 1 })
  history.add('left', { ...member, abandoned: true })
  history.add('lost', { ...member, error })
  history.add('trimmed', { ...orders, start: 3 })
  history.add('gap', { ...orders, group: 'billing', from: 0, to: 3, count: 2 })
  history.add('store:full', {})
  history.add('store:available', {})
  history.add('store:failed', { error })
  history.add('jumped', { byMs: -3_600_000 })
  history.add('external', { text: 'fetch', isDeclared: false })
  history.add('thrown', { error: new TypeError('x') })
  history.add('zombie', { text: 'billing handler of life 1\n ended' })
  history.add('fault', { name: 'crash', text: 'at handler:done' })
  history.add('crash', { power: true, point: 'handler:done' })
  history.life = 2
  history.add('wired', {})
  history.add('snapshot', {
    reason: 'restart',
    logs: [{ ...orders, start: 3, end: 5, records: [] }],
    progress: [{ ...orders, group: 'billing', position: 3, finishedAbove: [4] }],
  })
  history.add('topic:deleted', { topic: 'orders' })
  history.add('drained', { idle: 'parked', left: 2 })
}

const rare = `\
+0s     create   orders, 2 partitions
        deliver  billing orders[1]@0 o-1 #1 duplicate
        park     billing orders[1]@0 o-1 FENCED
        refuse   orders[1] FENCED
        refuse   billing m1 commit FENCED
        release  billing m1 orders[1]
        leave    billing m1 abandoned
        lost     billing m1 FENCED
        trim     orders[1] below @3
        gap      billing orders[1] @0..@2, 2 unfinished
        full     store
        free     store
        broken   store FENCED
        jump     wall clock -1h
        external fetch
        thrown   TypeError
        zombie   billing handler of life 1 ended
        fault    crash: at handler:done
        crash    power loss at handler:done
        wired    life 2
        restart  life 2
        stored   orders[1] @3..@4
        stored   billing orders[1] -> 3 @4
        delete   orders
idle    parked after 0s virtual, 2 left`

test('timelineJson tells every event in a line that can be read back', () => {
  publish(1, 0, 'o-1', { big: 12n, map: new Map([['a', 1n]]), set: new Set([1]), bytes: new Uint8Array([1, 255]) })
  publish(2, 1, undefined, [Number.NaN, new Date(0)])
  history.add('thrown', { error: new QueueError('STORE_FULL', 'no room') })
  const lines = timelineJson(history).split('\n')
  expect(lines).toHaveLength(5)
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(events[0]).toEqual({
    ...{ kind: 'send', seq: 0, at: 0, life: 1, send: 1, topic: 'orders', partition: 1, key: 'o-1', headers: {} },
    value: { big: '12n', map: { map: [['a', '1n']] }, set: { set: [1] }, bytes: { bytes: '01ff' } },
    acks: 'flushed',
  })
  expect(events[2]).not.toHaveProperty('key')
  expect(events[2]!['value']).toEqual(['NaN', '1970-01-01T00:00:00.000Z'])
  expect(events[4]!['error']).toEqual({ name: 'QueueError', code: 'STORE_FULL', message: 'no room' })
})

describe('mermaid', () => {
  test('draws producers, partitions and groups', () => {
    story()
    expect(mermaid(history)).toBe(`\
sequenceDiagram
  participant P0 as producers
  participant T1 as orders[1]
  participant G2 as billing
  P0->>T1: @0 o-1 #123;total: 40#125;
  T1->>G2: @0 o-1 attempt 1
  G2--xT1: fail @0 o-1 CardDeclined, retry in 1s
  T1->>G2: @0 o-1 attempt 2
  G2-->>T1: done @0 o-1
  G2->>T1: commit 1
  Note over P0,G2: empty after 1s virtual`)
  })

  test('what is said cannot break the syntax', () => {
    history.add('fault', { name: 'before anything; else', text: '' })
    publish(1, 0, 'a;b#c"d\n%%{init}', { text: 'x -> y; <b>&\r\n' })
    rareEvents()
    expect(faultsOf(mermaid(history))).toEqual([])
    expect(faultsOf('sequenceDiagram\n  participant P0 as a\n  P0->>T1: x\n  P0->>P0: a;b')).toHaveLength(2)
  })
})

/** Lines that are no Mermaid sequence diagram, or name somebody who does not take part. */
function faultsOf(text: string): string[] {
  const lines = text.split('\n')
  const plain = String.raw`(?:[^#;%{}<>"\\]|#\d+;)+`
  const known = new Set(lines.flatMap((line) => /^ {2}participant (\w+) as /.exec(line)?.[1] ?? []))
  const participant = new RegExp(`^  participant \\w+ as ${plain}$`)
  const arrow = new RegExp(`^  (\\w+)(?:->>|-->>|--x)(\\w+): ${plain}$`)
  const note = new RegExp(`^  Note over (\\w+)(?:,(\\w+))?: ${plain}$`)
  return lines.filter((line, index) => {
    if (index === 0) return line !== 'sequenceDiagram'
    if (participant.test(line)) return false
    const names = (arrow.exec(line) ?? note.exec(line))?.slice(1)
    return names === undefined || !names.every((name) => name === undefined || known.has(name))
  })
}
