import type { HandlerContext, Message, StateStore, Subscription } from '../../src/index.ts'
import { attempt, backoff, sendAll, topicsOf, wait, work, type Flow, type Wired, type Work } from './flow.ts'

interface Books extends Wired {
  /** How often each payment was booked. */
  readonly booked: StateStore<number>
  readonly totals: StateStore<number>
}

/** Every payment of the flow; some are sent twice. */
const payments = ['a', 'b', 'c'] as const

/** Flows of what commits with an acknowledgement, by name. */
export const effectFlows: Readonly<Record<string, Flow>> = {
  booked: {
    about: 'payments that are sent twice, booked under a mark in the same environment; handlers that read the same row',
    options: ({ idempotency }) => ({
      name: 'booked',
      faults: ['schedule', 'crash', 'power', 'handlerError', 'storeFull', 'wallClock'],
      async wire(mq, { clock }) {
        const topics = await topicsOf(mq, 1, 'payments')
        const booked = await mq.store<number>('booked')
        const totals = await mq.store<number>('totals')
        const book = async ({ value }: Message<Work>, context: HandlerContext): Promise<void> => {
          const before = context.store(totals).get('all') ?? 0
          const times = context.store(booked).get(value.id) ?? 0
          await clock.sleep(value.ms ?? 1)
          context.store(totals).put('all', before + 1)
          context.store(booked).put(value.id, times + 1)
        }
        const store = idempotency.openLmdbIdempotencyStore(mq)
        const subscription = await topics[0]!.subscribe('bank', book, {
          from: 'earliest',
          concurrency: 2,
          backoff,
          idempotency: { store, key: ({ value }) => value.id },
        })
        const wired: Books = { mq, topics, subscriptions: [subscription], booked, totals }
        return wired
      },
      async scenario(test) {
        await sendAll(test, 'payments', [
          { id: 'a', ms: 4 },
          { id: 'b', ms: 2 },
        ])
        await wait(test, 60)
        await sendAll(test, 'payments', [{ id: 'a' }, { id: 'c' }, { id: 'b' }])
        await wait(test, 60)
      },
      check(test) {
        const { booked, totals } = test.wired as Books
        const wrong = payments.filter((id) => booked.get(id) !== 1)
        if (wrong.length > 0) throw new Error(`booked not once: ${wrong.join(', ')}`)
        const total = totals.get('all')
        if (total !== payments.length) throw new Error(`the total is ${total}, not ${payments.length}`)
      },
    }),
  },

  hasty: {
    about:
      'messages that are finished before their handlers are called, some of which fail or take too long; all faults',
    options: () => ({
      name: 'hasty',
      allowDead: 1_000,
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'orders')
        const options = { from: 'earliest', concurrency: 2, ackMode: 'before', handlerTimeoutMs: 8 } as const
        const join = (): Promise<Subscription> => topics[0]!.subscribe('billing', work(context), options)
        return { mq, topics, subscriptions: [await join()], join }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 3, fails: 1 },
          { id: 'b1', key: 'b', partition: 0, ms: 2 },
          { id: 'a2', key: 'a', partition: 0, ms: 1 },
          { id: 'c1', key: 'c', partition: 1, ms: 12 },
          { id: 'd1', partition: 1, ms: 2 },
        ])
        await wait(test, 3)
        attempt(() => test.wired.subscriptions[0]!.seek('earliest', { partition: 1 }))
        await wait(test, 10)
        attempt(async () => void test.wired.subscriptions.push(await test.wired.join!()))
        await sendAll(test, 'orders', [
          { id: 'b2', key: 'b', partition: 0, ms: 4 },
          { id: 'c2', key: 'c', partition: 1, ms: 1 },
        ])
        attempt(() => test.wired.subscriptions[0]!.close({ timeoutMs: 2, abandon: true }))
        await wait(test, 40)
      },
    }),
  },

  forwarded: {
    about: 'each message is sent on by its handler, some of them are given up and move to the dead letters',
    options: () => ({
      name: 'forwarded',
      faults: ['schedule', 'crash', 'power', 'handlerError', 'slow', 'rebalance', 'wallClock'],
      allowDead: 1_000,
      async wire(mq, { clock }) {
        const topics = await topicsOf(mq, 2, 'orders', 'invoices')
        const [orders, invoices] = topics
        const forward = async (message: Message<Work>, context: HandlerContext): Promise<void> => {
          const { key, value, attempt } = message
          context.send(invoices!, { ...(key === undefined ? {} : { key }), value: { id: value.id } })
          await clock.sleep(value.ms ?? 1)
          if (attempt <= (value.fails ?? 0)) throw new Error(`${value.id} fails`)
        }
        const options = { from: 'earliest', concurrency: 3, attempts: 2, backoff } as const
        const subscription = await orders!.subscribe('billing', forward, options)
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 3, fails: 1 },
          { id: 'b1', key: 'b', partition: 0, ms: 2, fails: 9 },
          { id: 'b2', key: 'b', partition: 0, ms: 1 },
          { id: 'c1', key: 'c', partition: 1, ms: 4 },
        ])
        await wait(test, 60)
        await sendAll(test, 'orders', [{ id: 'a2', key: 'a', partition: 0, ms: 1 }])
        await wait(test, 20)
      },
    }),
  },
}
