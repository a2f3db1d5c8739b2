import { AssertionError } from 'node:assert'
import { beforeEach, describe, expect, test } from 'vitest'
import { Assertions } from '../../../src/testing/assertions.ts'
import { History, type Delivery } from '../../../src/testing/history.ts'
import { Inspection } from '../../../src/testing/inspect.ts'
import { timeline } from '../../../src/testing/timeline.ts'

class CardDeclined extends Error {
  readonly code = 'DECLINED'
}

let now = 0
let history: History
let assert: Assertions

beforeEach(() => {
  now = 0
  history = new History(() => now)
  const inspection = new Inspection(history, () => now)
  assert = new Assertions({ inspection, timeline: () => timeline(history), now: () => now })
  const limits = { ordering: 'key', concurrency: 1, attempts: 2, batchMax: undefined } as const
  history.add('wired', {})
  history.add('topic:created', { topic: 'orders', partitions: 2 })
  history.add('topic:created', { topic: 'shipments', partitions: 1 })
  history.add('joined', { group: 'billing', member: 'm1', topics: ['orders'], ...limits })
})

const orders = { topic: 'orders', partition: 1 }

function publish(offset: number, value: object = { total: 40, tax: 4 }): void {
  const key = `o-${offset}`
  history.add('send', { ...orders, send: offset, key, value, headers: {}, batch: undefined, acks: 'flushed' })
  history.add('acked', { ...orders, send: offset, offset, key, acks: 'flushed' })
}

let calls = 0

/** One handler call: without an error it ends well. */
function run(offset: number, attempt = 1, error?: Error, retryInMs?: number): void {
  const place = { ...orders, offset, key: `o-${offset}` }
  const given: Delivery = {
    ...{ ...place, group: 'billing', member: 'm1', call: ++calls, attempt, fence: 1, isDuplicate: false },
  }
  history.add('deliver', given)
  history.add('start', { ...given, value: { total: 40 } })
  if (error === undefined) history.add('done', given)
  else {
    history.add('error', { ...given, error })
    history.add('failed', { ...place, group: 'billing', attempt, error, retryInMs })
    if (retryInMs === undefined) history.add('parked', { ...place, group: 'billing', error })
  }
}

function settle(position: number): void {
  const partitions = [{ ...orders, fence: 1, finished: [0, position], failed: [] }]
  history.add('settle', { group: 'billing', member: 'm1', settlement: position, partitions })
  history.add('settled', { group: 'billing', member: 'm1', settlement: position, positions: [{ ...orders, position }] })
}

function failureOf(check: () => void): AssertionError {
  try {
    check()
  } catch (error) {
    expect(error).toBeInstanceOf(AssertionError)
    return error as AssertionError
  }
  throw new Error('nothing was thrown')
}

/** The sentence of a failure, without its timeline. */
function sentenceOf(check: () => void): string {
  return failureOf(check).message.split('\n')[0]!
}

describe('a failure', () => {
  test('says what was expected and what was seen, then how it came', () => {
    publish(0)
    publish(1, { total: 30 })
    now = 1000
    const failure = failureOf(() => assert.published('orders', { key: 'o-1', value: { total: 31 } }))
    expect(failure).toMatchObject({
      name: 'AssertionError',
      operator: 'published',
      // The nearest comes first, with what was asked for alone.
      actual: [
        { key: 'o-1', value: { total: 30 } },
        { key: 'o-0', value: { total: 40 } },
      ],
      expected: [{ key: 'o-1', value: { total: 31 } }],
    })
    expect(failure.message).toBe(`\
At +1s: expected a message published to 'orders' like {key: 'o-1', value: {total: 31}}, saw none like that; \
nearest: {key: 'o-1', value: {total: 30}}, {key: 'o-0', value: {total: 40}}.

+0s     send     orders[1]@0 o-0            {total: 40, tax: 4}
        send     orders[1]@1 o-1            {total: 30}
`)
  })

  test('shows the last 20 lines', () => {
    for (let offset = 0; offset < 30; offset++) publish(offset)
    const { message } = failureOf(() => assert.none.published('orders'))
    expect(message).toContain('saw 30: orders[1]@0 o-0, orders[1]@1 o-1, orders[1]@2 o-2, ….')
    expect(message.trimEnd().split('\n').slice(2)).toHaveLength(20)
    expect(message).toMatch(/orders\[1\]@29 o-29 .*\n$/)
  })

  test('without a timeline is a sentence', () => {
    expect(failureOf(() => assert.published('orders')).message).toBe(
      "At +0s: expected a message published to 'orders', saw none at all.",
    )
  })
})

test('equal is deep and strict', () => {
  assert.equal({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] })
  const failure = failureOf(() => assert.equal({ a: 1 }, { a: '1' }))
  expect(failure).toMatchObject({ actual: { a: 1 }, expected: { a: '1' }, operator: 'equal' })
  expect(failure.message).toBe("At +0s: expected {a: '1'}, saw {a: 1}.")
})

describe('published', () => {
  beforeEach(() => {
    publish(0)
    publish(1)
  })

  test('holds by fields, by a function, and by times', () => {
    assert.published('orders')
    assert.published('orders', { key: 'o-1', partition: 1, value: { total: 40 } })
    assert.published<{ total: number }>('orders', ({ value }) => value.total === 40, { times: 2 })
    assert.published('shipments', undefined, { times: 0 })
    assert.none.published('shipments')
    assert.none.published('orders', { key: 'o-2' })
  })

  test('fails', () => {
    const times = failureOf(() => assert.published('orders', { value: { total: 40 } }, { times: 1 }))
    expect(times).toMatchObject({ actual: { times: 2 }, expected: { times: 1 } })
    expect(times.message).toContain("expected 1 message published to 'orders' like {value: {total: 40}}, saw 2: {value")
    const byFunction = failureOf(() => assert.published('orders', ({ key }) => key === 'o-2'))
    expect(byFunction.message).toContain("published to 'orders' that the function accepts, saw none like that")
    expect(byFunction.expected).toEqual(['what the function accepts'])
    const none = failureOf(() => assert.none.published('orders', { key: 'o-1' }))
    expect(none).toMatchObject({ actual: [{ key: 'o-1' }], expected: [], operator: 'none.published' })
  })

  test('an unknown topic never passes', () => {
    const unknown = expect.objectContaining({ code: 'UNKNOWN_NAME' })
    expect(() => assert.published('order')).toThrow(unknown)
    expect(() => assert.none.published('order')).toThrow(unknown)
  })
})

describe('delivered', () => {
  beforeEach(() => {
    publish(0)
    run(0, 1, new CardDeclined('limit reached'), 1000)
    run(0, 2)
  })

  test('holds', () => {
    assert.delivered('billing', { key: 'o-0', attempt: 2, outcome: 'done' })
    assert.delivered('billing', { key: 'o-0' }, { times: 2, effects: 1 })
    assert.delivered('billing', { key: 'o-0' }, { effects: 1 })
    assert.delivered('billing', { error: CardDeclined }, { times: 1 })
    assert.none.delivered('billing', { key: 'o-1' })
  })

  test('fails', () => {
    const effects = failureOf(() => assert.delivered('billing', { key: 'o-0' }, { times: 2, effects: 2 }))
    expect(effects).toMatchObject({ actual: { times: 2, effects: 1 }, expected: { times: 2, effects: 2 } })
    expect(effects.message).toContain(
      "expected messages delivered to 'billing' like {key: 'o-0'} 2 times with 2 effects",
    )
    const only = failureOf(() => assert.delivered('billing', undefined, { effects: 0 }))
    expect(only).toMatchObject({ actual: { effects: 1 }, expected: { effects: 0 } })
    expect(sentenceOf(() => assert.none.delivered('billing', { outcome: 'done' }))).toContain('saw 1: ')
  })
})

describe('pending', () => {
  beforeEach(() => {
    publish(0)
    run(0, 1, new CardDeclined('no'), 1500)
    now = 500
  })

  test('holds', () => {
    assert.pending('retry')
    assert.pending('retry', { key: 'o-0', in: '1s', attempt: 2 })
    assert.pending('retry', { in: 1000, dueAt: 1500 })
    assert.none.pending('retry', { in: '2s' })
  })

  test('fails', () => {
    const failure = failureOf(() => assert.pending('retry', { key: 'o-0', in: 2000 }))
    expect(failure).toMatchObject({ actual: [{ key: 'o-0', in: '1s' }], expected: [{ key: 'o-0', in: '2s' }] })
    expect(() => assert.none.pending('retry', { key: 'o-0' })).toThrow(AssertionError)
    const invalid = expect.objectContaining({ code: 'INVALID_OPTION' })
    expect(() => assert.pending('delay' as 'retry')).toThrow(invalid)
    expect(() => assert.pending('retry', { in: 'soon' as '1s' })).toThrow(invalid)
  })
})

describe('dead', () => {
  beforeEach(() => {
    publish(0)
    run(0, 1, new CardDeclined('limit reached'))
  })

  test.each<[string, Parameters<Assertions['dead']>[1]]>([
    ['a class', { error: CardDeclined }],
    ['its parent', { error: Error }],
    ['a part of its message', { error: 'limit' }],
    ['a pattern', { error: /^limit/ }],
    ['a pattern that remembers where it was', { error: /reached/g }],
    ['fields', { error: { code: 'DECLINED', message: 'limit reached' } }],
    ['a function', ({ error }) => error instanceof CardDeclined],
    ['an error that is equal', { error: new CardDeclined('limit reached') as never }],
  ])('an error is chosen by %s', (_, match) => {
    assert.dead('billing', match)
    assert.dead('billing', match)
  })

  test('holds', () => {
    assert.dead('billing', { key: 'o-0', attempts: 1, error: CardDeclined })
    assert.none.dead('billing', { key: 'o-1' })
  })

  test('fails', () => {
    const byClass = failureOf(() => assert.dead('billing', { attempts: 1, error: TypeError }))
    expect(byClass.actual).toEqual([{ attempts: 1, error: 'DECLINED: limit reached' }])
    expect(byClass.expected).toEqual([{ attempts: 1, error: 'TypeError' }])
    // What is as asked for does not stand in the difference.
    const byAttempts = failureOf(() => assert.dead('billing', { attempts: 3, error: CardDeclined }))
    expect(byAttempts.actual).toEqual([{ attempts: 1, error: 'CardDeclined' }])
    expect(byAttempts.expected).toEqual([{ attempts: 3, error: 'CardDeclined' }])
    expect(sentenceOf(() => assert.none.dead())).toContain(
      'expected no message given up by any group, saw 1: orders[1]@0',
    )
    expect(() => assert.dead('bill')).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }))
  })
})

test('committed compares all partitions of a list, and some of an object', () => {
  publish(0)
  settle(1)
  assert.committed('billing', { orders: [0, 1] })
  assert.committed('billing', { orders: { 1: 1 }, shipments: [0] })
  const failure = failureOf(() => assert.committed('billing', { orders: [0] }))
  expect(failure).toMatchObject({ actual: { orders: [0, 1] }, expected: { orders: [0] }, operator: 'committed' })
  expect(failure.message).toContain("expected 'billing' to have committed {orders: [0]}, saw {orders: [0, 1]}")
  expect(failureOf(() => assert.committed('billing', { orders: { 1: 2 } })).actual).toEqual({ orders: { 1: 1 } })
})

test('empty and drained want every message finished', () => {
  assert.empty('billing')
  publish(0)
  run(0)
  const failure = failureOf(() => assert.empty('billing'))
  expect(failure).toMatchObject({ actual: { lag: 1, inFlight: 0 }, expected: { lag: 0, inFlight: 0 } })
  expect(sentenceOf(() => assert.drained())).toBe(
    "At +0s: expected every group to be empty, saw 'billing' with 1 unfinished, 0 in flight.",
  )
  settle(1)
  assert.empty('billing')
  assert.drained()
})

test('crashed holds until the restart', () => {
  expect(failureOf(() => assert.crashed())).toMatchObject({ actual: 'running', expected: 'crashed' })
  history.add('crash', { power: false, point: 'handler:done' })
  assert.crashed()
  history.life = 2
  history.add('wired', {})
  expect(() => assert.crashed()).toThrow('saw it run')
})
