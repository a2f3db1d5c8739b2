import type { HandlerContext, Message, SubscribeOptions, Subscription } from '../../src/index.ts'
import { openTest, type Clock, type OpenTestOptions, type TestQueue } from '../../src/testing/index.ts'

/** What the wiring of {@link openApp} leaves to the test. */
export interface App {
  /** Joins the group `g` of the topic `t` with the same options. */
  readonly join: () => Promise<Subscription>
  /** The member that joined first in this life. */
  readonly subscription: Subscription
}

/** How the group of {@link openApp} is subscribed. */
export interface AppOptions extends Omit<SubscribeOptions, 'batch'> {
  readonly partitions?: number
  readonly test?: Pick<OpenTestOptions, 'queue' | 'seed'>
  readonly handler?: (message: Message<string>, context: HandlerContext, clock: Clock) => unknown
}

/** An application of one topic `t`, one group `g` and, when nothing else is said, a handler that takes everything. */
export function openApp({ partitions = 1, handler, test, ...options }: AppOptions = {}): Promise<TestQueue<App>> {
  return openTest<App>({
    ...test,
    wire: async (mq, { clock }) => {
      const topic = await mq.topic<string>('t', { partitions })
      const handle = (message: Message<string>, context: HandlerContext): unknown => handler?.(message, context, clock)
      const join = (): Promise<Subscription> => topic.subscribe('g', handle, { from: 'earliest', ...options })
      return { join, subscription: await join() }
    },
  })
}

/** Sends values in order; 'k:1' has the key k. */
export function sendAll(t: TestQueue<App>, ...values: string[]): Promise<unknown> {
  return Promise.all(
    values.map((value) => t.send('t', value.includes(':') ? { key: value.split(':')[0]!, value } : { value })),
  )
}

/** Values that handlers finished, in that order. */
export function doneBy(t: TestQueue<App>, member?: string): unknown[] {
  const values = new Map(t.history.of('start').map(({ call, offset, value }) => [`${call}/${offset}`, value]))
  const done = t.history.of('done').filter((event) => member === undefined || event.member === member)
  return done.map(({ call, offset }) => values.get(`${call}/${offset}`))
}
