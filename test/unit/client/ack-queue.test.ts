import { describe, expect, test } from 'vitest'
import { AckQueue } from '../../../src/client/ack-queue.ts'
import { CallContext } from '../../../src/dispatch/handed-message.ts'
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

const handle = (queue: AckQueue, offset: number): Promise<void> =>
  queue.handle(message(offset), new CallContext(1, 1, undefined))

describe('messages that are pulled', () => {
  test('come in order, and the handler call ends with the acknowledgement', async () => {
    const queue = new AckQueue()
    const ended: number[] = []
    for (const offset of [0, 1]) void handle(queue, offset).then(() => ended.push(offset))
    const [first, second] = [await queue.next(), await queue.next()]
    expect([first?.offset, second?.offset]).toEqual([0, 1])
    expect(ended).toEqual([])
    void second!.ack()
    await Promise.resolve()
    expect(ended).toEqual([1])
    void first!.ack()
    await Promise.resolve()
    expect(ended).toEqual([1, 0])
  })

  test('a nack fails the call with its reason; the second word counts for nothing', async () => {
    const queue = new AckQueue()
    const reason = new Error('mine')
    const calls = [0, 1, 2].map((offset) => handle(queue, offset))
    const outcomes = Promise.allSettled(calls)
    const [a, b, c] = [await queue.next(), await queue.next(), await queue.next()]
    expect(a!.ack()).not.toBe(b!.ack())
    void a!.nack(reason)
    expect(b!.nack(reason)).toBe(b!.ack())
    void c!.nack()
    expect(await outcomes).toEqual([
      { status: 'fulfilled', value: undefined },
      { status: 'fulfilled', value: undefined },
      { status: 'rejected', reason: new Error('nack') },
    ])
  })

  test('a nack says why, and how long to wait; what is no option is refused, and nothing happens then', async () => {
    const asked = new Error('another attempt was asked for')
    const given: [unknown, unknown, number?][] = [
      [new TypeError('mine'), new TypeError('mine')],
      ['text', 'text'],
      [{ delayMs: 5 }, expect.objectContaining({ message: asked.message }), 5],
      [{ delayMs: 6, error: 'why' }, 'why', 6],
      [{ error: 'why' }, 'why'],
      [{}, new Error('nack')],
    ]
    const queue = new AckQueue()
    for (const [reason, error, delayMs] of given) {
      const context = new CallContext(1, 1, undefined)
      const call = queue.handle(message(0), context)
      const pulled = await queue.next()
      for (const wrong of [{ delay: 5 }, { delayMs: -1 }, { delayMs: '5' }, { delayMs: NaN }])
        expect(() => pulled!.nack(wrong as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
      void pulled!.nack(reason as Error)
      expect(await call.catch((thrown: unknown) => thrown)).toEqual(error)
      expect(context.asked).toEqual(delayMs === undefined ? undefined : { delayMs })
      expect(context.byHand?.isDone).toBe(false)
    }
  })

  test('who pulls before a message is there gets it when it comes', async () => {
    const queue = new AckQueue()
    const pulled = [queue.next(), queue.next()]
    void handle(queue, 0).catch(() => {})
    void handle(queue, 1).catch(() => {})
    expect((await Promise.all(pulled)).map((one) => one?.offset)).toEqual([0, 1])
  })

  test('QUIET-22: closing ends everyone who pulls, and gives back what was not acknowledged', async () => {
    const queue = new AckQueue()
    const open = handle(queue, 0)
    const pulled = await queue.next()
    const pulling = [queue.next(), queue.next()]
    queue.closeAll()
    expect(await Promise.all(pulling)).toEqual([undefined, undefined])
    await expect(open).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(handle(queue, 1)).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await queue.next()).toBeUndefined()
    await expect(pulled!.ack()).rejects.toMatchObject({ code: 'FENCED' })
  })
})
