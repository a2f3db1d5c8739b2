import { describe, expect, test } from 'vitest'
import { partitionOf } from '../../src/partitioner.ts'
import { History, type FoundState } from './queue-history.ts'

const key = (n: number): string => `k${n % 23}`
const partition = (n: number): number => partitionOf(key(n), 4)

/** The state of a queue that holds these messages, one group having finished nothing. */
function found(numbers: readonly number[], changes: Partial<FoundState> = {}): FoundState {
  const ends = [0, 0, 0, 0]
  const messages = numbers.map((n) => [partition(n), ends[partition(n)]!++, `id${n}`, n] as const)
  return {
    round: 2,
    names: ['main'],
    damages: [],
    topics: { main: { offsets: ends.map((end) => ({ start: 0, end })), messages } },
    groups: {},
    ...changes,
  }
}

function judged(lines: readonly string[], state?: FoundState): string[] {
  const history = new History()
  for (const line of ['R 1', ...lines]) history.line(line)
  if (state) history.check(state)
  return history.violations
}

const acked = (n: number, offset: number, acks = 'flushed'): string => `A main ${n} ${partition(n)} ${offset} ${acks}`
const handed = (n: number, call: number): string => `H g id${n} ${n} ${key(n)} ${partition(n)} 0 1 ${call}`

describe('the history of a queue', () => {
  test('a clean one has no violations', () => {
    const lines = [
      acked(0, 0),
      acked(23, 1),
      handed(0, 1),
      'D g id0',
      'Q g 1',
      handed(23, 2),
      'E g id23',
      handed(23, 3),
    ]
    const groups = { g: [{ topic: 'main', partition: partition(0), position: 1, finishedAbove: 0 }] }
    expect(judged(lines, found([0, 23], { groups }))).toEqual([])
  })

  const lost = [acked(0, 0), acked(23, 1)]
  const cases: Record<string, [lines: string[], state: FoundState | undefined, violation: RegExp]> = {
    'a flushed message that is gone': [lost, found([0]), /message 23 was acknowledged .* is lost/],
    'a message that moved': [[acked(23, 0)], found([0, 23]), /message 23 moved to 1/],
    'a torn batch': [['M main 0,23,46'], found([0, 23]), /a batch is torn: 2 of 3/],
    'a hole in the offsets': [
      [],
      found([], {
        topics: { main: { offsets: [{ start: 0, end: 2 }], messages: [[0, 1, 'id0', 0]] } },
      }),
      /offset 1 where 0 should be/,
    ],
    'an id of two messages': [
      ['H g x 0 k0 0 0 1 1', 'D g x', 'R 2', 'H g x 23 k0 0 0 1 2'],
      undefined,
      /stands for messages/,
    ],
    'a message with two ids': [['H g x 0 k0 0 0 1 1', 'D g x', 'H g y 0 k0 0 1 1 2'], undefined, /has the ids x and y/],
    'two of a key at once': [[handed(0, 1), handed(23, 2)], undefined, /while id0 of that key ran/],
    'a message before its turn': [[acked(0, 0), handed(23, 1)], undefined, /before message 0 was finished/],
    'a failed message that is overtaken': [
      [acked(0, 0), handed(0, 1), 'E g id0', handed(23, 2)],
      undefined,
      /before message 0 was finished/,
    ],
    'a message handed out twice in one life': [[handed(0, 1), 'D g id0', handed(0, 2)], undefined, /twice in one life/],
    'a message handed out after its progress was durable': [
      [handed(0, 1), 'D g id0', 'Q g 1', 'R 2', handed(0, 1)],
      undefined,
      /again after its progress was durable/,
    ],
    'a position past an unfinished message': [
      [handed(0, 1)],
      found([0, 23], { groups: { g: [{ topic: 'main', partition: partition(0), position: 1, finishedAbove: 0 }] } }),
      /1 is past unfinished 0/,
    ],
    'durable progress that is lost': [
      [handed(0, 1), 'D g id0', 'Q g 1'],
      found([0, 23], { groups: { g: [{ topic: 'main', partition: partition(0), position: 0, finishedAbove: 0 }] } }),
      /0 was durable and is lost/,
    ],
    'finished messages above the position that nobody finished': [
      [handed(0, 1)],
      found([0, 23], { groups: { g: [{ topic: 'main', partition: partition(0), position: 0, finishedAbove: 1 }] } }),
      /1 finished above 0, not 0 to 0/,
    ],
    'retention that took what a group had not finished': [
      [acked(0, 0), handed(0, 1)],
      found([], {
        topics: {
          main: { offsets: [0, 1, 2, 3].map((one) => (one === partition(0) ? at(1) : at(0))), messages: [] },
        },
      }),
      /message 0 was removed before group g finished it/,
    ],
    'a trim that was taken back': [[`T main 0 2`, `t main 0 2`], found([]), /a trim was taken back/],
    'a topic that is gone': [['C made', 'c made'], found([]), /topic made was made and is gone/],
    'a topic that is back': [['X made', 'x made'], found([], { names: ['main', 'made'] }), /was deleted and is back/],
    damage: [[], found([], { damages: ['main/0: batch at offset 3'] }), /damage: main\/0/],
    'what is left at the end': [['Z g 3'], undefined, /ended with 3 messages left/],
  }
  for (const [what, [lines, state, violation]] of Object.entries(cases)) {
    test(`${what} is noticed`, () => {
      expect(judged(lines, state)).toEqual([expect.stringMatching(violation)])
    })
  }
})

function at(offset: number): { start: number; end: number } {
  return { start: offset, end: offset }
}
