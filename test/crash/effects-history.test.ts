import { describe, expect, test } from 'vitest'
import { EffectsHistory, type FoundEffects, type FoundMessage } from './effects-history.ts'

type Changes = { [K in keyof FoundEffects]?: Partial<FoundEffects[K]> }

const order = (offset: number, n: number, isDoomed = false): FoundMessage => ({
  partition: 0,
  offset,
  key: 'k1',
  value: { n, isDoomed },
})
const output = (offset: number, source: number): FoundMessage => ({
  partition: 0,
  offset,
  key: 'k1',
  value: { n: source + 10, partition: 0, offset: source },
})
const effect = (offset: number, n: number, times = 1) => ({ key: `0/${offset}`, value: { n, key: 'k1', times } })
const progress = (topic: string, position: number, finishedAbove = 0) => [
  { topic, partition: 0, position, finishedAbove },
]

/** Three orders, of which two groups have finished the first two; 10 came by a transaction. */
function found({ topics, stores, groups }: Changes = {}): FoundEffects {
  return {
    round: 1,
    topics: {
      orders: [order(0, 10), order(1, 11), order(2, 12, true)],
      payments: [order(0, 10)],
      ledger: [output(0, 0), output(1, 1)],
      audit: [output(0, 0), output(1, 1)],
      ...topics,
    },
    stores: {
      book: [effect(0, 10), effect(1, 11)],
      bill: [effect(0, 10), effect(1, 11)],
      post: [effect(0, 10)],
      accounts: [{ key: 'k1', value: { count: 2, last: 1, inOrder: true } }],
      outbox: [
        { key: '10', value: 1 },
        { key: 'total', value: 1 },
      ],
      ...stores,
    },
    groups: { book: progress('orders', 2), bill: progress('orders', 2), post: progress('ledger', 1), ...groups },
  } as FoundEffects
}

function judged(lines: readonly string[], state: FoundEffects = found(), isEnd = false): string[] {
  const history = new EffectsHistory()
  for (const line of ['R 1', ...lines]) history.line(line)
  history.check(state, isEnd)
  return history.violations
}

const handed = (offset: number, call: number, attempt = 1): string =>
  `H book 0 ${offset} k1 ${offset + 10} ${attempt} ${call}`
const letter = { ...order(0, 12, true), letter: { partition: 0, offset: 2 } }

describe('the history of a queue with effects', () => {
  test('a clean one has no violations', () => {
    const lines = [
      'S 11',
      'A 11 0 1',
      'T 10 0 0',
      handed(0, 1),
      'D book 0 0',
      handed(1, 2),
      'E book 0 1',
      handed(1, 3, 2),
    ]
    expect(judged(lines)).toEqual([])
    const moved = found({ topics: { 'orders.book.dlq': [letter] }, groups: { book: progress('orders', 3) } })
    expect(judged(lines, moved), 'one that always fails was given up').toEqual([])
  })

  const cases: Record<string, [violation: RegExp, changes: Changes | undefined, lines?: readonly string[]]> = {
    'a message that is gone': [/message 13 was acknowledged at 0\/3 and is lost/, undefined, ['A 13 0 3']],
    'a message that is there twice': [
      /11 is in orders twice/,
      { topics: { orders: [0, 1, 2].map((at) => order(at, 11)) } },
    ],
    'a transaction without its payment': [/transaction 10 is torn: 2 of its 3/, { topics: { payments: [] } }],
    'a transaction without its row': [/transaction 10 is torn: 2 of its 3/, { stores: { outbox: [] } }],
    'a transaction that is gone': [/transaction 13 is torn: 0 of its 3/, undefined, ['T 13 0 0']],
    'a count that lost an update': [
      /1 transactions took effect and counted 2/,
      {
        stores: {
          outbox: [
            { key: '10', value: 1 },
            { key: 'total', value: 2 },
          ],
        },
      },
    ],
    'an effect that happened twice': [
      /its work for 0\/1 2 times/,
      { stores: { bill: [effect(0, 10), effect(1, 11, 2)] } },
    ],
    'an effect of another message': [
      /work for 0\/1, which is not there/,
      { stores: { bill: [effect(0, 10), effect(1, 99)] } },
    ],
    'an effect of a handler that failed': [
      /effect of 0\/2, which failed, is there/,
      {
        stores: { bill: [0, 1, 2].map((at) => effect(at, at + 10)) },
      },
    ],
    'progress without its effect': [
      /0 is finished at 2 and its effect is not there/,
      { stores: { bill: [effect(1, 11)] } },
    ],
    'an effect without progress': [/the effect of 1 is there, unfinished/, { groups: { bill: progress('orders', 1) } }],
    'an effect above the position without progress': [
      /0 are finished above 0, and 1 have their effect/,
      {
        groups: { bill: progress('orders', 0) },
      },
    ],
    'more finished above the position than can be': [
      /3 are finished above 2/,
      { groups: { bill: progress('orders', 2, 3) } },
    ],
    'an output that was sent twice': [
      /sent to ledger twice for 0\/1/,
      {
        topics: { ledger: [output(0, 0), output(1, 1), output(2, 1)] },
      },
    ],
    'an output without its effect': [
      /sent to audit for 0\/2, and its effect is not there/,
      {
        topics: { audit: [output(0, 0), output(1, 1), output(2, 2)] },
      },
    ],
    'an effect without its output': [
      /the effect of 0\/1 and sent nothing to audit/,
      { topics: { audit: [output(0, 0)] } },
    ],
    'outputs out of order': [
      /audit has 0\/0 of k1 after a later one/,
      { topics: { audit: [output(0, 1), output(1, 0)] } },
    ],
    'two dead letters of one message': [
      /two dead letters of 0\/2/,
      { topics: { 'orders.book.dlq': [letter, letter] } },
    ],
    'a dead letter of a message whose effect is there': [
      /the effect and a dead letter of 0\/1/,
      {
        topics: { 'orders.book.dlq': [{ ...letter, letter: { partition: 0, offset: 1 } }] },
      },
    ],
    'a dead letter of a message that does not fail': [
      /gave up 0\/2/,
      {
        topics: { 'orders.book.dlq': [{ ...letter, value: { n: 12 } }] },
      },
    ],
    'a message given up without a dead letter': [
      /2 is finished at 3 and its effect is not there/,
      {
        topics: { 'orders.book.dlq': [] },
        groups: { book: progress('orders', 3) },
      },
    ],
    'a message given up where there are no dead letters at all': [
      /group bill in orders\/0: 2 is finished at 3/,
      { groups: { bill: progress('orders', 3) } },
    ],
    'an account that counted wrong': [
      /account of k1 has 3, not 2/,
      {
        stores: { accounts: [{ key: 'k1', value: { count: 3, last: 1, inOrder: true } }] },
      },
    ],
    'an account that saw another order': [
      /saw its messages out of order/,
      {
        stores: { accounts: [{ key: 'k1', value: { count: 2, last: 1, inOrder: false } }] },
      },
    ],
    'an account that is gone': [/no account of k1/, { stores: { accounts: [] } }],
    'two of one key at once': [/handed 0\/1 .* while 0\/0 ran/, undefined, [handed(0, 1), handed(1, 2)]],
    'a message handed out after it was done': [
      /after a later one, or again/,
      undefined,
      [handed(0, 1), 'D book 0 0', handed(0, 2)],
    ],
    'an end without a beginning': [/ended 0\/0, which did not begin/, undefined, ['D book 0 0']],
  }

  test.each(Object.entries(cases))('sees %s', (_name, [violation, changes, lines = []]) => {
    expect(judged(lines, found(changes)).join('\n')).toMatch(violation)
  })

  test('sees what was left at the end', () => {
    expect(judged([], found(), true).join('\n')).toMatch(/post in ledger\/0: ended at 1 of 2/)
  })
})
