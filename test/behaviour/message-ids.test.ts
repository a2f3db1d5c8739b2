import { describe, expect, test } from 'vitest'
import type { DedupeOptions, Message, MessageQueue, SendResult, Topic } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'

interface App {
  readonly mq: MessageQueue
  readonly topic: Topic
  readonly seen: string[]
}

function openApp(dedupe?: DedupeOptions | false): Promise<TestQueue<App>> {
  const seen: string[] = []
  return openTest<App>({
    wire: async (mq) => {
      const topic = await mq.topic('t', { partitions: 2, ...(dedupe === undefined ? {} : { dedupe }) })
      await topic.subscribe('g', (message: Message<unknown>) => void seen.push(message.id), { from: 'earliest' })
      return { mq, topic, seen }
    },
  })
}

const send = (t: TestQueue<App>, id: string, value: unknown = id): Promise<SendResult> =>
  t.send('t', { id, key: 'k', value })

async function valuesOf(t: TestQueue<App>): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const { value } of t.wired.topic.read()) values.push(value)
  return values
}

describe('a message id', () => {
  test('ONCE-83: stores its message once; the second send is told where the first one is', async () => {
    await using t = await openApp()
    const first = await send(t, 'a', 1)
    const second = await t.send('t', { id: 'a', partition: first.partition === 0 ? 1 : 0, value: 2 })
    expect(second).toEqual({ ...first, duplicate: true })
    // Both on their way at once.
    const told: string[] = []
    const [third, fourth] = await Promise.all([
      send(t, 'b', 3).finally(() => told.push('first')),
      send(t, 'b', 4).finally(() => told.push('second')),
    ])
    expect(told, 'not before the first one is stored').toEqual(['first', 'second'])
    expect(fourth).toEqual({ ...third, duplicate: true })
    expect(await t.send('t', { id: 'b', value: 5 }, { acks: 'buffered' })).toMatchObject({ offset: third.offset })
    await t.drain()
    expect(await valuesOf(t)).toEqual([1, 3])
    expect(t.history.of('repeated')).toHaveLength(3)
  })

  test('ONCE-84: holds within a batch, a transaction and what handlers send', async () => {
    await using t = await openApp()
    const { mq, topic } = t.wired
    const batch = topic.sendBatch([{ id: 'a', value: 1 }, { value: 2 }, { id: 'a', value: 3 }, { id: 'b', value: 4 }])
    expect((await t.resolve(batch)).map(({ duplicate }) => duplicate)).toEqual([false, false, true, false])
    const { sends } = await t.resolve(
      mq.transaction((tx) => {
        tx.send(topic, { id: 'b', value: 5 })
        tx.send(topic, { id: 'c', value: 6 })
        tx.send(topic, { id: 'c', value: 7 })
      }),
    )
    expect(sends.map(({ duplicate }) => duplicate)).toEqual([true, false, true])
    const other = await t.resolve(mq.topic<number>('orders'))
    await t.resolve(
      other.subscribe('copy', ({ value }, context) => context.send(topic, { id: `copy ${value}`, value }), {
        from: 'earliest',
      }),
    )
    await Promise.all([t.send('orders', { value: 8 }), t.send('orders', { value: 8 }), t.send('orders', { value: 9 })])
    await t.drain()
    expect(new Set(await valuesOf(t))).toEqual(new Set([1, 2, 4, 6, 8, 9]))
    expect(await valuesOf(t)).toHaveLength(6)
  })

  test('ONCE-85: is what handlers and readers see, beside the headers of the sender', async () => {
    await using t = await openApp()
    await t.send('t', { id: 'ein Ä"', value: 1, headers: { source: 'web' } })
    await t.send('t', { value: 2 })
    await t.drain()
    const read: Message<unknown>[] = []
    for await (const message of t.wired.topic.read()) read.push(message)
    expect(read.map(({ id }) => id).sort()).toEqual([...t.wired.seen].sort())
    const [named] = read.filter(({ id }) => id === 'ein Ä"')
    expect(named!.headers).toEqual({ source: 'web' })
    expect(JSON.parse(JSON.stringify(named))).toMatchObject({ id: 'ein Ä"', headers: { source: 'web' } })
  })

  for (const at of ['send:before', 'commit:before', 'commit:applied', 'commit:flushed'] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`ONCE-86: sent again after a ${kind} crash at ${at}, is there once`, async () => {
        await using t = await openApp({ maxAgeMs: 60_000 })
        const first = await send(t, 'a')
        await t.drain()
        t.faults.crash({ at, kind })
        await Promise.all([send(t, 'b'), send(t, 'c'), send(t, 'b')]).catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        expect(await send(t, 'a')).toEqual({ ...first, duplicate: true })
        const results = await Promise.all([send(t, 'b'), send(t, 'c'), send(t, 'b'), send(t, 'd')])
        expect(results[2]).toEqual({ ...results[0], duplicate: true })
        await t.drain()
        expect((await valuesOf(t)).map(String).toSorted()).toEqual(['a', 'b', 'c', 'd'])
        expect([...new Set(t.wired.seen)].sort()).toEqual(['a', 'b', 'c', 'd'])
      })
    }
  }

  test('ONCE-87: is forgotten after the count, over restarts too', async () => {
    await using t = await openApp({ maxCount: 3 })
    for (const id of ['a', 'b', 'c', 'd']) await send(t, id)
    t.crash('power')
    await t.restart()
    expect((await send(t, 'b')).duplicate).toBe(true)
    expect((await send(t, 'a')).duplicate).toBe(false)
    expect((await send(t, 'b')).duplicate).toBe(false)
    await t.drain()
  })

  test('ONCE-88: is forgotten after its time, which a jump of the wall clock does not change', async () => {
    await using t = await openApp({ maxAgeMs: 1_000 })
    await send(t, 'a')
    await t.advance('900ms')
    t.faults.wallClock('1h')
    expect((await send(t, 'a')).duplicate).toBe(true)
    t.faults.wallClock('-2h')
    expect((await send(t, 'a')).duplicate).toBe(true)
    await t.advance('101ms')
    expect((await send(t, 'a')).duplicate).toBe(false)
    await t.advance('500ms')
    t.crash()
    await t.advance('400ms')
    await t.restart()
    expect((await send(t, 'a')).duplicate).toBe(true)
    await t.advance('200ms')
    expect((await send(t, 'a')).duplicate).toBe(false)
    await t.drain()
  })

  test('ONCE-89: counts for nothing where the topic says so, and its window can be changed', async () => {
    await using t = await openApp(false)
    expect([await send(t, 'a'), await send(t, 'a')].map(({ duplicate }) => duplicate)).toEqual([false, false])
    await t.resolve(t.wired.topic.configure({ dedupe: { maxCount: 2 } }))
    expect(t.wired.topic.settings.dedupe).toEqual({ maxCount: 2, maxAgeMs: 120_000 })
    expect([await send(t, 'a'), await send(t, 'a')].map(({ duplicate }) => duplicate)).toEqual([false, true])
    await t.resolve(t.wired.topic.configure({ dedupe: { maxAgeMs: Infinity } }))
    await t.advance('1h')
    expect((await send(t, 'a')).duplicate).toBe(true)
    await t.resolve(t.wired.topic.configure({ dedupe: false }))
    await t.resolve(t.wired.topic.configure({ dedupe: {} }))
    expect((await send(t, 'a')).duplicate).toBe(false)
    await t.drain()
  })

  test('is refused when it is no text of 1 to 256 bytes', async () => {
    await using t = await openApp()
    for (const id of ['', 'x'.repeat(257), 'ä'.repeat(129), '\ud800', 7, null]) {
      await expect(send(t, id as string)).rejects.toMatchObject({ code: 'INVALID_MESSAGE', option: 'id' })
    }
    expect((await send(t, 'ä'.repeat(128))).duplicate).toBe(false)
    expect((await send(t, 'ä'.repeat(128))).duplicate).toBe(true)
    const { mq } = t.wired
    const refused = { code: 'INVALID_OPTION' }
    await expect(mq.topic('u', { dedupe: true as never })).rejects.toMatchObject({ ...refused, option: 'dedupe' })
    await expect(mq.topic('u', { dedupe: { maxCount: 0 } })).rejects.toMatchObject({ ...refused, option: 'maxCount' })
    await expect(mq.topic('u', { dedupe: { maxAgeMs: 0 } })).rejects.toMatchObject({ ...refused, option: 'maxAgeMs' })
    await t.drain()
  })
})
