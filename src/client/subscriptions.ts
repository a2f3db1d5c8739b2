import type { Broker } from '../contracts/broker.ts'
import type { CarefulTurns } from '../dispatch/careful-turns.ts'
import type { LeftRunning } from '../dispatch/delivered-entry.ts'
import type { DispatchHandler } from '../dispatch/deliveries.ts'
import { Dispatcher } from '../dispatch/dispatcher.ts'
import type { ConsumedTopic } from '../dispatch/partition-intake.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { checkGroupName, invalid } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { AckQueue } from './ack-queue.ts'
import { IdempotentSubscriptions } from './idempotent-subscription.ts'
import type { QueueObserver, Remembering } from './observer.ts'
import type { SubscribeOptions } from './options.ts'
import { resolveSubscribeOptions, type ResolvedSubscribeOptions } from './resolve.ts'
import { PullSubscription, Subscription } from './subscription.ts'
import { Topic, type BatchHandler, type MessageHandler } from './topic.ts'

/** What subscriptions need of the queue that they belong to. */
export interface SubscriptionsHost {
  readonly broker: Broker
  readonly runtime: Runtime
  readonly events: EventHub
  readonly closeTimeoutMs: number
  readonly turns: CarefulTurns | undefined
  readonly observer?: QueueObserver | undefined
}

type Handler = MessageHandler<never> | BatchHandler<never>

/** The subscriptions of a queue that are not closed yet. */
export class Subscriptions {
  readonly #host: SubscriptionsHost
  readonly #idempotent: IdempotentSubscriptions
  readonly #open = new Map<Subscription, Dispatcher>()

  constructor(host: SubscriptionsHost) {
    this.#host = host
    this.#idempotent = new IdempotentSubscriptions(host.broker)
  }

  get dispatchers(): Iterable<Dispatcher> {
    return this.#open.values()
  }

  /** Those of one group. */
  of(group: string): Subscription[] {
    return [...this.#open.keys()].filter((subscription) => subscription.group === group)
  }

  /** Closes all of them, and says what still ran at the deadline. */
  async close(timeoutMs: number): Promise<LeftRunning[]> {
    const reports = await Promise.all([...this.#open.keys()].map((subscription) => subscription.close({ timeoutMs })))
    return reports.flatMap(({ left }) => left)
  }

  /** Joins a group and begins to hand out; without a handler, what it has is pulled. @throws see {@link Topic.subscribe} */
  async open(
    topics: readonly Topic<never>[],
    group: string,
    handler: Handler | undefined,
    options: SubscribeOptions | undefined,
  ): Promise<Subscription> {
    const { broker, closeTimeoutMs, events, runtime, turns } = this.#host
    const resolved = this.#check(topics, group, handler, options)
    const { from, signal, dispatch } = resolved
    const acks = handler ? undefined : new AckQueue()
    const consumed = [...new Set(topics)].map((topic) => topic.consumed)
    let subscription: Subscription | undefined
    const ended = (): void => {
      // It can't go on: its partitions go to others as soon as nothing of it runs.
      acks?.closeAll()
      void subscription?.close({ timeoutMs: 0 }).catch(() => {})
    }
    const { marks, called } = this.#handler(group, (handler ?? acks!.handle) as DispatchHandler, consumed, resolved)
    const dispatcher = new Dispatcher(dispatch, runtime, events, consumed, called, broker, ended, turns)
    const request = { group, topics: consumed.map(({ topic }) => topic), from, listener: dispatcher }
    const membership = await broker.join(request)
    dispatcher.membership = membership
    marks?.start((isHeld) => dispatcher.pauses.hold(isHeld))
    const abort = (): void => void subscription?.close().catch(() => {})
    const onClosed = (): void => {
      signal?.removeEventListener('abort', abort)
      marks?.close()
      this.#open.delete(subscription!)
    }
    const context = { broker, runtime, dispatcher, membership, closeTimeoutMs, onClosed, acks }
    subscription = acks ? new PullSubscription(group, context) : new Subscription(group, context)
    this.#open.set(subscription, dispatcher)
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
    if (dispatcher.failure) ended()
    return subscription
  }

  /** @throws `INVALID_NAME`, `INVALID_OPTION`, `UNSUPPORTED`, `ABORTED` */
  #check(
    topics: readonly Topic<never>[],
    group: string,
    handler: Handler | undefined,
    options: SubscribeOptions | undefined,
  ): ResolvedSubscribeOptions {
    checkGroupName(group)
    if (!Array.isArray(topics) || topics.length === 0 || !topics.every((topic) => topic instanceof Topic)) {
      throw invalid('subscribe', 'topics', topics, 'a non-empty array of topics')
    }
    const resolved = resolveSubscribeOptions(group, options, this.#host.broker.capabilities.effects)
    const { dispatch, signal } = resolved
    if (handler === undefined && dispatch.batch)
      throw invalid('subscribe', 'batch', dispatch.batch, 'only set together with a handler')
    if (handler === undefined && dispatch.ackMode === 'before')
      throw invalid('subscribe', 'ackMode', dispatch.ackMode, 'only set together with a handler')
    if (signal?.aborted)
      throw new QueueError('ABORTED', 'the signal was aborted before the subscription began', { cause: signal.reason })
    return resolved
  }

  /** What is called with each message: the handler, behind those who watch it and those who remember what it did. */
  #handler(
    group: string,
    given: DispatchHandler,
    consumed: readonly ConsumedTopic[],
    { dispatch, idempotency }: ResolvedSubscribeOptions,
  ): { called: DispatchHandler; marks: Remembering | undefined } {
    const { events, observer, runtime } = this.#host
    const host = { group, consumed, runtime, events, retry: dispatch.retry }
    const remembering = (handler: DispatchHandler): Remembering | undefined =>
      idempotency && this.#idempotent.handler({ ...host, handler, settings: idempotency })
    const watched = observer?.handler(dispatch, consumed, given, remembering) ?? given
    const marks = remembering(watched)
    return { called: marks?.handle ?? watched, marks }
  }
}
