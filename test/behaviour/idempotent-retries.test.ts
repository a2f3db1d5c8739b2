import { describe, expect, test } from 'vitest'
import type { HandlerContext, Message, PulledMessage } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { byText, Server } from './idempotency-server.ts'

describe('what asks to be tried again', () => {
  /** A time of its own, later than the lease. */
  const askedMs = 60_000

  for (const kind of ['context.retryAt', 'throw'] as const) {
    test(`ONCE-1: ${kind} leaves no mark and frees the key: the message comes at its time, and is done once`, async () => {
      const server = new Server()
      let calls = 0
      const t = await openTest({
        wire: async (mq, { clock }) => {
          server.now = () => clock.now()
          const topic = await mq.topic<string>('t')
          const backoff = { type: 'fixed', delayMs: askedMs, jitter: 0, maxDelayMs: askedMs } as const
          const idempotency = { store: server.store, leaseMs: 1_000, key: byText }
          const handler = (_: Message<string>, context: HandlerContext): void => {
            if (++calls > 1) return
            if (kind === 'throw') throw new Error('not yet')
            context.retryAt(clock.now() + askedMs)
          }
          await topic.subscribe('g', handler, { from: 'earliest', backoff, idempotency })
        },
      })
      await using _ = t
      await t.send('t', { value: 'a' })
      await t.advance(10)
      expect(calls).toBe(1)
      const other = { owner: 'other', leaseMs: 1 }
      expect(await server.inner.begin('g/a', other), 'free while it waits').toMatchObject({ outcome: 'acquired' })
      const { elapsedMs } = await t.drain()
      expect(elapsedMs).toBe(askedMs - 10)
      expect(calls).toBe(2)
      expect(await server.inner.begin('g/a', other)).toMatchObject({ outcome: 'done' })
      expect(t.group('g').delivered.map(({ attempt }) => attempt)).toEqual([1, 2])
    })
  }
})

describe('messages that are pulled', () => {
  /** Pulls from a subscription with a store, and tells what came and what was told. */
  async function pulling(take: (message: PulledMessage<string>) => unknown): Promise<{
    t: TestQueue
    server: Server
    pulled: string[]
    duplicates: number[]
  }> {
    const server = new Server()
    const pulled: string[] = []
    const duplicates: number[] = []
    const t = await openTest({
      wire: async (mq, { clock }) => {
        server.now = () => clock.now()
        const topic = await mq.topic<string>('t')
        mq.on('message:duplicate', ({ offset }) => duplicates.push(offset))
        const options = { from: 'earliest', backoff: { type: 'fixed', delayMs: 100, jitter: 0 } } as const
        const idempotency = { store: server.store, key: byText, fingerprint: () => undefined }
        const stream = await topic.subscribe('g', { ...options, idempotency })
        const loop = async (): Promise<void> => {
          for await (const message of stream) {
            pulled.push(message.value)
            take(message)
          }
        }
        void loop().catch(() => {})
      },
    })
    return { t, server, pulled, duplicates }
  }

  test('ONCE-1: the ack of one marks its key, and a repeat is never pulled', async () => {
    const { t, server, pulled, duplicates } = await pulling((message) => void message.ack())
    await using _ = t
    for (const value of ['a:1', 'a:2', 'b:1', 'a:3']) await t.send('t', { value })
    await t.drain()
    expect([pulled, duplicates]).toEqual([
      ['a:1', 'b:1'],
      [1, 3],
    ])
    expect(await server.inner.begin('g/a', { owner: 'o', leaseMs: 1 })).toMatchObject({ outcome: 'done' })
    t.assert.committed('g', { t: [4] })
  })

  test('ONCE-1: a nack marks nothing: it is pulled again, and done then', async () => {
    const { t, pulled, duplicates } = await pulling((message) => {
      void (message.attempt === 1 ? message.nack({ delayMs: 5_000 }) : message.ack())
    })
    await using _ = t
    await t.send('t', { value: 'a:1' })
    expect((await t.drain()).elapsedMs).toBe(5_000)
    await t.send('t', { value: 'a:2' })
    await t.drain()
    expect([pulled, duplicates]).toEqual([['a:1', 'a:1'], [1]])
  })

  test('ONCE-6: an ack while the store is away resolves once its mark is there', async () => {
    const order: string[] = []
    const { t, server, pulled } = await pulling((message) => {
      server.goAway()
      void message.ack().then(() => order.push('acknowledged'))
    })
    await using _ = t
    await t.send('t', { value: 'a:1' })
    await t.advance('1m')
    expect([pulled, order]).toEqual([['a:1'], []])
    server.away = undefined
    await t.drain()
    expect([pulled, order]).toEqual([['a:1'], ['acknowledged']])
    expect(await server.inner.begin('g/a', { owner: 'o', leaseMs: 1 })).toMatchObject({ outcome: 'done' })
  })
})
