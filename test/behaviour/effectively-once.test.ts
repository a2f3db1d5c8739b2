import { describe, expect, test } from 'vitest'
import { UnrecoverableError } from '../../src/errors.ts'
import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import type {
  HandlerContext,
  IdempotencyOptions,
  Message,
  MessageQueue,
  QueueEvents,
  Subscription,
} from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'

interface Payment {
  readonly id: string
  readonly amount: number
}

interface Wired {
  readonly mq: MessageQueue
  readonly subscription: Subscription
  /** Payments whose handler was called in this life. */
  readonly called: string[]
  readonly duplicates: QueueEvents['message:duplicate'][]
}

type Handler = (message: Message<Payment>, context: HandlerContext) => unknown

/** Adds the payment to a balance, and returns what it is now. */
const booking: Handler = ({ value }, context) => {
  const balances = context.store<number>('balances')
  const balance = (balances.get('all') ?? 0) + value.amount
  balances.put('all', balance)
  return balance
}

/** Payments without keys, so that they run beside each other. */
function openBank(
  handler: Handler = booking,
  idempotency: Omit<IdempotencyOptions<Payment>, 'store'> = { key: ({ value }) => value.id },
): Promise<TestQueue<Wired>> {
  return openTest<Wired>({
    wire: async (mq) => {
      const topic = await mq.topic<Payment>('payments')
      const called: string[] = []
      const duplicates: QueueEvents['message:duplicate'][] = []
      mq.on('message:duplicate', (event) => duplicates.push(event))
      const handle: Handler = (message, context) => {
        called.push(message.value.id)
        return handler(message, context)
      }
      const store = openLmdbIdempotencyStore(mq)
      const options = { from: 'earliest', attempts: 2, backoff: { delayMs: 10 } } as const
      const subscription = await topic.subscribe('bank', handle, { ...options, idempotency: { store, ...idempotency } })
      return { mq, subscription, called, duplicates }
    },
  })
}

async function balanceOf(t: TestQueue<Wired>): Promise<number> {
  return (await t.resolve(t.wired.mq.store<number>('balances'))).get('all') ?? 0
}

const pay = (t: TestQueue<Wired>, ...payments: [id: string, amount: number][]): Promise<unknown> =>
  Promise.all(payments.map(([id, amount]) => t.send('payments', { value: { id, amount } })))

describe('marks in the environment of the queue', () => {
  for (const at of ['settle:before', 'settle:applied', 'settle:flushed', 'commit:before', 'commit:applied'] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`ONCE-140: each payment is booked once, sent twice, with a ${kind} crash at ${at} and everything read again`, async () => {
        await using t = await openBank()
        await pay(t, ['a', 1], ['b', 10])
        await t.drain()
        t.faults.crash({ at, kind, ...(at.startsWith('settle') ? { group: 'bank' } : {}) })
        await pay(t, ['c', 100], ['a', 1], ['d', 1_000]).catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        await t.drain()
        const there = new Set(['a', 'b'])
        for (const { id } of await valuesOf(t)) there.add(id)
        const expected = [...there].reduce((sum, id) => sum + { a: 1, b: 10, c: 100, d: 1_000 }[id]!, 0)
        expect(await balanceOf(t)).toBe(expected)
        const before = t.wired.called.length
        await t.resolve(t.wired.subscription.seek('earliest'))
        await t.drain()
        expect(t.wired.called, 'a mark outlives the position of the group').toHaveLength(before)
        expect(await balanceOf(t)).toBe(expected)
      })
    }
  }

  test('ONCE-141: a second delivery is finished with the result of the first, without a call', async () => {
    await using t = await openBank()
    await pay(t, ['a', 5])
    await t.drain()
    await pay(t, ['a', 5], ['b', 2])
    await t.drain()
    expect(t.wired.called).toEqual(['a', 'b'])
    expect(t.wired.duplicates).toMatchObject([{ group: 'bank', offset: 1, idempotencyKey: 'bank/a', result: 5 }])
    t.assert.committed('bank', { payments: [3] })
  })

  test('ONCE-142: one that comes while the first is worked on waits for its outcome', async () => {
    let isFailing = true
    const seen: number[] = []
    await using t = await openBank(async (message, context) => {
      seen.push(message.offset)
      await Promise.resolve()
      if (isFailing) {
        isFailing = false
        throw new Error('not now')
      }
      return booking(message, context)
    })
    await pay(t, ['a', 5], ['a', 5])
    await t.drain()
    expect(await balanceOf(t)).toBe(5)
    expect(t.wired.duplicates).toHaveLength(1)
    expect(seen.length, 'one failed, one did the work').toBe(2)
  })

  test('ONCE-143: another payload under the same key is refused, and a failure for good is remembered', async () => {
    await using t = await openBank(() => {
      throw new UnrecoverableError('no such account')
    })
    await pay(t, ['a', 1])
    await t.drain({ allowDead: 9 })
    await pay(t, ['a', 2], ['a', 1])
    await t.drain({ allowDead: 9 })
    expect(t.wired.called, 'only the first was called for').toEqual(['a'])
    const failures = t.history
      .of('failed')
      .map(({ error }) => [(error as Error & { code?: string }).code, String(error)])
    expect(failures).toHaveLength(3)
    expect(failures[0]![1]).toContain('no such account')
    const later = failures.slice(1)
    expect(later.filter(([code]) => code === 'IDEMPOTENCY_MISMATCH')).toHaveLength(1)
    expect(later.filter(([, text]) => text?.includes('no such account'))).toHaveLength(1)
  })

  test('ONCE-144: a handler whose effects are refused is called again, and its key was not lost', async () => {
    let calls = 0
    await using t = await openBank(async (message, context) => {
      const balance = context.store<number>('balances').get('all') ?? 0
      if (calls++ === 0) await t.wired.mq.transaction((tx) => tx.store<number>('balances').put('all', 50))
      context.store<number>('balances').put('all', balance + message.value.amount)
    })
    await pay(t, ['a', 5])
    await t.drain()
    expect(calls).toBe(2)
    expect(await balanceOf(t)).toBe(55)
  })

  test('ONCE-145: a mark is kept for its time, and removed in the background after it', async () => {
    await using t = await openBank(booking, { key: ({ value }) => value.id, ttlMs: 100_000 })
    await pay(t, ['a', 5])
    await t.drain()
    await t.advance('99s')
    await pay(t, ['a', 5])
    await t.drain()
    expect(await balanceOf(t)).toBe(5)
    await t.advance('1s')
    await pay(t, ['a', 5])
    await t.drain()
    expect(await balanceOf(t)).toBe(10)
  })

  test('ONCE-146: without a key of its own each message is done once, however often it is handed out', async () => {
    await using t = await openBank(booking, {})
    await pay(t, ['a', 5], ['a', 5])
    await t.drain()
    t.crash('power')
    await t.restart()
    await t.resolve(t.wired.subscription.seek('earliest'))
    await t.drain()
    expect(await balanceOf(t)).toBe(10)
    expect(t.wired.called).toEqual([])
    expect(t.wired.duplicates).toHaveLength(2)
  })
})

async function valuesOf(t: TestQueue<Wired>): Promise<Payment[]> {
  const topic = await t.resolve(t.wired.mq.topic<Payment>('payments'))
  const values: Payment[] = []
  for await (const { value } of topic.read()) values.push(value)
  return values
}
