import type { Message, Producer, PulledMessage, Subscription, Topic } from '../../src/index.ts'
import { effectFlows } from './effect-flows.ts'
import { redriveFlows } from './redrive-flows.ts'
import { attempt, backoff, sendAll, topicsOf, wait, work, type Flow, type Work } from './flow.ts'
import { noIdleHands } from './idle-hands.ts'

/** By its name. */
export const flows: Readonly<Record<string, Flow>> = {
  ...effectFlows,
  ...redriveFlows,

  orders: {
    about: 'two groups, keys, handlers of different lengths, some that fail; all faults',
    options: () => ({
      name: 'orders',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'orders')
        const [orders] = topics as [Topic<Work>]
        const handler = work(context)
        const billing = await orders.subscribe('billing', handler, {
          from: 'earliest',
          concurrency: 3,
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
        })
        const mail = await orders.subscribe('mail', ({ value }) => void value, {
          from: 'earliest',
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
        })
        return { mq, topics, subscriptions: [billing, mail] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 9, fails: 1 },
          { id: 'b1', key: 'b', partition: 0, ms: 2 },
          { id: 'a2', key: 'a', partition: 0, ms: 1 },
        ])
        await sendAll(test, 'orders', [
          { id: 'c1', key: 'c', partition: 1, ms: 5, fails: 1 },
          { id: 'd1', key: 'd', partition: 1, ms: 3 },
          { id: 'b2', key: 'b', partition: 0, ms: 1 },
        ])
        await wait(test, 25)
        await sendAll(test, 'orders', [
          { id: 'a3', key: 'a', partition: 0, ms: 1 },
          { id: 'c2', key: 'c', partition: 1, ms: 1 },
        ])
      },
    }),
  },

  parallel: {
    about:
      'two topics in one subscription with the same keys, no keys, one lane a partition: nobody waits for another one',
    options: () => ({
      name: 'parallel',
      // After a crash messages would run one by one for a while.
      queue: { countCrashes: false },
      invariants: [noIdleHands],
      faults: ['schedule', 'crash', 'power', 'handlerError', 'slow', 'stuck'],
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'left', 'right')
        const [left] = topics as [Topic<Work>]
        const handler = work(context)
        const both = await mq.subscribe(topics, 'both', handler, {
          from: 'earliest',
          concurrency: 4,
          attempts: 2,
          onExhausted: 'park-key',
          backoff,
        })
        const whole = {
          from: 'earliest',
          ordering: 'partition',
          attempts: 5,
          onExhausted: 'park-key',
          backoff,
        } as const
        return { mq, topics, subscriptions: [both, await left.subscribe('whole', handler, whole)] }
      },
      async scenario(test) {
        await sendAll(test, 'left', [
          { id: 'l1', key: 'a', partition: 0, ms: 5 },
          { id: 'l2', partition: 0, ms: 5 },
          { id: 'l3', partition: 0, ms: 5, fails: 1 },
          { id: 'l4', key: 'b', partition: 1, ms: 5 },
        ])
        await sendAll(test, 'right', [
          { id: 'r1', key: 'a', partition: 0, ms: 5 },
          { id: 'r2', key: 'b', partition: 1, ms: 1 },
          { id: 'r3', key: 'c', partition: 1, ms: 1 },
        ])
      },
    }),
  },

  batches: {
    about: 'arrays of messages, each with an outcome of its own',
    options: () => ({
      name: 'batches',
      async wire(mq, { clock }) {
        const topics = await topicsOf(mq, 2, 'rows')
        const [rows] = topics as [Topic<Work>]
        const subscription = await rows.subscribe(
          'store',
          async (messages) => {
            await clock.sleep(4)
            return messages.map(({ value, attempt: tried }) => {
              return tried <= (value.fails ?? 0) ? new Error(`${value.id} fails`) : undefined
            })
          },
          {
            from: 'earliest',
            concurrency: 2,
            attempts: 3,
            onExhausted: 'park-key',
            backoff,
            batch: { max: 3, maxWaitMs: 10 },
          },
        )
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        await sendAll(test, 'rows', [
          { id: 'a1', key: 'a', partition: 0, fails: 1 },
          { id: 'a2', key: 'a', partition: 0 },
          { id: 'b1', key: 'b', partition: 0 },
          { id: 'c1', key: 'c', partition: 1 },
        ])
        await wait(test, 4)
        await sendAll(test, 'rows', [
          { id: 'a3', key: 'a', partition: 0 },
          { id: 'd1', key: 'd', partition: 1, fails: 1 },
          { id: 'n1', partition: 1 },
        ])
      },
    }),
  },

  narrow: {
    about: 'one handler, next to no memory, every message a batch of its own, messages that fail',
    options: () => ({
      name: 'narrow',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 1, 'jobs')
        const [jobs] = topics as [Topic<Work>]
        const narrow = { maxBufferedMessages: 2, maxDeferredMessages: 2, concurrency: 1 }
        const subscription = await jobs.subscribe('worker', work(context), {
          from: 'earliest',
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
          ...narrow,
        })
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        for (const [index, key] of ['a', 'a', 'b', 'a', 'b', 'c'].entries()) {
          await sendAll(test, 'jobs', [{ id: `${key}${index}`, key, ms: 2, fails: index === 0 || index === 2 ? 1 : 0 }])
        }
        await wait(test, 10)
        await sendAll(test, 'jobs', [
          { id: 'n1', ms: 1 },
          { id: 'a9', key: 'a' },
        ])
      },
    }),
  },

  paused: {
    about: 'a key and a partition are paused while messages come, and go on',
    options: () => ({
      name: 'paused',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'orders')
        const [orders] = topics as [Topic<Work>]
        const subscription = await orders.subscribe('g', work(context), {
          from: 'earliest',
          concurrency: 2,
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
        })
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        const [first] = test.wired.subscriptions as [Subscription]
        // Of the first life: a life after a crash has nothing paused.
        attempt(() => first.pause({ key: 'a' }))
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 2 },
          { id: 'b1', key: 'b', partition: 0, ms: 4 },
          { id: 'c1', key: 'c', partition: 1, ms: 4, fails: 1 },
        ])
        await wait(test, 2)
        attempt(() => first.pause({ partition: 1 }))
        await sendAll(test, 'orders', [
          { id: 'a2', key: 'a', partition: 0 },
          { id: 'd1', key: 'd', partition: 1 },
        ])
        await wait(test, 5)
        attempt(() => first.resume({ key: 'a' }))
        await wait(test, 40)
        attempt(() => first.resume({ partition: 1 }))
      },
    }),
  },

  moved: {
    about: 'a group is moved back and forth while it works',
    options: () => ({
      name: 'moved',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'orders')
        const [orders] = topics as [Topic<Work>]
        const subscription = await orders.subscribe('g', work(context), {
          from: 'earliest',
          concurrency: 3,
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
        })
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 9, fails: 1 },
          { id: 'b1', key: 'b', partition: 0, ms: 1 },
          { id: 'c1', key: 'c', partition: 1, ms: 2, fails: 1 },
          { id: 'd1', key: 'd', partition: 1, ms: 1 },
        ])
        await wait(test, 4)
        attempt(() => test.wired.subscriptions[0]!.seek('earliest', { partition: 0 }))
        await wait(test, 4)
        attempt(() => test.wired.subscriptions[0]!.seek('latest', { partition: 1 }))
        await wait(test, 4)
        await sendAll(test, 'orders', [
          { id: 'c2', key: 'c', partition: 1, ms: 1 },
          { id: 'b2', key: 'b', partition: 0, ms: 1 },
        ])
        await wait(test, 30)
        attempt(() => test.mq.group('g').seek('earliest'))
      },
    }),
  },

  trimmed: {
    about: 'retention overtakes a group that skips gaps',
    options: () => ({
      name: 'trimmed',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 1, 'orders')
        const [orders] = topics as [Topic<Work>]
        const options = {
          from: 'earliest',
          concurrency: 1,
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
          onGap: 'skip',
        } as const
        const small = { maxBufferedMessages: 1, maxDeferredMessages: 3 }
        const subscription = await orders.subscribe('g', work(context), { ...options, ...small })
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', ms: 5, fails: 1 },
          { id: 'b1', key: 'b', ms: 3 },
          { id: 'a2', key: 'a', ms: 1 },
        ])
        await sendAll(test, 'orders', [{ id: 'c1', key: 'c', ms: 1 }])
        await sendAll(test, 'orders', [
          { id: 'd1', key: 'd', ms: 1 },
          { id: 'e1', key: 'e', ms: 1 },
          { id: 'd2', key: 'd', ms: 1 },
        ])
        attempt(() => test.wired.topics[0]!.trim(0, 2))
        await wait(test, 4)
        attempt(() => test.wired.topics[0]!.trim(0, 5))
        await wait(test, 10)
        await sendAll(test, 'orders', [{ id: 'd3', key: 'd', ms: 1 }])
      },
    }),
  },

  bulk: {
    about: 'batches that are sent whole, buffered sends, a gate that is narrow, a queue that closes',
    options: () => {
      /** Accepted as buffered before the queue closed in good order. */
      let kept: string[] = []
      return {
        name: 'bulk',
        queue: { maxInFlightBytes: 1_024 },
        faults: ['schedule', 'crash', 'power', 'storeFull', 'wallClock', 'handlerError'],
        reset: () => {
          kept = []
        },
        async wire(mq, context) {
          const topics = await topicsOf(mq, 2, 'rows', 'audit')
          const [rows] = topics as [Topic<Work>]
          const subscription = await rows.subscribe('g', work(context), {
            from: 'earliest',
            attempts: 3,
            onExhausted: 'park-key',
            backoff,
          })
          return { mq, topics, subscriptions: [subscription] }
        },
        async scenario(test) {
          const [rows] = test.wired.topics as [Topic<Work>]
          const big = (id: string, length: number, key = id): { key: string; value: Work } => ({
            key,
            value: { id: id.padEnd(length, '.') },
          })
          attempt(() =>
            rows.sendBatch([big('a', 1), big('b', 1), big('c', 1)].map((one) => ({ ...one, partition: 0 }))),
          )
          attempt(() => rows.send({ ...big('k1', 600, 'k'), partition: 1 }))
          attempt(() => rows.send({ ...big('k2', 600, 'k'), partition: 1 }))
          attempt(() => rows.send({ ...big('k3', 1, 'k'), partition: 1 }))
          await wait(test, 3)
          attempt(async () => {
            const [present] = test.wired.topics as [Topic<Work>]
            for (const id of ['x1', 'x2'])
              await present.send({ ...big(id, 1, 'x'), partition: 0 }, { acks: 'buffered' })
          })
          await wait(test, 1)
          attempt(async () => {
            const {
              mq,
              topics: [, audit],
            } = test.wired
            const accepted: string[] = []
            for (const id of ['y1', 'y2', 'y3']) {
              await audit!.send({ value: { id } }, { acks: 'buffered' })
              accepted.push(id)
              // The commit of the first one begins, and the others have to wait for it.
              for (let turn = 0; turn < 20; turn++) await undefined
            }
            await mq.close()
            kept = accepted
            test.crash('power')
          })
          await wait(test, 5)
        },
        check(test) {
          const { logs } = test.history.of('snapshot').at(-1) ?? { logs: [] }
          const there = new Set(logs.flatMap(({ records }) => records.map(({ value }) => (value as Work).id)))
          const lost = kept.filter((id) => !there.has(id))
          if (lost.length > 0) throw new Error(`lost by a close: ${lost.join(', ')}`)
        },
      }
    },
  },

  restless: {
    about: 'members of a group come, leave while they work, and are abandoned',
    options: () => ({
      name: 'restless',
      async wire(mq, context) {
        const topics = await topicsOf(mq, 2, 'orders')
        const [orders] = topics as [Topic<Work>]
        const options = { from: 'earliest', concurrency: 2, attempts: 3, onExhausted: 'park-key', backoff } as const
        const join = (): Promise<Subscription> => orders.subscribe('g', work(context), options)
        return { mq, topics, subscriptions: [await join()], join }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 9 },
          { id: 'b1', key: 'b', partition: 1, ms: 9 },
          { id: 'c1', key: 'c', partition: 1, ms: 3, fails: 1 },
          { id: 'd1', key: 'd', partition: 0, ms: 2 },
        ])
        await wait(test, 2)
        attempt(async () => {
          const { subscriptions, join } = test.wired
          subscriptions.push(await join!())
        })
        await wait(test, 1)
        attempt(() => test.wired.subscriptions[0]!.close({ timeoutMs: 2, abandon: true }))
        await wait(test, 4)
        await sendAll(test, 'orders', [
          { id: 'a2', key: 'a', partition: 0, ms: 1 },
          { id: 'c2', key: 'c', partition: 1, ms: 6, fails: 1 },
        ])
        await wait(test, 20)
        attempt(() => test.wired.subscriptions[1]!.close())
        await wait(test, 30)
      },
    }),
  },

  fragile: {
    about: 'a process that was killed while messages ran, and goes on carefully',
    options: () => ({
      name: 'fragile',
      faults: ['schedule', 'crash', 'power'],
      async wire(mq, context) {
        const topics = await topicsOf(mq, 1, 'orders')
        const options = { from: 'earliest', concurrency: 2, attempts: 3, backoff } as const
        const subscription = await topics[0]!.subscribe('g', work(context), options)
        return { mq, topics, subscriptions: [subscription] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', partition: 0, ms: 4 },
          { id: 'b1', key: 'b', partition: 0, ms: 4 },
          { id: 'c1', key: 'c', partition: 0, ms: 4 },
          { id: 'a2', key: 'a', partition: 0, ms: 2 },
        ])
        attempt(() => test.crash())
        await wait(test, 40)
      },
    }),
  },

  limited: {
    about: 'handlers that are over their time: one group waits for them, the other one abandons them',
    options: () => ({
      name: 'limited',
      faults: ['schedule', 'crash', 'power', 'handlerError', 'slow'],
      async wire(mq, { clock }) {
        const topics = await topicsOf(mq, 1, 'orders')
        const [orders] = topics as [Topic<Work>]
        const handler = ({ value, attempt: tried }: Message<Work>): Promise<void> =>
          clock.sleep(tried <= (value.slow ?? 0) ? 32 : (value.ms ?? 1))
        const options = {
          from: 'earliest',
          concurrency: 2,
          attempts: 3,
          onExhausted: 'park-key',
          backoff,
          handlerTimeoutMs: 8,
        } as const
        const patient = await orders.subscribe('patient', handler, options)
        const brisk = await orders.subscribe('brisk', handler, { ...options, onTimeout: 'abandon' })
        return { mq, topics, subscriptions: [patient, brisk] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', ms: 7, slow: 1 },
          { id: 'b1', key: 'b', ms: 3 },
          { id: 'a2', key: 'a', ms: 5 },
          { id: 'c1', key: 'c', ms: 2, slow: 1 },
        ])
        await wait(test, 60)
      },
    }),
  },

  pulled: {
    about: 'messages are pulled by a loop that acknowledges some and refuses some, and stops in the middle',
    options: () => ({
      name: 'pulled',
      faults: ['schedule', 'crash', 'power', 'storeFull', 'wallClock'],
      async wire(mq, { clock, life }) {
        const topics = await topicsOf(mq, 1, 'orders')
        const [orders] = topics as [Topic<Work>]
        const take = async (most: number): Promise<void> => {
          const stream = await orders.subscribe('g', {
            from: 'earliest',
            concurrency: 2,
            attempts: 3,
            onExhausted: 'park-key',
            backoff,
          })
          let taken = 0
          const pull = async ({ value, attempt: tried, ack, nack }: PulledMessage<Work>): Promise<void> => {
            await clock.sleep(value.ms ?? 1)
            if (tried <= (value.fails ?? 0)) void nack()
            else void ack()
          }
          const loop = async (): Promise<void> => {
            for await (const message of stream) {
              void pull(message)
              if (++taken === most) break
            }
            if (most !== Infinity) await take(Infinity)
          }
          void loop()
        }
        await take(life === 1 ? 3 : Infinity)
        return { mq, topics, subscriptions: [] }
      },
      async scenario(test) {
        await sendAll(test, 'orders', [
          { id: 'a1', key: 'a', ms: 3, fails: 1 },
          { id: 'b1', key: 'b', ms: 3 },
          { id: 'a2', key: 'a', ms: 1 },
          { id: 'c1', key: 'c', ms: 1, fails: 1 },
        ])
        await wait(test, 10)
        await sendAll(test, 'orders', [{ id: 'b2', key: 'b', ms: 1 }])
      },
    }),
  },

  prepared: {
    about: 'a producer prepares messages: one is committed, one rolled back, one left to the checker',
    options: () => ({
      name: 'prepared',
      faults: ['schedule', 'crash', 'power', 'wallClock'],
      async wire(mq, { life }) {
        const topics = await topicsOf(mq, 1, 'orders')
        const [orders] = topics as [Topic<Work>]
        const subscriptions = [await orders.subscribe('g', () => {}, { from: 'earliest' })]
        const producer = await mq.producer({
          name: 'shop',
          checker: ({ key }) => (key === 'b' ? 'rollback' : 'commit'),
          check: { timeoutMs: 20, delayMs: 10 },
        })
        if (life === 1) {
          attempt(async () => {
            const kept = await producer.prepare(orders, { key: 'a', value: { id: 'a1' } })
            const dropped = await producer.prepare(orders, { key: 'b', value: { id: 'b1' } })
            await producer.prepare(orders, { key: 'c', value: { id: 'c1' } })
            await kept.commit()
            await dropped.rollback()
          })
        }
        return { mq, topics, subscriptions }
      },
      async scenario(test) {
        await wait(test, 100)
      },
    }),
  },

  produced: {
    about: 'two producers of one name, and messages with ids that are sent again; crashes',
    options: () => ({
      name: 'produced',
      faults: ['schedule', 'crash', 'power'],
      async wire(mq, context) {
        const topics = await topicsOf(mq, 1, 'orders')
        const [orders] = topics as [Topic<Work>]
        const subscription = await orders.subscribe('g', work(context), { from: 'earliest', attempts: 3, backoff })
        const older = await mq.producer({ name: 'import' })
        const newer = await mq.producer({ name: 'import' })
        const send = (producer: Producer, id: string): unknown => producer.send(orders, { key: 'p', value: { id } })
        return { mq, topics, subscriptions: [subscription], send: (id) => [send(older, id), send(newer, id)] }
      },
      async scenario(test) {
        const ids = ['a', 'b', 'c'].map((id) => ({ id, key: id, value: { id } }))
        for (const message of ids) await test.send('orders', message)
        attempt(() => test.wired.send!('p1'))
        await wait(test, 10)
        for (const message of ids) await test.send('orders', message)
        attempt(() => test.wired.send!('p2'))
        await wait(test, 30)
      },
    }),
  },
}
