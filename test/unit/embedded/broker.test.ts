import { describe, expect, test } from 'vitest'
import type { MessageQueue } from '../../../src/index.ts'
import { openOn, queueDefaults } from '../../../src/open.ts'
import { openMemoryStorage, type MemoryStorage } from '../../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'

interface Scene {
  readonly mq: MessageQueue
  readonly runtime: VirtualRuntime
  readonly storage: MemoryStorage
}

async function scene(options: Partial<ReturnType<typeof queueDefaults>> = {}): Promise<Scene> {
  const runtime = new VirtualRuntime()
  const storage = openMemoryStorage({ runtime, durable: true })
  const mq = await runtime.resolve(openOn(storage, runtime, { ...queueDefaults(), ...options }))
  return { mq, runtime, storage }
}

const rows = (storage: MemoryStorage, table: 'log' | 'progress'): number =>
  storage.keys(table, { from: Buffer.alloc(1), to: Buffer.alloc(16, 255), limit: 1e6 }).length

describe('the embedded broker', () => {
  test('a buffer may be changed as soon as send returned, also when the send waits for room', async () => {
    const { mq, runtime } = await scene({ maxInFlightBytes: 1024 })
    const topic = await runtime.resolve(mq.topic<Uint8Array>('t', { codec: 'bytes' }))
    const buffer = Buffer.alloc(1000)
    const sends = [1, 2, 3].map((value) => {
      buffer.fill(value)
      return topic.send({ value: buffer })
    })
    buffer.fill(4)
    sends.push(topic.sendBatch([{ value: buffer }]).then(([result]) => result!))
    buffer.fill(9)
    await runtime.resolve(Promise.all(sends))
    const values: number[] = []
    for (const reader = topic.read(); ;) {
      const { value, done } = await runtime.resolve(reader.next())
      if (done) break
      values.push(value.value[0]!)
    }
    expect(values).toEqual([1, 2, 3, 4])
  })

  test('bytes are handed out as a copy of their own, to every group and every attempt', async () => {
    const { mq, runtime } = await scene()
    const topic = await runtime.resolve(mq.topic<Uint8Array>('t', { codec: 'bytes' }))
    await runtime.resolve(topic.sendBatch([{ value: Buffer.from([1, 2]) }, { value: Buffer.from([3, 4]) }]))
    const seen: number[][] = []
    for (const group of ['a', 'b']) {
      const options = { from: 'earliest', backoff: { delayMs: 5 } } as const
      const subscription = await runtime.resolve(
        topic.subscribe(
          group,
          (message) => {
            seen.push([...message.value])
            message.value.fill(0)
            if (message.attempt === 1) throw new Error('once more')
          },
          options,
        ),
      )
      await runtime.resolve(subscription.drain())
    }
    expect(seen.map((value) => value.join()).sort()).toEqual(['1,2', '1,2', '1,2', '1,2', '3,4', '3,4', '3,4', '3,4'])
  })

  test('deleting a topic leaves nothing of it: no batches, no progress of any group', async () => {
    const { mq, runtime, storage } = await scene()
    const topic = await runtime.resolve(mq.topic<number>('t', { partitions: 2 }))
    for (const group of ['a', 'b']) {
      await runtime.resolve(topic.subscribe(group, () => {}, { from: 'earliest' }))
    }
    await runtime.resolve(topic.sendBatch(Array.from({ length: 20 }, (_, i) => ({ key: String(i), value: i }))))
    await runtime.settle()
    expect(rows(storage, 'progress')).toBeGreaterThan(0)
    await runtime.resolve(mq.deleteTopic('t'))
    await runtime.settle()
    expect([rows(storage, 'log'), rows(storage, 'progress')]).toEqual([0, 0])
  })

  test('deleting a group leaves nothing of it', async () => {
    const { mq, runtime, storage } = await scene()
    const topic = await runtime.resolve(mq.topic<number>('t', { partitions: 2 }))
    const subscription = await runtime.resolve(
      topic.subscribe(
        'g',
        (message) => {
          if (message.value === 0) throw new Error('stuck')
        },
        { from: 'earliest', attempts: 1, onExhausted: 'park-key' },
      ),
    )
    await runtime.resolve(topic.sendBatch(Array.from({ length: 20 }, (_, i) => ({ key: String(i), value: i }))))
    await runtime.resolve(subscription.idle())
    await runtime.resolve(subscription.close())
    // Two positions, a page of finished offsets, and the message that failed.
    expect(rows(storage, 'progress')).toBe(4)
    await runtime.resolve(mq.group('g').delete())
    expect(rows(storage, 'progress')).toBe(0)
    expect(mq.groups()).toEqual([])
  })

  test('retention by size keeps what fits while an earlier trim is still being removed', async () => {
    const { mq, runtime } = await scene({ retentionCheckMs: 10 })
    const topic = await runtime.resolve(mq.topic<string>('t'))
    for (let i = 0; i < 1000; i++) await runtime.resolve(topic.send({ value: 'x'.repeat(100) }))
    const { bytes } = mq.stats().store
    // Room for some 500 of the 1,000 batches; 600 are trimmed by hand, so that the other 400 fit.
    const trimmed = topic.trim(0, 600)
    const configured = topic.configure({ retention: { maxBytes: Math.floor(bytes / 2) } })
    await runtime.advance(10)
    await runtime.resolve(Promise.all([trimmed, configured]))
    await runtime.advance(100)
    expect(topic.offsets()).toEqual([{ start: 600, end: 1000 }])
  })
})
