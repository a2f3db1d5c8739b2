import { describe, expect, test } from 'vitest'
import type { MessageQueue, MessageStream, PulledMessage, Topic } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { eventsOf, messagesOf, virtualQueue, type VirtualQueue } from './queue.ts'

interface Wired {
  readonly mq: MessageQueue
  readonly output: Topic<string>
}

/** Consumes with transactions: each adds to a count, sends it on, and acknowledges. */
function openConsumer(): Promise<TestQueue<Wired>> {
  return openTest<Wired>({
    wire: async (mq) => {
      const input = await mq.topic<number>('in')
      const output = await mq.topic<string>('out')
      const stream = await input.subscribe('count', { from: 'earliest' })
      void consume(mq, stream, output).catch(() => {})
      return { mq, output }
    },
  })
}

async function consume(mq: MessageQueue, stream: MessageStream<number>, output: Topic<string>): Promise<void> {
  for await (const message of stream) {
    await mq.transaction((tx) => {
      const counts = tx.store<number>('counts')
      const count = (counts.get(message.key!) ?? 0) + message.value
      counts.put(message.key!, count)
      tx.send(output, { key: message.key!, value: `${message.key} ${count}` })
      tx.ack(message)
    })
  }
}

async function valuesOf(topic: Topic<string>): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of topic.read()) values.push(value)
  return values
}

async function pull(queue: VirtualQueue, ...values: string[]): Promise<PulledMessage<string>[]> {
  const topic = await queue.run(queue.mq.topic<string>('t'))
  await queue.run(topic.sendBatch(messagesOf(...values)))
  const stream = await queue.run(topic.subscribe('g', { from: 'earliest' }))
  const out: PulledMessage<string>[] = []
  void (async () => {
    for await (const message of stream) out.push(message)
  })().catch(() => {})
  await queue.settle()
  return out
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'settled',
    (error: unknown) => (error as { code: string }).code,
  )

describe('a transaction that acknowledges a pulled message', () => {
  for (const at of ['transaction:before', 'settle:before', 'commit:before', 'commit:flushed'] as const) {
    for (const power of [false, true]) {
      test(`FENCE-61: finishes it exactly with outputs and state when the ${power ? 'power' : 'process'} fails at ${at}`, async () => {
        await using t = await openConsumer()
        await t.send('in', { key: 'a', value: 1 })
        await t.drain()
        const where = at === 'settle:before' ? { group: 'count' } : {}
        t.faults.crash({ at, kind: power ? 'power' : 'process', ...where })
        await Promise.all(['a', 'b', 'a'].map((key) => t.send('in', { key, value: 1 }))).catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        await t.drain()
        const store = await t.resolve(t.wired.mq.store<number>('counts'))
        const counts = Object.fromEntries(store.range().map(({ key, value }) => [key, value]))
        const expected = Object.entries(counts).flatMap(([key, count]) =>
          Array.from({ length: count }, (_, i) => `${key} ${i + 1}`),
        )
        expect((await t.resolve(valuesOf(t.wired.output))).sort()).toEqual(expected.sort())
        const sent = await t.resolve(t.wired.mq.topic<number>('in')).then((topic) => topic.offsets()[0]!.end)
        expect(expected).toHaveLength(sent)
        expect(t.wired.mq.group('count').lag().count).toBe(0)
      })
    }
  }

  test('FENCE-62: that is refused leaves it open', async () => {
    const queue = await virtualQueue()
    const { mq, run } = queue
    const [message] = await pull(queue, 'a:1')
    const given = run(mq.transaction((tx) => (tx.ack(message!), Promise.reject(new RangeError('mine')))))
    await expect(given).rejects.toThrow('mine')
    const conflict = mq.transaction(async (tx) => {
      const store = tx.store<number>('s')
      store.put('k', (store.get('k') ?? 0) + 1)
      tx.ack(message!)
      await mq.flush()
      await other
    })
    const other = mq.transaction((tx) => tx.store<number>('s').put('k', 7)).catch(() => {})
    expect(await run(codeOf(conflict))).toBe('CONFLICT')
    expect(mq.group('g').lag().count).toBe(1)
    await run(message!.ack())
    expect(mq.group('g').lag().count).toBe(0)
  })

  test('FENCE-63: takes it once: its own acknowledgement is that of the transaction, and another transaction is refused', async () => {
    const queue = await virtualQueue()
    const { mq, run, settle } = queue
    const failures = eventsOf(mq, 'message:failed')
    const [first, second] = await pull(queue, 'a:1', 'b:1')
    await run(mq.transaction((tx) => (tx.ack(first!), tx.ack(first!))))
    expect(await run(codeOf(first!.ack()))).toBe('settled')
    expect(await run(codeOf(first!.nack()))).toBe('settled')
    expect(await run(codeOf(mq.transaction((tx) => tx.ack(first!))))).toBe('FENCED')
    const late = mq.transaction(async (tx) => {
      tx.ack(second!)
      await second!.ack()
    })
    expect(await run(codeOf(late))).toBe('FENCED')
    await settle()
    expect([mq.group('g').lag().count, failures.length]).toEqual([0, 0])
  })

  test('FENCE-64: is refused when the time of the message is over, or its subscription closed', async () => {
    const queue = await virtualQueue()
    const { mq, run, runtime } = queue
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1')))
    const stream = await run(topic.subscribe('g', { from: 'earliest', handlerTimeoutMs: 1_000 }))
    const iterator = stream[Symbol.asyncIterator]()
    const { value: late } = await run(iterator.next())
    await runtime.advance(1_000)
    expect(await run(codeOf(mq.transaction((tx) => tx.ack(late!))))).toBe('FENCED')
    await run(codeOf(late!.ack()))
    await runtime.advance(1_000)
    const { value: again } = await run(iterator.next())
    await run(stream.close({ timeoutMs: 0 }))
    expect(await run(codeOf(mq.transaction((tx) => tx.ack(again!))))).toBe('FENCED')
    expect(mq.group('g').lag().count).toBe(1)
  })

  test('FENCE-64: is refused when the subscription closes while it runs', async () => {
    const queue = await virtualQueue()
    const { mq, run } = queue
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1')))
    const stream = await run(topic.subscribe('g', { from: 'earliest' }))
    const { value: message } = await run(stream[Symbol.asyncIterator]().next())
    const output = await run(mq.topic<string>('out'))
    const given = mq.transaction(async (tx) => {
      tx.ack(message!)
      tx.send(output, { value: 'done' })
      await stream.close({ timeoutMs: 0 })
    })
    expect(await run(codeOf(given))).toBe('FENCED')
    expect([mq.group('g').lag().count, mq.stats().topics['out']!.count]).toEqual([1, 0])
  })

  test('takes nothing but messages that were pulled, without effects of their own', async () => {
    const queue = await virtualQueue()
    const { mq, run } = queue
    const [message] = await pull(queue, 'a:1')
    for (const wrong of [undefined, {}, { ...message! }])
      expect(await run(codeOf(mq.transaction((tx) => tx.ack(wrong as never))))).toBe('INVALID_OPTION')
    message!.context.store('s').put('k', 1)
    expect(await run(codeOf(mq.transaction((tx) => tx.ack(message!))))).toBe('INVALID_MESSAGE')
  })
})
