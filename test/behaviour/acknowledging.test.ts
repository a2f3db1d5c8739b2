import { describe, expect, test } from 'vitest'
import type { MessageStream, PulledMessage, SingleSubscribeOptions } from '../../src/index.ts'
import { eventsOf, messagesOf, virtualQueue, type VirtualQueue } from './queue.ts'

const backoff = { type: 'fixed', delayMs: 100, jitter: 0 } as const

/** A stream of the group `g` over the topic `t` with these messages, and what it has given so far. */
async function pull(
  { mq, run, settle }: VirtualQueue,
  values: string[],
  options: SingleSubscribeOptions = {},
): Promise<{ stream: MessageStream<string>; out: PulledMessage<string>[]; loop: Promise<unknown> }> {
  const topic = await run(mq.topic<string>('t'))
  await run(topic.sendBatch(messagesOf(...values)))
  const stream = await run(topic.subscribe('g', { from: 'earliest', backoff, ...options }))
  const out: PulledMessage<string>[] = []
  const loop = (async () => {
    for await (const message of stream) out.push(message)
  })().catch((error: unknown) => error)
  await settle()
  return { stream, out, loop }
}

/** How a promise ends: 'settled', or the code of its error; `pending` when it has not by now. */
async function outcomeOf(queue: VirtualQueue, promise: Promise<unknown>): Promise<string> {
  const ended = promise.then(
    () => 'settled',
    (error: unknown) => (error as { code: string }).code,
  )
  await queue.settle()
  return Promise.race([ended, Promise.resolve('pending')])
}

/** Whether it settles without a commit. */
async function isSoon(promise: Promise<unknown>): Promise<boolean> {
  let isSettled = false
  void promise.then(() => (isSettled = true))
  for (let turn = 0; turn < 20; turn++) await undefined
  return isSettled
}

describe('an acknowledgement that is waited for', () => {
  test('FENCE-38: says that the message is finished when that is on disk, and not before', async () => {
    const queue = await virtualQueue()
    const { out } = await pull(queue, ['a:1', 'b:1'])
    await queue.run(out[0]!.ack())
    const again = out[1]!.ack()
    expect(await isSoon(again)).toBe(false)
    const mq = await queue.crash('power')
    expect(mq.group('g').lag().count).toBe(1)
  })

  test('FENCE-39: says that the failure is counted when that is on disk', async () => {
    const queue = await virtualQueue()
    const { out } = await pull(queue, ['a:1'])
    const nacked = out[0]!.nack(new Error('not now'))
    expect(await isSoon(nacked)).toBe(false)
    await queue.run(nacked)
    await queue.crash('power')
    const { out: next } = await pull(queue, [])
    await queue.runtime.advance(100)
    expect(next.map(({ attempt }) => attempt)).toEqual([2])
  })

  for (const hasCrash of [false, true]) {
    test(`LOSS-65: a refusal by hand with a wait is tried again after that, beyond the back-off${hasCrash ? ', over a crash too' : ''}`, async () => {
      const queue = await virtualQueue()
      const { out } = await pull(queue, ['a:1'])
      await queue.run(out[0]!.nack({ delayMs: 40_000_000 }))
      const next = hasCrash ? (await queue.crash('power'), (await pull(queue, [])).out) : out.splice(0)
      const pulled = hasCrash ? next : out
      await queue.runtime.advance(39_999_000)
      expect(pulled).toHaveLength(0)
      await queue.runtime.advance(1_001)
      expect(pulled.map(({ attempt }) => attempt)).toEqual([2])
    })
  }

  test('FENCE-60: with effects that were refused rejects with why, and the message is handed out again', async () => {
    const queue = await virtualQueue()
    const { out } = await pull(queue, ['a:1'])
    const store = out[0]!.context.store<number>('s')
    store.put('k', store.get('k') ?? 1)
    await queue.run(queue.mq.transaction((tx) => tx.store<number>('s').put('k', 7)))
    expect(await outcomeOf(queue, out[0]!.ack())).toBe('CONFLICT')
    await queue.runtime.advance(10)
    expect(out.slice(1)).toMatchObject([{ value: 'a:1', attempt: 1 }])
  })

  test('many of them share settlements', async () => {
    const queue = await virtualQueue()
    const values = Array.from({ length: 100 }, (_, i) => String(i))
    const { out } = await pull(queue, values, { concurrency: 100 })
    const before = queue.mq.stats().store.commits
    await queue.run(Promise.all(out.map((message) => message.ack())))
    expect(queue.mq.stats().store.commits - before).toBeLessThanOrEqual(3)
    expect(queue.mq.group('g').lag().count).toBe(0)
  })

  test('FENCE-46: is refused when the message is not its own any more: its subscription has gone', async () => {
    const queue = await virtualQueue()
    const { stream, out } = await pull(queue, ['a:1', 'b:1'])
    await queue.run(stream.close({ timeoutMs: 0 }))
    const outcomes = await Promise.all([out[0]!.ack(), out[1]!.nack()].map((one) => outcomeOf(queue, one)))
    expect(outcomes).toEqual(['FENCED', 'FENCED'])
    expect(queue.mq.group('g').lag().count).toBe(2)
  })

  test('FENCE-47: is refused when its topic was deleted, and one that was under way too', async () => {
    const queue = await virtualQueue()
    const { out, loop } = await pull(queue, ['a:1', 'b:1'])
    const underWay = out[0]!.ack()
    const deleting = queue.mq.deleteTopic('t')
    await queue.settle()
    await queue.run(deleting)
    expect(await outcomeOf(queue, out[1]!.ack())).toBe('FENCED')
    expect(await outcomeOf(queue, underWay)).toBe('FENCED')
    expect(await loop).toMatchObject({ code: 'TOPIC_DELETED' })
  })

  for (const onTimeout of ['wait', 'abandon'] as const) {
    test(`FENCE-48: is refused when its time is over, which begins when it is pulled (${onTimeout})`, async () => {
      const queue = await virtualQueue()
      const { mq, run, settle, runtime } = queue
      const timeouts = eventsOf(mq, 'message:timed-out')
      const topic = await run(mq.topic<string>('t'))
      await run(topic.sendBatch(messagesOf('a:1', 'b:1')))
      const options = { from: 'earliest', backoff, handlerTimeoutMs: 1_000, onTimeout } as const
      const stream = await run(topic.subscribe('g', options))
      const iterator = stream[Symbol.asyncIterator]()
      await runtime.advance(5_000)
      const { value: first } = await run(iterator.next())
      await runtime.advance(500)
      first!.context.extend()
      await runtime.advance(999)
      expect([timeouts.length, first!.context.signal.aborted]).toEqual([0, false])
      await runtime.advance(1)
      expect([timeouts.length, first!.context.signal.aborted]).toEqual([1, true])
      expect(await outcomeOf(queue, first!.ack())).toBe('FENCED')
      await runtime.advance(100)
      const { value: second } = await run(iterator.next())
      const { value: again } = await run(iterator.next())
      expect([second, again]).toMatchObject([{ value: 'b:1' }, { value: 'a:1', attempt: 2 }])
      await run(Promise.all([second!.ack(), again!.ack()]))
      await settle()
      await run(stream.close())
      expect(mq.group('g').lag().count).toBe(0)
    })
  }

  test('the second word is the first one', async () => {
    const queue = await virtualQueue()
    const { out } = await pull(queue, ['a:1'])
    const first = out[0]!.ack()
    expect([out[0]!.nack(), out[0]!.ack()]).toEqual([first, first])
    await queue.run(first)
    expect(out[0]!.nack()).toBe(first)
  })

  test('a message can be cancelled from outside: its signal says so, and it is acknowledged as ever', async () => {
    const queue = await virtualQueue()
    const { stream, out } = await pull(queue, ['a:1'])
    expect(stream.cancel({ key: 'a' })).toBe(1)
    expect(out[0]!.context.signal.reason).toMatchObject({ code: 'CANCELLED' })
    await queue.run(out[0]!.ack())
  })
})
