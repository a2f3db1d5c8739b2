import { beforeEach, describe, expect, test } from 'vitest'
import { History, type Delivery } from '../../../src/testing/history.ts'
import { Inspection } from '../../../src/testing/inspect.ts'

let now = 0
let history: History
let inspection: Inspection

beforeEach(() => {
  now = 0
  history = new History(() => now)
  inspection = new Inspection(history, () => now)
  history.add('wired', {})
  history.add('topic:created', { topic: 'orders', partitions: 2 })
})

function send(number: number, key: string, partition = 0, value: unknown = { total: number }): void {
  const headers = { trace: 't' }
  history.add('send', {
    send: number,
    topic: 'orders',
    partition,
    key,
    value,
    headers,
    batch: undefined,
    acks: 'flushed',
  })
}

function publish(number: number, key: string, offset: number, partition = 0): void {
  send(number, key, partition)
  history.add('acked', { send: number, topic: 'orders', partition, offset, key, acks: 'flushed' })
}

function join(member = 'm1'): void {
  const limits = { ordering: 'key', concurrency: 1, attempts: 3, batchMax: undefined } as const
  history.add('joined', { group: 'billing', member, topics: ['orders'], ...limits })
  for (const partition of [0, 1]) {
    history.add('granted', { group: 'billing', member, topic: 'orders', partition, fence: 1, position: 0 })
  }
}

function delivery(call: number, offset: number, attempt = 1): Delivery {
  const place = { topic: 'orders', partition: 0, offset, key: `o-${offset}` }
  return { ...place, group: 'billing', member: 'm1', call, attempt, fence: 1, isDuplicate: false }
}

function settle(settlement: number, finished: number[], position: number): void {
  const place = { topic: 'orders', partition: 0 }
  history.add('settle', {
    group: 'billing',
    member: 'm1',
    settlement,
    partitions: [{ ...place, fence: 1, finished, failed: [] }],
  })
  history.add('settled', { group: 'billing', member: 'm1', settlement, positions: [{ ...place, position }] })
}

function failTry(call: number, offset: number, attempt: number, retryInMs: number | undefined): void {
  const error = new Error('declined')
  const given = delivery(call, offset, attempt)
  history.add('deliver', given)
  history.add('error', { ...given, error })
  const { topic, partition, key } = given
  history.add('failed', { group: 'billing', topic, partition, offset, key, attempt, error, retryInMs })
  if (retryInMs === undefined) history.add('parked', { group: 'billing', topic, partition, offset, key, error })
}

describe('a topic', () => {
  test('shows what was published, what is on its way and what was refused', () => {
    publish(1, 'o-0', 0)
    send(2, 'o-1', 1)
    send(3, 'o-2')
    const full = new Error('full')
    history.add('refused', { send: 3, topic: 'orders', partition: 0, key: 'o-2', error: full })
    const orders = inspection.topic<{ total: number }>('orders')
    const headers = { trace: 't' }
    const place = { topic: 'orders', partition: 0 }
    expect(orders.partitions).toBe(2)
    expect(orders.published).toEqual([{ ...place, offset: 0, key: 'o-0', value: { total: 1 }, headers, send: 1 }])
    expect(orders.pendingSends).toEqual([{ ...place, partition: 1, key: 'o-1', value: { total: 2 }, headers, send: 2 }])
    expect(orders.refused).toMatchObject([{ key: 'o-2', error: full }])
    expect(orders.published[0]!.value.total).toBe(1)
  })

  test('a view that is kept shows the present; a crash ends the sends that were on their way', () => {
    const orders = inspection.topic('orders')
    send(1, 'o-0')
    expect(orders.pendingSends).toHaveLength(1)
    history.add('crash', { power: false, point: '' })
    expect(orders.pendingSends).toEqual([])
    expect(inspection.isCrashed).toBe(true)
    history.life = 2
    history.add('wired', {})
    expect(inspection.isCrashed).toBe(false)
  })

  test('a name that is unknown is answered with those that are known', () => {
    join()
    expect(() => inspection.topic('order')).toThrow("No topic is named 'order': known are 'orders'")
    expect(() => inspection.group('bill')).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_NAME', message: "No group is named 'bill': known are 'billing'" }),
    )
    const nothing = new Inspection(new History(() => 0), () => 0)
    expect(() => nothing.topic('orders')).toThrow('there is no topic yet')
  })
})

describe('a group', () => {
  beforeEach(() => join())

  test('shows what was delivered and what became of it', () => {
    publish(1, 'o-0', 0)
    publish(2, 'o-1', 1)
    history.add('deliver', delivery(1, 0))
    history.add('deliver', delivery(2, 1))
    history.add('start', { ...delivery(2, 1), value: 'as the handler got it' })
    history.add('done', delivery(1, 0))
    failTry(3, 2, 1, 1000)
    const billing = inspection.group('billing')
    expect(billing.delivered).toMatchObject([
      { offset: 0, key: 'o-0', value: { total: 1 }, attempt: 1, member: 'm1', call: 1, outcome: 'done' },
      { offset: 1, value: 'as the handler got it', outcome: 'running' },
      { offset: 2, outcome: 'failed', error: { message: 'declined' } },
    ])
    expect(billing.inFlight.map(({ offset }) => offset)).toEqual([1])
    history.add('crash', { power: false, point: 'handler:start' })
    expect(billing.delivered[1]!.outcome).toBe('interrupted')
    expect(billing.inFlight).toEqual([])
  })

  test('a restart without a crash interrupts as well', () => {
    history.add('deliver', delivery(1, 0))
    history.life = 2
    expect(inspection.group('billing').delivered).toMatchObject([{ life: 1, outcome: 'interrupted' }])
  })

  test('lag counts what is not durably finished, also above the position', () => {
    const billing = inspection.group('billing')
    for (const offset of [0, 1, 2, 3]) publish(offset, `o-${offset}`, offset)
    expect(billing.lag).toBe(4)
    history.add('done', delivery(1, 1))
    expect(billing.lag).toBe(4)
    settle(1, [1, 3], 0)
    expect(billing.lag).toBe(2)
    expect(billing.committed).toEqual([
      { topic: 'orders', partition: 0, position: 0 },
      { topic: 'orders', partition: 1, position: 0 },
    ])
    settle(2, [0, 1], 3)
    expect([billing.lag, billing.committed[0]!.position]).toEqual([1, 3])
    history.add('sought', { group: 'billing', topic: 'orders', partition: 0, position: 1 })
    expect([billing.lag, billing.committed[0]!.position]).toEqual([3, 1])
    history.add('trimmed', { topic: 'orders', partition: 0, start: 3 })
    expect(billing.lag).toBe(1)
    history.add('topic:deleted', { topic: 'orders' })
    expect([billing.lag, billing.committed]).toEqual([0, []])
  })

  test('what is asked for counts only when it is durable', () => {
    publish(1, 'o-0', 0)
    const partitions = [{ topic: 'orders', partition: 0, fence: 1, finished: [0, 1], failed: [] }]
    history.add('settle', { group: 'billing', member: 'm1', settlement: 1, partitions })
    history.add('unsettled', { group: 'billing', member: 'm1', settlement: 1, error: new Error('fenced') })
    expect(inspection.group('billing').lag).toBe(1)
  })

  test('after a restart the store tells what is left', () => {
    for (const offset of [0, 1, 2]) publish(offset, `o-${offset}`, offset)
    settle(1, [0, 2], 2)
    history.add('crash', { power: true, point: '' })
    history.life = 2
    const records = [0, 1].map((offset) => ({ offset, key: `o-${offset}`, value: null }))
    history.add('snapshot', {
      reason: 'restart',
      logs: [{ topic: 'orders', partition: 0, start: 0, end: 2, records }],
      progress: [{ group: 'billing', topic: 'orders', partition: 0, position: 0, finishedAbove: [1] }],
    })
    expect(inspection.group('billing').lag).toBe(1)
    expect(inspection.group('billing').committed).toEqual([{ topic: 'orders', partition: 0, position: 0 }])
  })

  test('a generation begins when partitions are handed out after a change of members', () => {
    const billing = inspection.group('billing')
    expect(billing.generation).toBe(1)
    join('m2')
    expect(billing.generation).toBe(2)
    history.add('left', { group: 'billing', member: 'm2', abandoned: false })
    expect(billing.generation).toBe(2)
    history.add('granted', { group: 'billing', member: 'm1', topic: 'orders', partition: 1, fence: 9, position: 0 })
    expect(billing.generation).toBe(3)
  })
})

describe('pending and dead', () => {
  const retry = { kind: 'retry', group: 'billing', topic: 'orders', partition: 0, offset: 0, key: 'o-0', attempt: 2 }

  beforeEach(() => join())

  test('a retry waits from its failure until it is handed out', () => {
    failTry(1, 0, 1, 1000)
    now = 400
    expect(inspection.pending()).toEqual([{ ...retry, dueAt: 1000, inMs: 600 }])
    now = 1000
    history.add('deliver', delivery(2, 0, 2))
    expect(inspection.pending()).toEqual([])
  })

  test('the earliest comes first', () => {
    failTry(1, 0, 1, 2000)
    failTry(2, 1, 1, 1000)
    expect(inspection.pending().map(({ offset }) => offset)).toEqual([1, 0])
  })

  const place = { group: 'billing', topic: 'orders', partition: 0 }
  const ends: [string, () => void][] = [
    ['a seek', () => history.add('sought', { ...place, position: 0 })],
    ['the end of the topic', () => history.add('topic:deleted', { topic: 'orders' })],
    ['retention', () => history.add('trimmed', { topic: 'orders', partition: 0, start: 1 })],
    ['a settlement', () => settle(1, [0, 1], 1)],
  ]

  test.each(ends)('%s ends what waits and what was given up', (_, end) => {
    failTry(1, 0, 1, 1000)
    end()
    expect(inspection.pending()).toEqual([])
    failTry(2, 0, 3, undefined)
    end()
    expect(inspection.dead()).toEqual([])
  })

  const stays: [string, () => void][] = [
    ['a crash', () => history.add('crash', { power: false, point: '' })],
    ['a restart', () => void history.life++],
    ['another owner', () => history.add('released', { ...place, member: 'm1', fence: 1 })],
  ]

  test.each(stays)('%s ends neither what waits nor what was given up', (_, change) => {
    failTry(1, 0, 1, 1000)
    failTry(2, 1, 3, undefined)
    change()
    expect([inspection.pending().length, inspection.dead().length]).toEqual([1, 1])
  })

  test('a parked message is dead until it is tried again', () => {
    failTry(1, 0, 1, 1000)
    failTry(2, 0, 2, undefined)
    const dead = { group: 'billing', topic: 'orders', partition: 0, offset: 0, key: 'o-0', attempts: 2 }
    expect(inspection.dead()).toMatchObject([{ ...dead, error: { message: 'declined' } }])
    expect(inspection.group('billing').parked).toEqual(['o-0'])
    expect(inspection.pending()).toEqual([])
    history.add('deliver', delivery(3, 0))
    expect(inspection.dead()).toEqual([])
  })

  test('counts begin at an event', () => {
    failTry(1, 0, 1, 1000)
    const middle = history.events.length
    failTry(2, 0, 2, undefined)
    const errors = [expect.objectContaining({ message: 'declined' })]
    expect(inspection.counts(middle)).toEqual({ attempts: 1, retried: 1, dead: 1, errors })
    expect(inspection.counts()).toMatchObject({ attempts: 2, retried: 1, dead: 1 })
    expect(inspection.counts(history.events.length)).toEqual({ attempts: 0, retried: 0, dead: 0, errors: [] })
  })
})
