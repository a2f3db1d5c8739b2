import { describe, expect, test } from 'vitest'
import { AckQueue } from '../../../src/client/ack-queue.ts'
import type { Message } from '../../../src/message.ts'

const message = (offset: number): Message<unknown> => ({
  topic: 't',
  partition: 0,
  offset,
  timestamp: 0,
  key: undefined,
  value: offset,
  headers: {},
  id: String(offset),
  attempt: 1,
})

describe('messages that are pulled', () => {
  test('come in order, and the handler call ends with the acknowledgement', async () => {
    const queue = new AckQueue()
    const ended: number[] = []
    for (const offset of [0, 1]) void queue.handle(message(offset)).then(() => ended.push(offset))
    const [first, second] = [await queue.next(), await queue.next()]
    expect([first?.offset, second?.offset]).toEqual([0, 1])
    expect(ended).toEqual([])
    second!.ack()
    await Promise.resolve()
    expect(ended).toEqual([1])
    first!.ack()
    await Promise.resolve()
    expect(ended).toEqual([1, 0])
  })

  test('a nack fails the call with its reason; the second word counts for nothing', async () => {
    const queue = new AckQueue()
    const reason = new Error('mine')
    const calls = [0, 1, 2].map((offset) => queue.handle(message(offset)))
    const outcomes = Promise.allSettled(calls)
    const [a, b, c] = [await queue.next(), await queue.next(), await queue.next()]
    a!.nack(reason)
    a!.ack()
    b!.ack()
    b!.nack(reason)
    c!.nack()
    expect(await outcomes).toEqual([
      { status: 'rejected', reason },
      { status: 'fulfilled', value: undefined },
      { status: 'rejected', reason: expect.any(Error) },
    ])
  })

  test('who pulls before a message is there gets it when it comes', async () => {
    const queue = new AckQueue()
    const pulled = [queue.next(), queue.next()]
    void queue.handle(message(0)).catch(() => {})
    void queue.handle(message(1)).catch(() => {})
    expect((await Promise.all(pulled)).map((one) => one?.offset)).toEqual([0, 1])
  })

  test('QUIET-22: closing ends everyone who pulls, and gives back what was not acknowledged', async () => {
    const queue = new AckQueue()
    const open = queue.handle(message(0))
    await queue.next()
    const pulling = [queue.next(), queue.next()]
    queue.close()
    expect(await Promise.all(pulling)).toEqual([undefined, undefined])
    await expect(open).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(queue.handle(message(1))).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await queue.next()).toBeUndefined()
  })
})
