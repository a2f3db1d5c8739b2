import type { Broker, GroupPosition, Membership, StartPosition } from '../contracts/broker.ts'
import type { LeftRunning } from '../dispatch/delivered-entry.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { BlockedKey, ParkedKey } from '../dispatch/retries.ts'
import { QueueError } from '../errors.ts'
import { custom, flagged, integer, invalid, resolveOptions } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { lagOf, type Lag } from './lag.ts'
import type { AckQueue, PulledMessage } from './ack-queue.ts'
import { resolveCancelTarget, type CancelTarget } from './cancel-target.ts'
import { checkStartPosition } from './resolve.ts'

/** What {@link Subscription.pause} and {@link Subscription.resume} apply to: everything, a partition, or a key. */
export interface PauseTarget {
  /** With `partition`: of this topic only. */
  readonly topic?: string
  readonly partition?: number
  /** Only with `ordering: 'key'`. */
  readonly key?: string
}

/** A partition that a subscription owns now. */
export interface OwnedPartition {
  readonly topic: string
  readonly partition: number
  /** See {@link HandlerContext.fence}. */
  readonly fence: number
}

/** Options of {@link Subscription.close}. */
export interface CloseOptions {
  /**
   * How long to wait for handlers that run, in milliseconds. What still runs then has its signal aborted and is reported.
   *
   * @defaultValue `30_000`
   * @remarks Range: 0 to 86_400_000.
   */
  readonly timeoutMs?: number
  /**
   * Gives the partitions away at the deadline although handlers still run; what those finish is refused (`FENCED`) and
   * their messages are handed out again. Otherwise their partitions wait for them, so that order per key holds.
   *
   * @defaultValue `false`
   */
  readonly abandon?: boolean
}

/** Options of {@link Subscription.parkedKeys} and {@link Subscription.blockedKeys}. */
export interface KeyListOptions {
  /**
   * How many keys to list at most.
   *
   * @defaultValue `1_000`
   * @remarks Range: 1 to 1_000_000.
   */
  readonly limit?: number
}

/** Options of {@link Subscription.release}. */
export interface ReleaseOptions {
  /** Moves the message that holds up a parked key to the dead letters instead of trying it again. @defaultValue `false` */
  readonly deadLetter?: boolean
}

/** What a subscription left when it was closed. */
export interface CloseReport {
  /** Messages whose handlers still ran at the deadline; they will be handed out again. */
  readonly left: LeftRunning[]
}

/** What a subscription did not get done. */
export interface DrainReport {
  /** Messages that were there when draining began and are not finished: 0 when all are. */
  readonly left: number
}

/** What a subscription shares with its queue. */
export interface SubscriptionContext {
  readonly broker: Broker
  readonly runtime: Runtime
  readonly dispatcher: Dispatcher
  readonly membership: Membership
  readonly closeTimeoutMs: number
  readonly onClosed: () => void
  /** Only where messages are pulled by an iterator. */
  readonly acks: AckQueue | undefined
}

const dayMs = 86_400_000

/** A member of a consumer group that hands messages to a handler. */
export class Subscription {
  readonly group: string
  readonly #context: SubscriptionContext
  readonly #dispatcher: Dispatcher
  #closing: Promise<CloseReport> | undefined
  /** Closing is over: who still waits for something is let go. */
  #isClosed = false

  /** @internal */
  constructor(group: string, context: SubscriptionContext) {
    this.group = group
    this.#context = context
    this.#dispatcher = context.dispatcher
  }

  /** Why the subscription ended by itself, if it did: `GAP`, `TOPIC_DELETED`, `STORE_FAILED`, `STORE_CORRUPT`. */
  get failure(): QueueError | undefined {
    return this.#dispatcher.failure
  }

  /** The partitions that this member owns now. */
  assignments(): OwnedPartition[] {
    return this.#dispatcher.assignments.map(({ topic, partition, fence }) => ({ topic: topic.name, partition, fence }))
  }

  /**
   * Hands out nothing more of all, a partition or a key, until {@link Subscription.resume}. What runs goes on. Holds for
   * this subscription only, and is not stored.
   */
  pause(target?: PauseTarget): void {
    const { topic, partition, key } = this.#target(target, 'pause')
    if (key !== undefined) this.#dispatcher.pauses.pauseKey(key)
    if (partition !== undefined) this.#dispatcher.pauses.pausePartition(topic, partition)
    if (key === undefined && partition === undefined) this.#dispatcher.pauses.pause()
  }

  /** Undoes {@link Subscription.pause} of the same target. */
  resume(target?: PauseTarget): void {
    const { topic, partition, key } = this.#target(target, 'resume')
    if (key !== undefined) this.#dispatcher.pauses.resumeKey(key)
    if (partition !== undefined) this.#dispatcher.pauses.resumePartition(topic, partition)
    if (key === undefined && partition === undefined) this.#dispatcher.pauses.resume()
  }

  /**
   * Moves the whole group, in all partitions or one: waits for what runs there, then goes on from the new place. Forgets
   * what was finished above it. Durable when it resolves.
   *
   * @throws `OFFSET_OUT_OF_RANGE` when an offset does not exist in one of the partitions, `INVALID_OPTION`, `CLOSED`
   */
  async seek(to: StartPosition, where?: { readonly topic?: string; readonly partition?: number }): Promise<void> {
    checkStartPosition(to, 'seek', 'to')
    this.#assertOpen()
    await this.#context.broker.seek(this.group, to, where)
  }

  /** How many handlers may run at once from now on; what runs goes on. @remarks Range: 1 to 100_000. */
  setConcurrency(concurrency: number): void {
    const field = integer(1, 100_000)
    if (!field.accepts(concurrency)) throw invalid('setConcurrency', 'concurrency', concurrency, field.allowed)
    this.#dispatcher.setConcurrency(concurrency)
  }

  /**
   * Resolves as soon as nothing runs, nothing could be handed out now, and everything finished is durable. Messages that
   * wait for a retry, are parked or are paused don't count.
   *
   * @throws what {@link Subscription.failure} says, when it ended by itself
   */
  async idle(): Promise<void> {
    await this.#dispatcher.moves.until(() => this.#isClosed || this.#dispatcher.isIdle)
    if (this.failure && this.failure.code !== 'CLOSED') throw this.failure
  }

  /**
   * Resolves when every message that is in the log now is finished in the partitions of this member, retries included; or
   * at the deadline; or when all that is left belongs to parked keys. Goes on consuming meanwhile and afterwards.
   *
   * @param options - `timeoutMs`: 0 to 86_400_000, 30_000 when left out
   */
  async drain(options?: { readonly timeoutMs?: number }): Promise<DrainReport> {
    const { timeoutMs } = resolveOptions<{ timeoutMs?: number }>(
      options,
      { timeoutMs: integer(0, dayMs, 30_000) },
      'drain',
    )
    const targets = this.#dispatcher.assignments.map((assignment) => {
      return { assignment, end: assignment.topic.offsets(assignment.partition).end }
    })
    const left = (): number => {
      let count = 0
      for (const { assignment, end } of targets) {
        const { position } = assignment.finished
        if (position < end) count += end - position - assignment.finished.countIn(position, end)
      }
      return count
    }
    const isOver = (): boolean => {
      if (this.failure || this.#isClosed || targets.every(({ assignment, end }) => assignment.finished.position >= end))
        return true
      return this.#dispatcher.isIdle && this.#dispatcher.retries.onlyParked
    }
    await this.#byDeadline(timeoutMs!, isOver)
    if (this.failure && this.failure.code !== 'CLOSED') throw this.failure
    return { left: left() }
  }

  /** How far this member's partitions are behind. */
  lag(): Lag {
    const owned = new Set(this.assignments().map(({ topic, partition }) => `${topic}/${partition}`))
    const mine = this.#positions().filter(({ topic, partition }) => owned.has(`${topic}/${partition}`))
    return lagOf(mine, this.#context.runtime.now())
  }

  /** Keys that hand out nothing more because a message of theirs is not tried again, in the order they were parked. */
  parkedKeys(options?: KeyListOptions): ParkedKey[] {
    return this.#dispatcher.retries.parkedKeys(listLimit(options, 'parkedKeys'))
  }

  /** Keys that wait for the next attempt of a message, those that failed first before the others. */
  blockedKeys(options?: KeyListOptions): BlockedKey[] {
    return this.#dispatcher.retries.blockedKeys(listLimit(options, 'blockedKeys'))
  }

  /**
   * Lets a key go on at once (every key when none is given): a parked one with a full set of attempts, exactly where it
   * stopped, before its later messages; one that waits for its retry without waiting longer. What was released stays so over
   * a restart. Returns how many keys that were.
   *
   * With `deadLetter` it is about parked keys only: the message that holds up a key goes to the dead letters, and the key
   * goes on with the next one.
   *
   * @throws `INVALID_OPTION`, `CLOSED`; `UNSUPPORTED` with `deadLetter` where the broker moves no messages
   */
  release(key?: string, options?: ReleaseOptions): number {
    this.#assertOpen()
    const { deadLetter } = resolveOptions<ReleaseOptions>(options, { deadLetter: flagged(false) }, 'release')
    const { retries } = this.#dispatcher
    if (!deadLetter) return retries.release(key)
    if (this.#context.broker.capabilities.effects) return retries.giveUpParked(key)
    throw new QueueError('UNSUPPORTED', 'this broker moves no messages to dead letters', { group: this.group })
  }

  /**
   * Aborts the signal of the handler calls that run now with such a message, with `CANCELLED`; returns how many. What comes
   * of it is the handler's decision: when it throws, the attempt counts as failed; when it returns, the message is finished.
   * A message that waits is not concerned, nor one whose handler has returned.
   *
   * @param reason - becomes the `cause` of the error that the signal carries
   * @throws `INVALID_OPTION`
   */
  cancel(target: CancelTarget, reason?: unknown): number {
    const { matches, facts, text } = resolveCancelTarget(target)
    const message = `the handler call with ${text} in group ${this.group} was cancelled`
    return this.#dispatcher.deliveries.cancel(
      matches,
      new QueueError('CANCELLED', message, { group: this.group, ...facts, cause: reason }),
    )
  }

  /**
   * Hands out nothing more, waits for what runs, makes its progress durable and gives the partitions back. Ends at the
   * deadline and reports what still ran. Idempotent.
   */
  close(options?: CloseOptions): Promise<CloseReport> {
    const fields = { timeoutMs: integer(0, dayMs, this.#context.closeTimeoutMs), abandon: flagged(false) }
    const { timeoutMs, abandon } = resolveOptions<CloseOptions>(options, fields, 'close') as Required<CloseOptions>
    return (this.#closing ??= this.#close(timeoutMs, abandon))
  }

  /** As {@link Subscription.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => {})
  }

  #target(target: PauseTarget | undefined, where: string): PauseTarget {
    const resolved = resolveTarget(target, where)
    const { ordering } = this.#dispatcher.settings
    if (resolved.key === undefined || ordering === 'key') return resolved
    throw invalid(where, 'key', resolved.key, `only set with ordering 'key' (it is '${ordering}')`)
  }

  async #close(timeoutMs: number, abandon: boolean): Promise<CloseReport> {
    const dispatcher = this.#dispatcher
    dispatcher.stop()
    this.#context.acks?.closeAll()
    await this.#byDeadline(timeoutMs, () => dispatcher.running === 0)
    const left = dispatcher.deliveries.abort(
      new QueueError('CLOSED', `the subscription of group ${this.group} was closed`, { group: this.group }),
    )
    await dispatcher.settler.flush()
    const left2 = this.#context.membership.leave({ abandon })
    // Handlers that ignore the deadline keep their partitions until they end; nobody has to wait for that here.
    if (left.length === 0 || abandon) await left2
    else left2.catch(() => {})
    this.#context.onClosed()
    this.#isClosed = true
    dispatcher.moves.tell()
    return { left }
  }

  async #byDeadline(timeoutMs: number, isOver: () => boolean): Promise<void> {
    if (isOver()) return
    let late = false
    const timer = this.#context.runtime.timer(timeoutMs, `deadline ${this.group}`, () => {
      late = true
      this.#dispatcher.moves.tell()
    })
    await this.#dispatcher.moves.until(() => late || isOver())
    timer.cancel()
  }

  #positions(): readonly GroupPosition[] {
    return this.#context.broker.positions(this.group)
  }

  /** Whether it may still hand something out. @internal */
  get isOpen(): boolean {
    return this.failure === undefined && this.#closing === undefined
  }

  #assertOpen(): void {
    if (this.failure) throw this.failure
    if (this.#closing)
      throw new QueueError('CLOSED', `the subscription of group ${this.group} is closed`, { group: this.group })
  }
}

/**
 * A subscription without a handler: `for await` gives the messages, each to be acknowledged. At most `concurrency` of them
 * are out at once. Leaving the loop closes the subscription; what was not acknowledged will be handed out again.
 */
export interface MessageStream<V> extends Subscription, AsyncIterable<PulledMessage<V>> {}

/** @internal */
export class PullSubscription extends Subscription {
  readonly #acks: AckQueue

  constructor(group: string, context: SubscriptionContext) {
    super(group, context)
    this.#acks = context.acks!
    const { broker, membership, dispatcher } = context
    this.#acks.from = {
      broker,
      membership,
      assignmentOf: ({ topic, partition }, fence) => dispatcher.settler.assignmentOf(topic, partition, fence),
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PulledMessage<unknown>, void, void> {
    try {
      for (;;) {
        const message = await this.#acks.next()
        if (message === undefined) break
        yield message
      }
      if (this.failure && this.failure.code !== 'CLOSED') throw this.failure
    } finally {
      await this.close()
    }
  }
}

/** @throws `INVALID_OPTION` */
export function listLimit(options: KeyListOptions | undefined, where: string): number {
  return resolveOptions<KeyListOptions>(options, { limit: integer(1, 1_000_000, 1_000) }, where).limit!
}

function resolveTarget(target: PauseTarget | undefined, where: string): PauseTarget {
  const text = custom<string>('text', (value) => typeof value === 'string')
  const resolved = resolveOptions<PauseTarget>(target, { topic: text, partition: integer(0, 4095), key: text }, where)
  if (resolved.topic !== undefined && resolved.partition === undefined) {
    throw invalid(where, 'topic', resolved.topic, 'only set together with partition')
  }
  return resolved
}
