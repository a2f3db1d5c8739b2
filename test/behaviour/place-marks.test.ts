import { describe, expect, test } from 'vitest'
import { UnrecoverableError } from '../../src/errors.ts'
import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import type {
  HandlerContext,
  Message,
  MessageQueue,
  QueueEvents,
  SubscribeOptions,
  Subscription,
  Topic,
} from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'

interface Wired {
  readonly mq: MessageQueue
  readonly topic: Topic<number>
  readonly subscription: Subscription
  /** Values whose handler was called in this life. */
  readonly called: number[]
  readonly duplicates: QueueEvents['message:duplicate'][]
  readonly deferred: QueueEvents['message:deferred'][]
  /** Subscribes the group once more. */
  readonly join: () => Promise<Subscription>
}

type Handler = (message: Message<number>, context: HandlerContext) => unknown

interface Given extends Omit<SubscribeOptions<number>, 'batch' | 'idempotency'> {
  readonly handler?: Handler
  readonly ttlMs?: number
  readonly partitions?: number
}

/** Adds the value to a sum that commits with the message. */
const summing: Handler = ({ value }, context) => {
  const sums = context.store<number>('sums')
  sums.put('all', (sums.get('all') ?? 0) + value)
}

/** A group that names no keys, with its marks in the queue. */
function openApp({ handler = summing, ttlMs, partitions = 2, ...options }: Given = {}): Promise<TestQueue<Wired>> {
  return openTest<Wired>({
    wire: async (mq) => {
      const topic = await mq.topic<number>('t', { partitions })
      const called: number[] = []
      const duplicates: QueueEvents['message:duplicate'][] = []
      const deferred: QueueEvents['message:deferred'][] = []
      mq.on('message:duplicate', (event) => duplicates.push(event))
      mq.on('message:deferred', (event) => deferred.push(event))
      const handle: Handler = (message, context) => {
        called.push(message.value)
        return handler(message, context)
      }
      const idempotency = { store: openLmdbIdempotencyStore(mq), ...(ttlMs === undefined ? {} : { ttlMs }) }
      const join = (): Promise<Subscription> =>
        topic.subscribe('g', handle, {
          from: 'earliest',
          attempts: 2,
          backoff: { delayMs: 10, jitter: 0 },
          ...options,
          idempotency,
        })
      return { mq, topic, subscription: await join(), called, duplicates, deferred, join }
    },
  })
}

async function sumOf(t: TestQueue<Wired>): Promise<number> {
  return (await t.resolve(t.wired.mq.store<number>('sums'))).get('all') ?? 0
}

const sendAll = (t: TestQueue<Wired>, ...values: number[]): Promise<unknown> =>
  Promise.all(values.map((value) => t.send('t', { value, partition: value % 2 })))

/** Everything is handed out once more. */
async function again(t: TestQueue<Wired>): Promise<void> {
  await t.resolve(t.wired.subscription.seek('earliest'))
  await t.drain()
}

describe('marks of messages without keys', () => {
  test('ONCE-170: a group that is moved back calls for nothing that is marked, block after block, in the life that marked it and later', async () => {
    await using t = await openApp()
    const count = 1_300
    const { topic } = t.wired
    await t.resolve(topic.sendBatch(Array.from({ length: count }, (_, value) => ({ value, partition: value % 2 }))))
    await t.drain()
    expect(t.wired.called).toHaveLength(count)
    const sum = await sumOf(t)
    await again(t)
    expect(t.wired.called).toHaveLength(count)
    t.crash('power')
    await t.restart()
    await sendAll(t, 5, 6)
    await again(t)
    expect(t.wired.called, 'only what is new').toEqual([5, 6])
    expect(t.wired.duplicates.length).toBeGreaterThanOrEqual(count)
    expect(await sumOf(t)).toBe(sum + 11)
  })

  test('ONCE-171: what the handler returned is remembered, and so is a failure for good', async () => {
    await using t = await openApp({
      handler: ({ value }) => {
        if (value === 2) throw new UnrecoverableError('no two')
        return { twice: value * 2 }
      },
    })
    await sendAll(t, 1, 2)
    await t.drain({ allowDead: 9 })
    expect(t.wired.called.toSorted((a, b) => a - b)).toEqual([1, 2])
    t.crash('power')
    await t.restart()
    await t.resolve(t.wired.subscription.seek('earliest'))
    await t.drain({ allowDead: 9 })
    expect(t.wired.called).toEqual([])
    expect(t.wired.duplicates.map(({ result }) => result)).toEqual([{ twice: 2 }])
    const { error } = t.history.of('failed').at(-1)!
    expect(String(error)).toContain('no two')
  })

  test('ONCE-172: while an abandoned handler runs its message is not handed to another, and is when that has failed', async () => {
    let fail: ((error: Error) => void) | undefined
    await using t = await openApp({
      handler: (message, context) => {
        if (t.wired.called.length > 1) return summing(message, context)
        return new Promise<void>((_, reject) => (fail = reject))
      },
    })
    await sendAll(t, 7)
    await t.settle()
    await t.resolve(t.wired.subscription.close({ timeoutMs: 0, abandon: true }))
    await t.resolve(t.wired.join())
    await t.advance('3s')
    expect(t.wired.called, 'the first call goes on').toEqual([7])
    expect(t.wired.deferred.length).toBeGreaterThan(1)
    fail!(new Error('too late'))
    await t.advance('5s')
    expect(t.wired.called).toEqual([7, 7])
    expect(await sumOf(t)).toBe(7)
  })

  test('ONCE-172: a failed attempt, and effects that were refused, leave the message to the next attempt', async () => {
    let calls = 0
    await using t = await openApp({
      handler: async (message, context) => {
        const sum = context.store<number>('sums').get('all') ?? 0
        calls++
        if (calls === 1) throw new Error('not now')
        if (calls === 2) await t.wired.mq.transaction((tx) => tx.store<number>('sums').put('all', 50))
        context.store<number>('sums').put('all', sum + message.value)
      },
    })
    await sendAll(t, 4)
    await t.advance('5s')
    expect(calls).toBe(3)
    expect(await sumOf(t)).toBe(54)
  })

  test('ONCE-173: a mark is kept for its time, also beside older ones, and its message is worked on again after it', async () => {
    await using t = await openApp({ ttlMs: 100_000, partitions: 2 })
    await sendAll(t, 2)
    await t.drain()
    await t.advance('60s')
    await sendAll(t, 4)
    await t.drain()
    await t.advance('90s')
    await again(t)
    expect(t.wired.called, 'the younger mark keeps the older one').toEqual([2, 4])
    await t.advance('11s')
    await again(t)
    expect(t.wired.called.toSorted((a, b) => a - b)).toEqual([2, 2, 4, 4])
  })

  test('ONCE-174: a topic that is made again under its name has no marks of the old one', async () => {
    await using t = await openApp({ partitions: 2 })
    await sendAll(t, 1, 2, 3)
    await t.drain()
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.wired.mq.deleteTopic('t'))
    const topic = await t.resolve(t.wired.mq.topic<number>('t', { partitions: 2 }))
    await t.resolve(topic.sendBatch([1, 2, 3].map((value) => ({ value: value * 10, partition: value % 2 }))))
    const seen: number[] = []
    const idempotency = { store: openLmdbIdempotencyStore(t.wired.mq) }
    const subscription = await t.resolve(
      topic.subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest', idempotency }),
    )
    await t.drain()
    expect(seen.toSorted((a, b) => a - b)).toEqual([10, 20, 30])
    await t.resolve(subscription.seek('earliest'))
    await t.drain()
    expect(seen).toHaveLength(3)
  })

  test('ONCE-174: a group that is deleted and made again finds its marks; another group has none of them', async () => {
    await using t = await openApp()
    await sendAll(t, 1, 2)
    await t.drain()
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.wired.mq.group('g').delete())
    await t.resolve(t.wired.join())
    await t.drain()
    expect(t.wired.called.toSorted((a, b) => a - b)).toEqual([1, 2])
    expect(t.wired.duplicates).toHaveLength(2)
    const seen: number[] = []
    const idempotency = { store: openLmdbIdempotencyStore(t.wired.mq) }
    const { topic } = t.wired
    await t.resolve(topic.subscribe('h', ({ value }) => void seen.push(value), { from: 'earliest', idempotency }))
    await t.drain()
    expect(seen.toSorted((a, b) => a - b)).toEqual([1, 2])
  })

  for (const at of ['settle:before', 'settle:applied', 'settle:flushed', 'commit:before', 'commit:applied'] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`ONCE-176: an effect is there exactly when its mark is, with a ${kind} crash at ${at}`, async () => {
        await using t = await openApp()
        await sendAll(t, 1, 2)
        await t.drain()
        t.faults.crash({ at, kind, ...(at.startsWith('settle') ? { group: 'g' } : {}) })
        await sendAll(t, 100, 201, 400).catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        // What is marked is not worked on again, so that a mark without its effect shows in the sum, and the other way round.
        await again(t)
        const { topic } = t.wired
        const values: number[] = []
        const read = async (): Promise<void> => {
          for await (const { value } of topic.read()) values.push(value)
        }
        await t.resolve(read())
        expect(await sumOf(t)).toBe(values.reduce((sum, value) => sum + value, 0))
        const before = t.wired.called.length
        await again(t)
        expect(t.wired.called).toHaveLength(before)
      })
    }
  }

  test('ONCE-170: a message with an id of its own is marked by its place, too: sent again outside of the window it is another message', async () => {
    await using t = await openApp()
    const send = (): Promise<unknown> => t.send('t', { value: 3, id: 'three', partition: 0 })
    await send()
    await t.advance('10m')
    await send()
    await t.drain()
    expect(t.wired.called).toEqual([3, 3])
    await again(t)
    expect(t.wired.called).toEqual([3, 3])
    expect(t.wired.duplicates.map(({ idempotencyKey }) => idempotencyKey.replace(/\.\w+$/, ''))).toEqual([
      'g/t/three',
      'g/t/three',
    ])
  })
})
