import { describe, expectTypeOf, test } from 'vitest'
import {
  isQueueError,
  open,
  openInMemory,
  type BatchHandler,
  type ErrorCode,
  type HandlerContext,
  type InMemoryMessageQueue,
  type Message,
  type MessageQueue,
  type MessageStream,
  type PulledMessage,
  type SendResult,
  type StandardSchema,
  type Subscription,
  type Topic,
} from '../../src/index.ts'

interface Order {
  readonly item: string
  readonly amount: number
}

/** Only its type is looked at: nothing of it runs. */
declare const mq: MessageQueue
declare const orders: Topic<Order>

// What is refused here would otherwise be found by a user, at run time. The functions are checked, never called.
describe('the types that users see', () => {
  test('opening says whether anything is on disk', () => {
    expectTypeOf(open).returns.resolves.toEqualTypeOf<MessageQueue>()
    expectTypeOf(openInMemory).returns.resolves.toEqualTypeOf<InMemoryMessageQueue>()
    expectTypeOf<InMemoryMessageQueue['durability']>().toEqualTypeOf<'memory'>()
    void ((): void => {
      // @ts-expect-error a path is required
      void open({})
      // @ts-expect-error an unknown option
      void open({ path: '.', cache: true })
      // @ts-expect-error a store in memory has no path
      void openInMemory({ path: '.' })
    })
  })

  test('a topic carries the type of its values', () => {
    void (async (): Promise<void> => {
      expectTypeOf(await mq.topic<Order>('orders')).toEqualTypeOf<Topic<Order>>()
      expectTypeOf(await mq.topic('any')).toEqualTypeOf<Topic>()
      const schema = {} as StandardSchema<Order>
      expectTypeOf(await mq.topic('orders', { schema })).toEqualTypeOf<Topic<Order>>()
      // @ts-expect-error an unknown option
      await mq.topic('orders', { partition: 8 })
      // @ts-expect-error an unknown codec
      await mq.topic('orders', { codec: 'xml' })
    })
  })

  test('sending takes values of that type and tells where they are', () => {
    void (async (): Promise<void> => {
      expectTypeOf(await orders.send({ key: 'k', value: { item: 'a', amount: 1 } })).toEqualTypeOf<SendResult>()
      expectTypeOf(await orders.sendBatch([{ value: { item: 'a', amount: 1 } }])).toEqualTypeOf<SendResult[]>()
      // @ts-expect-error a value is required
      await orders.send({ key: 'k' })
      // @ts-expect-error a value of another type
      await orders.send({ value: { item: 'a' } })
      // @ts-expect-error a numeric key
      await orders.send({ key: 1, value: { item: 'a', amount: 1 } })
      // @ts-expect-error an unknown field
      await orders.send({ value: { item: 'a', amount: 1 }, delay: 5 })
      // @ts-expect-error an unknown level
      await orders.send({ value: { item: 'a', amount: 1 } }, { acks: 'all' })
    })
    expectTypeOf<SendResult['acks']>().toEqualTypeOf<'flushed' | 'buffered' | 'memory'>()
  })

  test('a handler gets one message, and an array where batches are asked for', () => {
    void (async (): Promise<void> => {
      const subscription = await orders.subscribe('g', (message, context) => {
        expectTypeOf(message).toEqualTypeOf<Message<Order>>()
        expectTypeOf(context).toEqualTypeOf<HandlerContext>()
      })
      expectTypeOf(subscription).toEqualTypeOf<Subscription>()
      await orders.subscribe(
        'g',
        (messages) => {
          expectTypeOf(messages).toEqualTypeOf<Message<Order>[]>()
          return messages.map(() => undefined)
        },
        { from: 'earliest', batch: { max: 100 } },
      )
      const batchHandler: BatchHandler<Order> = () => {}
      // @ts-expect-error a handler of arrays without batches
      await orders.subscribe('g', batchHandler, { from: 'earliest' })
      // @ts-expect-error a batch needs its maximum
      await orders.subscribe('g', batchHandler, { batch: {} })
      // @ts-expect-error an unknown option
      await orders.subscribe('g', () => {}, { group: 'g' })
      // @ts-expect-error an unknown position
      await orders.subscribe('g', () => {}, { from: 'beginning' })
      // @ts-expect-error an unknown order
      await orders.subscribe('g', () => {}, { ordering: 'keys' })
    })
  })

  test('without a handler a subscription is a stream of messages to acknowledge', () => {
    void (async (): Promise<void> => {
      const stream = await orders.subscribe('g', { from: 'earliest' })
      expectTypeOf(stream).toEqualTypeOf<MessageStream<Order>>()
      for await (const message of stream) {
        expectTypeOf(message).toEqualTypeOf<PulledMessage<Order>>()
        expectTypeOf(message.ack).toEqualTypeOf<() => Promise<void>>()
        expectTypeOf(message.context).toEqualTypeOf<HandlerContext>()
        await message.nack({ delayMs: 5, error: new Error('later') })
        // @ts-expect-error an unknown option
        await message.nack({ delay: 5 })
        expectTypeOf(message.value).toEqualTypeOf<Order>()
      }
      // @ts-expect-error streams have no batches
      await orders.subscribe('g', { batch: { max: 5 } })
    })
  })

  test('several topics of one type are consumed by one subscription', () => {
    void (async (): Promise<void> => {
      await mq.subscribe([orders, orders], 'g', (message) => {
        expectTypeOf(message).toEqualTypeOf<Message<Order>>()
      })
      expectTypeOf(await mq.subscribe([orders], 'g')).toEqualTypeOf<MessageStream<Order>>()
    })
  })

  test('reading gives messages that nobody can change', () => {
    void (async (): Promise<void> => {
      for await (const message of orders.read({ from: { timestamp: 0 }, follow: true })) {
        expectTypeOf(message).toEqualTypeOf<Message<Order>>()
        expectTypeOf(message.key).toEqualTypeOf<string | undefined>()
        // @ts-expect-error messages are read-only
        message.offset = 1
        // @ts-expect-error so are headers
        message.headers['a'] = 'b'
      }
    })
  })

  test('events name their payload', () => {
    void ((): void => {
      mq.on('message:failed', (event) => expectTypeOf(event.attempt).toEqualTypeOf<number>())
      // @ts-expect-error an unknown event
      mq.on('message:lost', () => {})
    })
  })

  test('errors are matched by code', () => {
    void ((error: unknown): void => {
      if (isQueueError(error, 'GAP')) expectTypeOf(error.code).toEqualTypeOf<ErrorCode>()
      // @ts-expect-error an unknown code
      isQueueError(error, 'LOST')
    })
  })
})
