import { describe, test } from 'vitest'
import type { HistoryEvents } from '../../../../src/testing/history.ts'
import type { LogSnapshot } from '../../../../src/testing/log-snapshot.ts'
import { redriven } from '../../../../src/testing/invariants/redriven.ts'
import { Story } from './story.ts'

/** What others say of these stories does not matter. */
const alone = (): Story => new Story([redriven])
const [source, dead] = ['tasks', 'tasks.g.dlq']

/** A slice that sends back what was at these offsets, of one key, to offsets from 10 on, and finishes these letters. */
function slice(story: Story, transaction: number, origins: readonly number[], letters: readonly number[]): Story {
  const copies = origins.map((offset, i) => ({
    send: transaction * 10 + i,
    offset: transaction * 10 + i,
    origin: offset,
  }))
  for (const { send, origin } of copies) {
    const redrive = { group: 'g', count: 1, origin: { partition: 0, offset: origin, id: String(origin) } }
    const sent: HistoryEvents['send'] = {
      ...{ send, topic: source, partition: 0, key: 'k', value: origin, headers: {}, batch: undefined },
      ...{ acks: 'flushed', of: { transaction }, redrive },
    }
    story.add('send', sent)
  }
  story.add('letters:finished', { transaction, topic: dead, partition: 0, letters })
  const outputs = copies.map(({ send, offset }) => ({ send, topic: source, partition: 0, offset, key: 'k' }))
  return story.add('accepted', { of: { transaction }, outputs })
}

function restart(story: Story, there: readonly number[], finished: readonly number[]): Story {
  const redrive = { group: 'g', count: 1, origin: { partition: 0, offset: 0, id: '0' } }
  const records = there.map((offset) => ({ offset, key: 'k', value: offset, redrive }))
  const logs: LogSnapshot[] = [
    { topic: source, partition: 0, start: 10, end: 100, records },
    { topic: dead, partition: 0, start: 0, end: 100, records: [] },
  ]
  const keeper = { group: 'lanemq.tasks.g.dlq', topic: dead, partition: 0, position: 0, finishedAbove: [...finished] }
  return story.add('snapshot', { reason: 'restart', logs, progress: [], kept: [keeper] })
}

describe('redriven', () => {
  test('lets letters go back in the order of their key, whole or not at all', () => {
    const story = slice(slice(alone(), 1, [0, 3], [1, 2]), 2, [1], [3])
    restart(story, [10, 11], [1, 2]).isLegal()
    restart(slice(story, 3, [1], [3]), [10, 11, 30], [1, 2, 3]).isLegal()
  })

  test('tells of letters that go back in another order', () => {
    const text = 'key k of tasks: what was at offset 0 was sent back after 3'
    slice(alone(), 1, [3, 0], [1, 2]).breaks('redriven', text)
  })

  test('tells of a letter that is taken twice, over a restart too', () => {
    const text = 'the letter tasks.g.dlq[0]@1 was taken twice'
    slice(slice(alone(), 1, [0], [1]), 2, [0], [1]).breaks('redriven', text)
    const story = restart(slice(alone(), 1, [0], [1]), [10], [1])
    slice(story, 2, [0], [1]).breaks('redriven', text)
  })

  test('tells of messages that go back without their letters', () => {
    const text = '2 messages were sent back, and 1 letters finished with them'
    slice(alone(), 1, [0, 3], [1]).breaks('redriven', text)
  })

  for (const [what, there, finished, text] of [
    ['no letter is finished', [10, 11], [], '0 of 2 letters are finished, 2 of 2 messages are in the log'],
    ['a message is missing', [10], [1, 2], '2 of 2 letters are finished, 1 of 2 messages are in the log'],
    ['no message is there', [], [1, 2], '2 of 2 letters are finished, 0 of 2 messages are in the log'],
  ] as const) {
    test(`tells of a torn redrive: ${what}`, () => {
      const story = restart(slice(alone(), 1, [0, 3], [1, 2]), there, finished)
      story.breaks('redriven', `the redrive of tasks.g.dlq[0]@1 is torn: ${text}`)
    })
  }
})
