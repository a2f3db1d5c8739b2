import type { HandlerContext, Message, Subscription, Topic } from '../../src/index.ts'
import type { SingleSubscribeOptions } from '../../src/index.ts'
import { TestError, type TestErrorCode, type Wire, type WireContext } from '../../src/testing/index.ts'

/** What the topic `orders` holds. */
export interface Order {
  readonly total: number
}

/** What the wiring of the shop returns. */
export interface Shop {
  readonly orders: Topic<Order>
  readonly billing: Subscription
}

/** The handler of the group `billing`. */
export type Bill = (message: Message<Order>, context: HandlerContext, wire: WireContext) => unknown

/** Three attempts, a second apart, without jitter. */
export const settings: SingleSubscribeOptions = {
  from: 'earliest',
  attempts: 3,
  onExhausted: 'park-key',
  backoff: { type: 'fixed', delayMs: 1_000, jitter: 0 },
}

/** The smallest application: the group `billing` handles the topic `orders` of two partitions. */
export function wireShop(bill: Bill = () => {}, options: SingleSubscribeOptions = {}): Wire<Shop> {
  return async (mq, wire) => {
    const orders = await mq.topic<Order>('orders', { partitions: 2 })
    const billing = await orders.subscribe('billing', (message, context) => bill(message, context, wire), {
      ...settings,
      ...options,
    })
    return { orders, billing }
  }
}

/** An order; the keys `a`, `b`, `c` and `e` are in partition 0, `d`, `f`, `g` and `h` in partition 1. */
export function order(key: string, total = 1): { key: string; value: Order } {
  return { key, value: { total } }
}

/** What a call throws or rejects with; it has to be a `TestError` of this code. */
export async function refusal(code: TestErrorCode, call: () => unknown): Promise<TestError> {
  try {
    await call()
  } catch (error) {
    if (error instanceof TestError && error.code === code) return error
    throw error
  }
  throw new Error(`nothing was thrown, expected ${code}`)
}
