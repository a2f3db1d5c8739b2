import { describe, expect, test } from 'vitest'
import type {
  AckEvent,
  MessageQueue,
  NackEvent,
  OutgoingMessage,
  Producer,
  ProducerOptions,
  QueueError,
  SendFailure,
  Topic,
} from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'

interface App {
  readonly mq: MessageQueue
  readonly topic: Topic
}

function openApp(queue: object = {}): Promise<TestQueue<App>> {
  return openTest<App>({
    queue,
    wire: async (mq) => ({ mq, topic: await mq.topic('t', { partitions: 2, maxValueBytes: 2_000 }) }),
  })
}

function producerOf(t: TestQueue<App>, options?: ProducerOptions): Promise<Producer> {
  return t.resolve(t.wired.mq.producer(options))
}

async function valuesOf(t: TestQueue<App>): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const { value } of t.wired.topic.read()) values.push(value)
  return values
}

function eventsOf(producer: Producer): string[] {
  const events: string[] = []
  const upTo = ({ sequence, multiple }: AckEvent | NackEvent): string => `${multiple ? '<=' : ''}${sequence}`
  producer.on('ack', (event) => events.push(`ack ${upTo(event)} @${event.results.map(({ offset }) => offset).join()}`))
  producer.on('nack', (event) => events.push(`nack ${upTo(event)} ${(event.error as QueueError).code}`))
  return events
}

const tooLarge: OutgoingMessage<unknown> = { value: 'x'.repeat(3_000) }
const to = (value: number): OutgoingMessage<unknown> => ({ key: 'k', value })

describe('a producer', () => {
  test('ONCE-80: confirms each send, all of them at a flush, or by events', async () => {
    await using t = await openApp()
    const producer = await producerOf(t)
    const events = eventsOf(producer)
    const { topic } = t.wired
    const first = producer.send(topic, to(1))
    void producer.send(topic, to(2))
    void producer.sendBatch(topic, [to(3), to(4)])
    await t.resolve(producer.flush())
    expect(await first).toMatchObject({ offset: 0, acks: 'flushed', duplicate: false })
    expect(events).toEqual(['ack <=3 @0,1,2,3'])
    expect(await valuesOf(t)).toEqual([1, 2, 3, 4])
    await t.resolve(producer.flush())
    expect(events).toHaveLength(1)
  })

  test('ONCE-81: a flush tells of every send that failed, once; nobody has to await them', async () => {
    await using t = await openApp()
    const producer = await producerOf(t, { maxFailures: 2 })
    const events = eventsOf(producer)
    const { topic } = t.wired
    void producer.send(topic, to(1))
    void producer.send(topic, tooLarge)
    void producer.send(topic, to(2))
    void producer.send({ name: 'no topic' } as never, to(3))
    void producer.sendBatch(topic, [to(4), { value: 1, partition: 9 }])
    const error = (await t.resolve(producer.flush()).catch((thrown: unknown) => thrown)) as QueueError
    expect(error).toMatchObject({ code: 'SENDS_FAILED', retriable: false, count: 4 })
    const failures = error.failures as SendFailure[]
    expect(failures.map((one) => [one.topic, one.sequence, (one.error as QueueError).code])).toEqual([
      ['t', 2, 'MESSAGE_TOO_LARGE'],
      ['no topic', 4, 'INVALID_OPTION'],
    ])
    expect(failures[0]!.message).toBe(tooLarge)
    await t.resolve(producer.flush())
    expect(events).toEqual([
      'nack 2 MESSAGE_TOO_LARGE',
      'nack 4 INVALID_OPTION',
      'nack 5 INVALID_MESSAGE',
      'ack <=3 @0,1',
    ])
  })

  test('a send for which there is no room is told of by itself', async () => {
    await using t = await openApp()
    const producer = await producerOf(t)
    const events = eventsOf(producer)
    t.faults.storeFull({ for: '1s' })
    await t.settle()
    void producer.send(t.wired.topic, to(1))
    void producer.send(t.wired.topic, to(2))
    await t.settle()
    expect(events).toEqual(['nack 1 STORE_FULL', 'nack 2 STORE_FULL'])
  })

  test('limits the sends that are under way', async () => {
    await using t = await openApp()
    const producer = await producerOf(t, { maxInFlightSends: 2 })
    const { topic } = t.wired
    void producer.send(topic, to(1))
    void producer.send(topic, to(2))
    await expect(producer.send(topic, to(3))).rejects.toMatchObject({ code: 'IN_FLIGHT_FULL', retriable: true })
    await expect(t.resolve(producer.flush())).rejects.toMatchObject({ code: 'SENDS_FAILED', count: 1 })
    await t.resolve(producer.send(topic, to(4)))
    expect(await valuesOf(t)).toEqual([1, 2, 4])
  })

  test('refuses sends once it is closed, and closes after those under way', async () => {
    await using t = await openApp()
    const producer = await producerOf(t)
    const sent = producer.send(t.wired.topic, to(1))
    const closing = producer.close()
    void producer.send(t.wired.topic, to(2))
    await expect(producer.send(t.wired.topic, to(2))).rejects.toMatchObject({ code: 'CLOSED' })
    await t.resolve(closing)
    await expect(sent).resolves.toMatchObject({ offset: 0 })
    expect(await valuesOf(t)).toEqual([1])
  })
})

describe('a producer with a name', () => {
  test('FENCE-50: is fenced by the next one of its name', async () => {
    await using t = await openApp()
    const fenced: unknown[] = []
    t.wired.mq.on('producer:fenced', (event) => fenced.push(event))
    const older = await producerOf(t, { name: 'import' })
    await t.resolve(older.send(t.wired.topic, to(1)))
    const newer = await producerOf(t, { name: 'import' })
    expect([older.epoch, newer.epoch]).toEqual([1, 2])
    expect(fenced).toEqual([{ producer: 'import', epoch: 1 }])
    const refused = { code: 'FENCED', producer: 'import', retriable: false }
    await expect(t.resolve(older.send(t.wired.topic, to(2)))).rejects.toMatchObject(refused)
    await expect(t.resolve(older.sendBatch(t.wired.topic, [to(2), to(3)]))).rejects.toMatchObject(refused)
    await t.resolve(newer.send(t.wired.topic, to(4)))
    expect(await valuesOf(t)).toEqual([1, 4])
    t.crash('power')
    await t.restart()
    expect((await producerOf(t, { name: 'import' })).epoch).toBe(3)
    expect((await producerOf(t, { name: 'other' })).epoch).toBe(1)
  })

  test('ONCE-90: appends each sequence once, over restarts, and says where to go on', async () => {
    await using t = await openApp()
    const producer = await producerOf(t, { name: 'import' })
    expect(producer.lastSequence).toBeUndefined()
    const { topic } = t.wired
    const sent = [10, 20, 30].map((sequence) => producer.send(topic, to(sequence), { sequence }))
    const again = producer.send(topic, to(30), { sequence: 30 })
    const results = await t.resolve(Promise.all(sent))
    expect(await t.resolve(again)).toEqual({ ...results[2], duplicate: true })
    expect(await t.resolve(producer.send(topic, to(20), { sequence: 20 }))).toEqual({ ...results[1], duplicate: true })
    t.crash('power')
    await t.restart()
    const next = await producerOf(t, { name: 'import' })
    expect(next.lastSequence).toBe(30)
    const old = next.send(t.wired.topic, to(30), { sequence: 30 })
    const older = next.send(t.wired.topic, to(20), { sequence: 20 })
    void next.sendBatch(t.wired.topic, [to(40), to(41)], { sequence: 40 })
    expect(await t.resolve(old)).toEqual({ ...results[2], duplicate: true })
    expect(await t.resolve(older)).toMatchObject({ partition: -1, offset: -1, duplicate: true })
    await t.resolve(next.flush())
    const batch = await t.resolve(next.sendBatch(t.wired.topic, [to(40), to(41)], { sequence: 40 }))
    expect(batch.map(({ duplicate }) => duplicate)).toEqual([true, true])
    expect(await valuesOf(t)).toEqual([10, 20, 30, 40, 41])
  })

  for (const at of ['transaction:before', 'commit:before', 'commit:applied', 'commit:flushed'] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`ONCE-91: goes on behind its last sequence after a ${kind} crash at ${at}`, async () => {
        await using t = await openApp()
        const producer = await producerOf(t, { name: 'import' })
        await t.resolve(producer.send(t.wired.topic, to(1), { sequence: 1 }))
        t.faults.crash({ at, kind })
        for (const n of [2, 3]) void producer.send(t.wired.topic, to(n), { sequence: n })
        await t.settle()
        t.assert.crashed()
        await t.restart()
        const next = await producerOf(t, { name: 'import' })
        expect(await valuesOf(t)).toEqual([1, 2, 3].slice(0, next.lastSequence))
        // Who does not look sends everything again.
        for (const n of [1, 2, 3, 4]) void next.send(t.wired.topic, to(n), { sequence: n })
        await t.resolve(next.flush())
        expect(await valuesOf(t)).toEqual([1, 2, 3, 4])
      })
    }
  }

  test('ONCE-92: refuses sequences that do not rise', async () => {
    await using t = await openApp()
    const { topic } = t.wired
    const producer = await producerOf(t, { name: 'import' })
    void producer.send(topic, to(5), { sequence: 5 })
    const late = { code: 'INVALID_MESSAGE', option: 'sequence', producer: 'import' }
    await expect(producer.send(topic, to(4), { sequence: 4 })).rejects.toMatchObject(late)
    const refused = { code: 'INVALID_OPTION', option: 'sequence' }
    await expect(producer.send(topic, to(6))).rejects.toMatchObject(refused)
    await expect(producer.send(topic, to(6), { sequence: -1 })).rejects.toMatchObject(refused)
    const plain = await producerOf(t)
    await expect(plain.send(topic, to(6), { sequence: 6 })).rejects.toMatchObject(refused)
    await expect(t.resolve(producer.flush())).rejects.toMatchObject({ code: 'SENDS_FAILED', count: 3 })
    await expect(producer.send(topic, to(4), { sequence: 4 })).rejects.toMatchObject(late)
    expect(await valuesOf(t)).toEqual([5])
    for (const options of [{ name: '' }, { retries: -1 }, { maxFailures: 0 }, { names: 'x' }]) {
      await expect(t.wired.mq.producer(options as ProducerOptions)).rejects.toMatchObject({ name: 'QueueError' })
    }
  })
})

describe('a producer that tries again', () => {
  test('ONCE-93: keeps the order of its sends', async () => {
    await using t = await openApp({ maxInFlightBytes: 1_024, onFull: 'reject' })
    const producer = await producerOf(t, { retries: 100, retryDelayMs: 5 })
    const events = eventsOf(producer)
    // Large ones find no room where small ones behind them would.
    const sizes = [900, 800, 10, 700, 20, 30, 900, 1]
    sizes.forEach((size, n) => void producer.send(t.wired.topic, { key: 'k', value: { n, text: 'x'.repeat(size) } }))
    await t.resolve(producer.flush())
    expect((await valuesOf(t)).map((value) => (value as { n: number }).n)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(events.every((event) => event.startsWith('ack'))).toBe(true)
  })

  test('ONCE-94: gives up after its retries, and the later ones go on', async () => {
    await using t = await openApp()
    const producer = await producerOf(t, { retries: 2, retryDelayMs: 100 })
    t.faults.storeFull({ for: '250ms' })
    await t.settle()
    const first = producer.send(t.wired.topic, to(1))
    await t.advance('150ms')
    const second = producer.send(t.wired.topic, to(2))
    await expect(t.resolve(first)).rejects.toMatchObject({ code: 'STORE_FULL' })
    await t.resolve(second)
    expect(await valuesOf(t)).toEqual([2])
    await expect(t.resolve(producer.flush())).rejects.toMatchObject({ count: 1 })
  })

  test('ends with the queue, and leaves no timer behind', async () => {
    const t = await openApp()
    const producer = await producerOf(t, { retries: 1_000, retryDelayMs: 1_000 })
    t.faults.storeFull()
    await t.settle()
    const sent = producer.send(t.wired.topic, to(1))
    await t.settle()
    await t.dispose()
    await expect(sent).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
