import { describe, expect, test } from 'vitest'
import { isSameValue } from '../../../../src/testing/invariants/same-value.ts'
import { Story } from './story.ts'

describe('no-loss', () => {
  test('what was acknowledged stays, over crashes and trims', () => {
    const story = new Story().sent(['a', undefined, 'b']).snapshot('end', undefined)
    story.trim(1).crash(true).restart(undefined, { start: 1 })
    story.sent(['c']).snapshot('end', undefined, { start: 1 }).isLegal()
  })

  test('a trim that a crash takes back leaves everything', () => {
    new Story().sent(['a', 'b']).trim(1).crash().restart(undefined).snapshot('end', undefined).isLegal()
  })

  test('a buffered message may vanish in a crash, from the end only', () => {
    const story = new Story().sent(['a']).sent(['a', 'b'], { acks: 'buffered' })
    story.crash().restart(undefined, { end: 2 }).sent(['c']).snapshot('end', undefined).isLegal()
  })

  test('a store that failed keeps what it had', () => {
    const story = new Story().sent(['a']).sent(['b'], { acks: 'buffered' }).add('store:failed', { error: 'disk' })
    story.restart(undefined, { end: 1 }).isLegal()
  })

  test('a flushed message is gone after a crash', () => {
    const story = new Story().sent(['a', 'b']).crash().restart(undefined, { end: 1 })
    story.breaks('no-loss', 'orders[0]@1 (key b) was acknowledged as flushed, but the log [0, 1) has no such message')
  })

  test('a buffered message is gone without a crash', () => {
    const story = new Story().sent(['a'], { acks: 'buffered' }).snapshot('end', undefined, { end: 0 })
    story.breaks('no-loss', 'orders[0]@0 (key a) was acknowledged as buffered, but the log [0, 0) has no such message')
  })

  test('a buffered message vanishes that an earlier crash had left', () => {
    const story = new Story().sent(['a'], { acks: 'buffered' }).crash().restart(undefined).crash()
    story.restart(undefined, { end: 0 })
    story.breaks('no-loss', 'orders[0]@0 (key a) was acknowledged as flushed, but the log [0, 0) has no such message')
  })

  test('a buffered message vanishes although a later one was flushed, in another partition even', () => {
    const story = new Story().sent(['a'], { acks: 'buffered' }).sent(['b'], { partition: 1 }).crash()
    story.restart(undefined, { end: 0 })
    story.breaks('no-loss', 'orders[0]@0 (key a) was acknowledged as flushed, but the log [0, 0) has no such message')
  })

  test('the log begins above what retention removed', () => {
    const story = new Story().sent(['a', 'b', 'c']).trim(1).snapshot('end', undefined, { start: 2 })
    story.breaks(
      'no-loss',
      'orders[0]@1 (key b) was acknowledged as flushed, but the log begins at 2 and retention had reached 1',
    )
  })

  test('a key or a value is another one', () => {
    const story = new Story().sent(['a'])
    story.logs[0]![0] = { key: 'x', value: { id: 1 } }
    story.snapshot('end', undefined)
    story.breaks('no-loss', 'orders[0]@0 (key a) was acknowledged as flushed, but the log has it with key x')
    const other = new Story().sent(['a'])
    other.logs[0]![0] = { key: 'a', value: { id: 2 } }
    other.snapshot('end', undefined)
    other.breaks('no-loss', 'orders[0]@0 (key a) was acknowledged as flushed, but the log has another value there')
  })

  test('a partition is not there at all', () => {
    const story = new Story().sent(['a']).add('snapshot', { reason: 'end', logs: [], progress: [] })
    story.breaks('no-loss', 'orders[0]@0 was acknowledged, but the partition is not there')
  })

  test('a deleted topic takes its messages with it, also those acknowledged late', () => {
    const story = new Story().sent(['a'])
    const late = story.send('b')
    story.add('topic:deleted', { topic: 'orders' }).ack(late, 'b')
    story.add('topic:created', { topic: 'orders', partitions: 1 })
    story.logs[0]!.length = 0
    story.sent(['c']).snapshot('end', undefined).isLegal()
  })
})

describe('log', () => {
  test('what was sent without an answer may be there after a crash, or not', () => {
    const story = new Story().sent(['a'])
    story.send('b')
    story.send('c')
    story.crash()
    story.logs[0]!.push({ key: 'b', value: { id: 2 } })
    story.restart(undefined).sent(['d']).snapshot('end', undefined).isLegal()
  })

  test('offsets of what a power failure took are used again', () => {
    const story = new Story().sent(['a']).sent(['b'], { acks: 'buffered' }).join().grant().finish(0, 1).deliver(1)
    story.crash(true).restart({ position: 1 }, { end: 1 }).sent(['x', 'y']).join().grant(1).finish(1, 3)
    story.snapshot('end', { position: 3 }).isLegal()
  })

  test('a handler may have the message before its sender is told', () => {
    const story = new Story().join().grant()
    const send = story.send('a')
    story.deliver(0, { key: 'a' }).start(0, { id: send }).ack(send, 'a')
    story.done(0).isLegal()
  })

  test('one offset is given to two messages', () => {
    const story = new Story().sent(['a'])
    story.ack(story.send('b'), 'b', { offset: 0 })
    story.breaks('log', 'send 2 was acknowledged as orders[0]@0 (key b), which is send 1 already')
  })

  test('a message goes to another partition than it was sent to', () => {
    const story = new Story()
    story.ack(story.send('a'), 'a', { partition: 1 })
    story.breaks('log', 'send 1 was acknowledged as orders[1]@0 (key a), but was for orders[0] with key a')
  })

  test('a handler gets another value or key', () => {
    const story = new Story().sent(['a', 'a']).join().grant().deliver(0).start(0, { id: 2 })
    story.breaks('log', 'billing: orders[0]@0 (key a) was handled with another value than was sent')
    const other = new Story().sent(['a']).join().grant().deliver(0, { key: 'x' })
    other.breaks('log', 'billing: orders[0]@0 (key x) was handed out, but was sent with key a')
  })

  test('a handler gets another value, and its sender is told later', () => {
    const story = new Story().join().grant()
    const send = story.send('a')
    story.deliver(0, { key: 'a' }).start(0, { id: 7 }).ack(send, 'a')
    story.breaks('log', 'billing: orders[0]@0 (key a) was handled with another value than was sent')
  })

  test('the log holds what was refused', () => {
    const story = new Story()
    const refused = { send: story.send('a'), topic: 'orders', partition: 0, key: 'a', error: { code: 'STORE_FULL' } }
    story.add('refused', refused)
    story.logs[0]!.push({ key: 'a', value: { id: 1 } })
    story.snapshot('end', undefined).breaks('log', 'orders[0]@0 (key a) was never sent, or was refused')
  })

  test('the log may hold what a failed store refused', () => {
    const story = new Story()
    const error = { code: 'STORE_FAILED' }
    story.add('refused', { send: story.send('a'), topic: 'orders', partition: 0, key: 'a', error })
    story.logs[0]!.push({ key: 'a', value: { id: 1 } })
    story.restart(undefined).isLegal()
  })

  test('the log has a hole', () => {
    const story = new Story().sent(['a', 'b', 'c'])
    const records = [0, 2].map((offset) => ({ offset, ...story.logs[0]![offset]! }))
    const log = { topic: 'orders', partition: 0, start: 0, end: 3, records }
    story.add('snapshot', { reason: 'end', logs: [log], progress: [] })
    story.breaks('log', 'orders[0] has 2 messages in [0, 3)')
  })

  test('messages stand in another order than they were sent in', () => {
    const story = new Story()
    const [first, second] = [story.send('a'), story.send('a')]
    story.ack(second, 'a')
    story.ack(first, 'a')
    story.snapshot('end', undefined)
    story.breaks('log', 'orders[0]@1 (key a) is send 1, but comes after send 2')
  })

  test('a flushed message is shown that a crash takes back', () => {
    const story = new Story().join().grant()
    const send = story.send('a')
    story.deliver(0, { key: 'a' }).start(0, { id: send }).crash(true).restart({ position: 0 }, { end: 0 })
    story.breaks(
      'log',
      'orders[0]@0 (key a) was handed out to billing before it was flushed: the log ends at 0 after the crash',
    )
  })

  test('a buffered message may be shown that a crash takes back', () => {
    const story = new Story().join().grant()
    const send = story.send('a', { acks: 'buffered' })
    story.deliver(0, { key: 'a' }).start(0, { id: send }).crash().restart({ position: 0 }, { end: 0 }).isLegal()
  })

  test('a batch is there whole or not at all', () => {
    for (const kept of [0, 2]) {
      const story = new Story()
      for (const key of ['a', 'b']) story.send(key, { batch: 1 })
      story.crash()
      for (const [i, key] of ['a', 'b'].slice(0, kept).entries()) story.logs[0]!.push({ key, value: { id: i + 1 } })
      story.restart(undefined).isLegal()
    }
  })

  test('half of a batch is there', () => {
    const story = new Story()
    for (const key of ['a', 'b']) story.send(key, { batch: 1 })
    story.crash()
    story.logs[0]!.push({ key: 'a', value: { id: 1 } })
    story.restart(undefined).breaks('log', '1 of the 2 messages of batch 1 (orders) are there after a restart')
  })

  test('half of a buffered batch is there, although its sender was told', () => {
    const story = new Story()
    const sends = ['a', 'b'].map((key) => story.send(key, { batch: 1, acks: 'buffered' }))
    for (const send of sends) story.ack(send, send === 1 ? 'a' : 'b', { acks: 'buffered' })
    story.crash().restart(undefined, { end: 1 })
    story.breaks('log', '1 of the 2 messages of batch 1 (orders) are there after a restart')
  })
})

test('values are the same when a codec could make one of the other', () => {
  class Order {
    readonly id = 1
    readonly note = undefined
  }
  expect(isSameValue(new Order(), { id: 1 })).toBe(true)
  expect(isSameValue(Buffer.of(1, 2), Uint8Array.of(1, 2))).toBe(true)
  expect(isSameValue(Buffer.of(1, 2), Uint8Array.of(1, 3))).toBe(false)
  expect(isSameValue(new Map([[1, 2]]), new Map([[1, 2]]))).toBe(true)
  expect(isSameValue(1n, 2n)).toBe(false)
  expect(isSameValue({ id: 1 }, { id: 2 })).toBe(false)
  expect(isSameValue('1', 1)).toBe(false)
})

describe('sent-once', () => {
  const dedupe = { maxCount: 2, maxAgeMs: 1_000 }
  const place = { topic: 'orders', partition: 0, key: 'a', acks: 'flushed' } as const

  test('one id has one place within its window', () => {
    const story = new Story()
    story.ack(story.send('a', { id: 'x', dedupe }), 'a')
    story.add('repeated', { ...place, offset: 0, send: story.send('a', { id: 'x', dedupe }) })
    story.isLegal()
    story.ack(story.send('a', { id: 'x', dedupe: { ...dedupe, maxCount: 3 } }), 'a')
    story.isLegal()
    story.ack(story.send('a', { id: 'x', dedupe: { ...dedupe, maxCount: 3 } }), 'a')
    story.breaks('sent-once', 'orders[0]@2 (key a) has the id x, which is that of orders[0]@1 (key a)')
  })

  test('a repeated send is told the place of the first one', () => {
    const story = new Story()
    story.ack(story.send('a', { id: 'x', dedupe }), 'a')
    story.add('repeated', { ...place, offset: 7, send: story.send('a', { id: 'x', dedupe }) })
    story.breaks('sent-once', 'send 2 of id x was told orders[0]@7 (key a), the first one orders[0]@0 (key a)')
  })

  test('a fenced producer sends nothing, and no sequence twice', () => {
    const story = new Story()
    const producer = { name: 'p', epoch: 1, sequence: 4 }
    story.add('producer:opened', { producer: 'p', epoch: 1 })
    story.ack(story.send('a', { producer }), 'a')
    story.isLegal()
    story.ack(story.send('a', { producer: { ...producer } }), 'a')
    story.breaks('sent-once', 'orders[0]@1 (key a) has sequence 4 of p, which sent 4 before')
    const other = new Story()
    other.add('producer:opened', { producer: 'p', epoch: 2 })
    other.ack(other.send('a', { producer }), 'a')
    other.breaks('sent-once', 'orders[0]@0 (key a) was sent by producer p after it had been fenced')
  })
})
