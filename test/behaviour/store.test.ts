import { existsSync, openSync, closeSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { logKey } from '../../src/key-layout.ts'
import type { Message, MessageQueue } from '../../src/index.ts'
import { diskQueue, freshDirectory, messagesOf, virtualQueue } from './queue.ts'

/** Everything that a queue holds, in an order that two equal ones share. */
async function contentOf(mq: MessageQueue): Promise<unknown> {
  const topics: Record<string, unknown> = {}
  for (const name of mq.topics().toSorted()) {
    const topic = await mq.topic(name)
    const messages: unknown[] = []
    for (let partition = 0; partition < topic.partitions; partition++) {
      for await (const message of topic.read({ partition }))
        messages.push((message as { toJSON?(): unknown }).toJSON!())
    }
    topics[name] = { settings: topic.settings, offsets: topic.offsets(), messages }
  }
  const groups = mq.groups().toSorted()
  const positions = groups.map((name) => {
    return mq
      .group(name)
      .positions()
      .map(({ topic, partition, position, finishedAbove }) => {
        return `${name} ${topic}/${partition} ${position} ${finishedAbove}`
      })
  })
  return { topics, groups, positions }
}

/** Two topics, two groups, one of them with finished messages above its position. */
async function fill(mq: MessageQueue): Promise<void> {
  const topic = await mq.topic<string>('orders', { partitions: 3 })
  const other = await mq.topic<Uint8Array>('raw', { codec: 'bytes', retention: { maxAgeMs: 3_600_000 } })
  for (let i = 0; i < 20; i++) {
    await topic.sendBatch(messagesOf(...Array.from({ length: 50 }, (_, j) => `k${(i * 50 + j) % 31}:${i}.${j}`)))
  }
  await other.send({ value: Buffer.from([1, 2, 3]), headers: { a: 'b' } })
  await topic.trim(1, 5)
  const isStuck = ({ offset }: Message<unknown>): boolean => offset % 100 === 40
  const partly = await topic.subscribe(
    'partly',
    (message) => {
      if (isStuck(message)) throw new Error('stuck')
    },
    { from: 'earliest', attempts: 1, onExhausted: 'park-key' },
  )
  const whole = await mq.subscribe<unknown>([topic, other] as never, 'whole', () => {}, { from: 'earliest' })
  await partly.drain()
  await whole.drain()
  await partly.close()
  await whole.close()
}

describe('a queue on disk', () => {
  test('DURA-47: reopening keeps messages, ids, settings, groups and their exact progress', async () => {
    const path = join(freshDirectory(), 'store')
    let mq = await diskQueue(path)
    await fill(mq)
    const before = await contentOf(mq)
    await mq.close()
    mq = await diskQueue(path)
    expect(await contentOf(mq)).toEqual(before)
    expect(await mq.verify()).toMatchObject({ ok: true, damages: [], messages: expect.any(Number) })
    const seen: number[] = []
    const topic = await mq.topic<string>('orders')
    const subscription = await topic.subscribe('partly', ({ offset }) => void seen.push(offset % 100))
    // What was parked stays so until it is told to go on.
    subscription.release()
    await subscription.drain()
    expect(new Set(seen.slice(0, 1))).toEqual(new Set([40]))
    expect((await topic.send({ value: 'next', partition: 0 })).offset).toBe(topic.offsets()[0]!.end - 1)
  })

  test('DURA-48: a backup of a live queue opens as an equal one, and neither knows of the other', async () => {
    const base = freshDirectory()
    const mq = await diskQueue(join(base, 'store'))
    await fill(mq)
    const before = await contentOf(mq)
    await mq.backup(join(base, 'copy'))
    const topic = await mq.topic<string>('orders')
    await topic.send({ value: 'later' })
    const copy = await diskQueue(join(base, 'copy'))
    expect(await contentOf(copy)).toEqual(before)
    expect(await copy.verify()).toMatchObject({ ok: true })
    await (await copy.topic('orders')).send({ value: 'its own' })
    await expect(mq.backup(join(base, 'copy'))).rejects.toMatchObject({ code: expect.any(String) })
  })

  test('DURA-49: a backup taken while sends go on holds everything acknowledged before it began, and no torn batch', async () => {
    const base = freshDirectory()
    const mq = await diskQueue(join(base, 'store'))
    const topic = await mq.topic<number>('t', { partitions: 2 })
    let isOver = false
    let batches = 0
    const sending = (async () => {
      while (!isOver) {
        const value = batches
        await topic.sendBatch(Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value })))
        batches++
      }
    })()
    while (batches < 20) await turn()
    const before = batches
    await mq.backup(join(base, 'copy'))
    isOver = true
    await sending
    const copy = await diskQueue(join(base, 'copy'))
    const counts = new Map<number, number>()
    for await (const { value } of (await copy.topic<number>('t')).read())
      counts.set(value, (counts.get(value) ?? 0) + 1)
    expect(counts.size).toBeGreaterThanOrEqual(before)
    expect(new Set(counts.values())).toEqual(new Set([20]))
  })

  test('LOSS-48: compacting keeps everything, while sends and groups go on', async () => {
    const path = join(freshDirectory(), 'store')
    let mq = await diskQueue(path)
    const topic = await mq.topic<string>('t', { partitions: 2 })
    const value = 'x'.repeat(2_000)
    for (let i = 0; i < 40; i++) await topic.sendBatch(Array.from({ length: 50 }, () => ({ value })))
    for (const partition of [0, 1]) await topic.trim(partition, topic.offsets()[partition]!.end - 10)
    const seen = new Set<string>()
    const subscription = await topic.subscribe('g', ({ id }) => void seen.add(id), { from: 'earliest' })
    let isOver = false
    let sent = 0
    const sending = (async () => {
      for (; !isOver; sent++) await topic.send({ key: `k${sent}`, value: `${sent}` })
    })()
    while (sent < 10) await turn()
    const { before, after } = await mq.compact()
    isOver = true
    await sending
    expect(after).toBeLessThan(before / 2)
    await subscription.drain()
    expect(seen.size).toBe(20 + sent)
    expect(await mq.verify()).toMatchObject({ ok: true })
    const content = await contentOf(mq)
    await mq.close()
    mq = await diskQueue(path)
    expect(await contentOf(mq)).toEqual(content)
  })

  test('LOSS-49: verify() finds a flipped bit in a stored batch and says where; it is never handed out', async () => {
    const path = join(freshDirectory(), 'store')
    let mq = await diskQueue(path)
    const topic = await mq.topic<string>('t', { partitions: 2 })
    for (let i = 0; i < 20; i++) await topic.send({ value: `needle-${i}-`.padEnd(3_000, 'abc'), partition: 1 })
    await mq.close()
    const file = join(path, 'data.mdb')
    const place = readFileSync(file).indexOf('needle-7-')
    const handle = openSync(file, 'r+')
    writeSync(handle, 'X', place + 1_500)
    closeSync(handle)
    mq = await diskQueue(path)
    const report = await mq.verify()
    expect(report.ok).toBe(false)
    expect(report.damages).toEqual([expect.stringMatching(/t\/1: batch at offset 7\b/)])
    const seen: string[] = []
    const subscription = await (
      await mq.topic<string>('t')
    ).subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest' })
    await expect(subscription.idle()).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
    expect(seen.every((value, i) => value.startsWith(`needle-${i}-`) && !value.includes('X'))).toBe(true)
    expect(seen).toHaveLength(7)
  })

  test('a queue that another one has open is refused, and says who has it', async () => {
    const path = join(freshDirectory(), 'store')
    const mq = await diskQueue(path)
    await expect(diskQueue(path)).rejects.toMatchObject({ code: 'STORE_LOCKED', retriable: true, pid: process.pid })
    await mq.close()
    await (await diskQueue(path)).close()
  })

  test('a directory that is none of ours is refused and left as it is', async () => {
    const path = freshDirectory()
    writeFileSync(join(path, 'data.mdb'), 'not a store at all'.repeat(1_000))
    await expect(diskQueue(path)).rejects.toMatchObject({ code: 'NOT_A_STORE' })
    expect(readFileSync(join(path, 'data.mdb'), 'utf8').startsWith('not a store')).toBe(true)
    expect(existsSync(join(path, 'lock.mdb'))).toBe(false)
  })
})

describe('verify() of a log', () => {
  test('LOSS-50: a batch that is missing at the beginning, in the middle or at the end is found', async () => {
    for (const missing of [0, 3, 9]) {
      const queue = await virtualQueue()
      const { mq, run, storage } = queue
      const topic = await run(mq.topic<string>('t'))
      for (let i = 0; i < 10; i++) await run(topic.send({ value: `${i}` }))
      expect(await run(mq.verify())).toEqual({ ok: true, batches: 10, messages: 10, damages: [] })
      queue.sabotage('a batch of the log is removed behind its back')
      const writes = storage.batch()
      const [first] = storage.keys('log', { from: logKey(0, 0), to: logKey(1_000, 0), limit: 1 })
      const id = Buffer.from(first!).readUInt32BE(0)
      writes.remove('log', logKey(id, missing))
      await run(storage.commit(writes))
      const { ok, damages } = await run(mq.verify())
      expect([ok, damages.length], String(missing)).toEqual([false, 1])
      expect(damages[0]).toContain('t/0')
    }
  })

  test('LOSS-51: sends and trims between two of its steps are no damage', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const long = await run(mq.topic<string>('long'))
    const short = await run(mq.topic<string>('short'))
    await run(mq.subscribe([long, short], 'g', () => {}, { from: 'earliest' }))
    for (let i = 0; i < 200; i++) await run(long.send({ value: `${i}` }))
    await run(short.send({ value: '1' }))
    const act = runtime.act.bind(runtime)
    let steps = 0
    runtime.act = (label, task) =>
      act(label, () => {
        if (label === 'verify') {
          steps++
          void long.trim(0, Math.min(190, long.offsets()[0]!.start + 30))
          // Buffered messages are seen before they are on disk.
          for (const topic of [long, short]) void topic.send({ value: 'late' }, { acks: 'buffered' })
        }
        return task()
      })
    const { damages } = await run(mq.verify())
    expect(damages).toEqual([])
    expect(steps).toBeGreaterThan(3)
  })
})
