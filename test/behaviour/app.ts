import type { HandlerContext, Message, SubscribeOptions, Subscription, Topic, TopicOptions } from '../../src/index.ts'
import { openTest, type Clock, type OpenTestOptions, type TestQueue } from '../../src/testing/index.ts'

/** What the wiring of {@link openApp} leaves to the test. */
export interface App {
  /** Joins the group `g` of the topic `t` with the same options. */
  readonly join: () => Promise<Subscription>
  /** The member that joined first in this life. */
  readonly subscription: Subscription
  readonly topic: Topic<string>
}

type Handler = (message: Message<string>, context: HandlerContext, clock: Clock) => unknown

/** How the group of {@link openApp} is subscribed. */
export interface AppOptions extends Omit<SubscribeOptions, 'batch'> {
  readonly partitions?: number
  /** What else is said of the topic. */
  readonly topic?: Omit<TopicOptions<string>, 'partitions'>
  readonly test?: Pick<OpenTestOptions, 'queue' | 'seed'>
  readonly handler?: Handler
}

/** An application of one topic `t`, one group `g` and, when nothing else is said, a handler that takes everything. */
export function openApp(given: AppOptions = {}): Promise<TestQueue<App>> {
  const { partitions = 1, topic: about, handler, test, ...options } = given
  return openTest<App>({
    ...test,
    wire: async (mq, { clock }) => {
      const topic = await mq.topic<string>('t', { ...about, partitions })
      const handle = (message: Message<string>, context: HandlerContext): unknown => handler?.(message, context, clock)
      const join = (): Promise<Subscription> => topic.subscribe('g', handle, { from: 'earliest', ...options })
      return { join, subscription: await join(), topic }
    },
  })
}

/** A handler that takes so many milliseconds of virtual time, by the value of the message; 10 when nothing is said. */
export function lasting(ms: Readonly<Record<string, number>> = {}): Handler {
  return ({ value }, _context, clock) => clock.sleep(ms[value] ?? 10)
}

/** Sends values in order; 'k:1' has the key k. */
export function sendAll(t: TestQueue, ...values: string[]): Promise<unknown> {
  return Promise.all(values.map((value) => t.send('t', keyed(value))))
}

/** As {@link sendAll}, all to one partition. */
export function sendTo(t: TestQueue, partition: number, ...values: string[]): Promise<unknown> {
  return Promise.all(values.map((value) => t.send('t', { ...keyed(value), partition })))
}

function keyed(value: string): { key?: string; value: string } {
  return value.includes(':') ? { key: value.split(':')[0]!, value } : { value }
}

/** Values that handlers finished, in that order. */
export function doneBy(t: TestQueue, member?: string): string[] {
  const values = new Map(t.history.of('start').map(({ call, offset, value }) => [`${call}/${offset}`, String(value)]))
  const done = t.history.of('done').filter((event) => member === undefined || event.member === member)
  return done.map(({ call, offset }) => values.get(`${call}/${offset}`)!)
}

/** What a group was handed, in that order, each with when it began and ended: 'a:1 0-20', or 'a:1 0-' when it has not. */
export function runsOf(t: TestQueue, group = 'g'): string[] {
  const begun = t.history.of('deliver').filter((event) => event.group === group)
  const ended = new Map<string, number>()
  for (const event of [...t.history.of('done'), ...t.history.of('error')]) {
    ended.set(`${event.call}/${event.partition}/${event.offset}`, event.at)
  }
  return t.group(group).delivered.map(({ value, call, partition, offset }, i) => {
    const end = ended.get(`${call}/${partition}/${offset}`)
    return `${String(value)} ${begun[i]!.at}-${end ?? ''}`
  })
}

/** Values that are inside a handler now, or held there by a fault. */
export function running(t: TestQueue, group = 'g'): string[] {
  const sent = new Map(t.history.of('send').map(({ send, value }) => [send, String(value)]))
  const values = new Map(t.history.of('acked').map((event) => [placeOf(event), sent.get(event.send)]))
  return t.group(group).inFlight.map((message) => values.get(placeOf(message))!)
}

function placeOf({ topic, partition, offset }: Place): string {
  return `${topic}/${partition}/${offset}`
}

type Place = Pick<Message<unknown>, 'topic' | 'partition' | 'offset'>
