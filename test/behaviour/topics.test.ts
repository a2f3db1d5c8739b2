import { describe, expect, onTestFinished, test } from 'vitest'
import { bytes, openInMemory, type Codec } from '../../src/index.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('topics', () => {
  test('are created or opened, listed and described', async () => {
    const { mq, run } = await virtualQueue()
    const created = eventsOf(mq, 'topic:created')
    const topic = await run(mq.topic('t', { partitions: 3, retention: { maxAgeMs: 5 } }))
    const again = await run(mq.topic('t'))
    expect([topic.partitions, again.partitions]).toEqual([3, 3])
    expect(again.settings).toEqual(topic.settings)
    expect([mq.topics(), mq.describe('t').retention.maxAgeMs]).toEqual([['t'], 5])
    expect(created).toEqual([{ topic: 't', partitions: 3 }])
    expect(() => mq.describe('u')).toThrow(expect.objectContaining({ code: 'TOPIC_NOT_FOUND' }))
    await expect(run(mq.deleteTopic('u'))).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' })
  })

  test('one that exists with another number of partitions or another codec is refused', async () => {
    const mq = await openInMemory()
    onTestFinished(() => mq.close().then(() => {}))
    await mq.topic('t', { partitions: 3 })
    await expect(mq.topic('t', { partitions: 4 })).rejects.toMatchObject({
      code: 'TOPIC_CONFLICT',
      option: 'partitions',
    })
    await expect(mq.topic('t', { codec: 'bytes' })).rejects.toMatchObject({
      code: 'TOPIC_CONFLICT',
      option: 'contentType',
    })
    const own: Codec<string> = {
      contentType: 'text/x-own',
      format: 'text',
      shared: false,
      encode: String,
      decode: String as never,
    }
    await mq.topic('own', { codec: own })
    await expect(mq.topic('own')).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'codec' })
  })

  test('every codec brings values back as they were sent; a topic knows its own', async () => {
    const mq = await openInMemory()
    onTestFinished(() => mq.close().then(() => {}))
    const values = { json: { a: [1, null, 'é'] }, msgpack: { a: [1, new Date(0)] }, bytes: Buffer.from([0, 255]) }
    for (const [codec, value] of Object.entries(values)) {
      const topic = await mq.topic(codec, { codec: codec as 'json' })
      await topic.send({ value, key: 'kéy', headers: { b: '2', a: '' } })
      const reopened = await mq.topic(codec)
      const { value: found } = await reopened.read().next()
      expect(found).toMatchObject({ key: 'kéy', headers: { b: '2', a: '' }, offset: 0, partition: 0, attempt: 1 })
      expect(Object.keys(found!.headers)).toEqual(['b', 'a'])
      expect(found!.value).toEqual(value)
    }
    const raw = await mq.topic('raw', { codec: bytes })
    const mine = Buffer.from('abc')
    const sent = raw.send({ value: mine })
    mine.fill(0)
    await sent
    expect((await raw.read().next()).value!.value.toString()).toBe('abc')
  })

  test('one that is deleted ends its subscriptions and readers; others go on', async () => {
    const { mq, run, settle } = await virtualQueue()
    const deleted = eventsOf(mq, 'topic:deleted')
    const ended = eventsOf(mq, 'subscription:ended')
    const t = await run(mq.topic<string>('t'))
    const u = await run(mq.topic<string>('u'))
    await run(t.sendBatch(messagesOf('a:1', 'a:2')))
    const calls = new HeldCalls()
    const onT = await run(t.subscribe('g', calls.handler, { from: 'earliest' }))
    const seen: string[] = []
    const onU = await run(u.subscribe('h', ({ value }) => void seen.push(value), { from: 'earliest' }))
    const reading = t.read({ follow: true, from: 'latest' }).next()
    const outcome = reading.catch((error: unknown) => error)
    await settle()
    const { signal } = calls.context('a:1')
    const late = t.send({ key: 'a', value: 'a:3' }).catch((error: unknown) => error)
    await run(mq.deleteTopic('t'))
    expect(await run(outcome)).toMatchObject({ code: 'TOPIC_DELETED' })
    expect(signal.aborted).toBe(true)
    expect(onT.failure).toMatchObject({ code: 'TOPIC_DELETED', topic: 't' })
    await expect(run(t.send({ value: 'x' }))).rejects.toMatchObject({ code: 'TOPIC_DELETED' })
    await expect(run(t.configure({ retention: { maxAgeMs: 1 } }))).rejects.toMatchObject({ code: 'TOPIC_DELETED' })
    await run(late)
    calls.end('a:1')
    await expect(run(onT.idle())).rejects.toMatchObject({ code: 'TOPIC_DELETED' })
    await run(u.send({ value: 'still' }))
    await run(onU.drain())
    expect([seen, deleted, ended.length, mq.topics()]).toEqual([['still'], [{ topic: 't' }], 1, ['u']])
  })

  test('idle() fails at once when its subscription has ended, though a handler still runs', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: '1' }))
    const subscription = await run(topic.subscribe('g', () => new Promise(() => {}), { from: 'earliest' }))
    await settle()
    await run(mq.deleteTopic('t'))
    await expect(run(subscription.idle())).rejects.toMatchObject({ code: 'TOPIC_DELETED' })
  })

  test('a deleted topic does not come back, and its space is given back', async () => {
    const queue = await virtualQueue()
    const { run } = queue
    const topic = await run(queue.mq.topic<string>('t', { partitions: 2 }))
    const value = 'x'.repeat(1_000)
    for (let i = 0; i < 400; i++) await run(topic.send({ value, partition: i % 2 }))
    await run((await run(topic.subscribe('g', () => {}, { from: 'earliest' }))).close())
    const full = queue.storage.stats().bytes
    await run(queue.mq.deleteTopic('t'))
    await queue.settle()
    expect(queue.storage.stats().bytes).toBeLessThan(full / 10)
    await run(queue.mq.flush())
    const mq = await queue.crash('power')
    expect(mq.topics()).toEqual([])
    const again = await run(mq.topic<string>('t'))
    expect(again.offsets()).toEqual([{ start: 0, end: 0 }])
    await expect(run(again.subscribe('g', () => {}))).rejects.toMatchObject({ option: 'from' })
  })

  test('deleting a topic twice at once deletes it once; making it meanwhile makes another', async () => {
    const { mq, run } = await virtualQueue()
    const deleted = eventsOf(mq, 'topic:deleted')
    const topic = await run(mq.topic<string>('t'))
    void topic.send({ value: 'old' }).catch(() => {})
    const outcomes = await run(Promise.allSettled([mq.deleteTopic('t'), mq.deleteTopic('t')]))
    expect(outcomes.map(({ status }) => status)).toContain('fulfilled')
    expect(deleted).toHaveLength(1)
    const second = await run(mq.topic<string>('t'))
    void second.send({ value: 'old' }).catch(() => {})
    const [, third] = await run(Promise.all([mq.deleteTopic('t'), mq.topic<string>('t')]))
    expect(await run(third.send({ value: 'new' }))).toMatchObject({ offset: 0 })
  })
})
