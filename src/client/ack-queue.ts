import type { Assignment, Broker, Membership } from '../contracts/broker.ts'
import { Acknowledgement } from '../dispatch/acknowledgement.ts'
import { AskedRetry, longestAskedDelayMs } from '../dispatch/asked-retry.ts'
import type { HandlerContext } from '../dispatch/handed-message.ts'
import { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import { custom, decimal, isObject, resolveOptions } from '../options.ts'

/** Options of {@link PulledMessage.nack}. */
export interface NackOptions {
  /**
   * How long to wait before the next attempt, in milliseconds, instead of the back-off and beyond its maximum.
   *
   * @defaultValue the back-off of the subscription
   * @remarks Range: 0 to 86_400_000.
   */
  readonly delayMs?: number
  /** Why; told by `message:failed`. */
  readonly error?: unknown
}

/**
 * A message that the user acknowledges.
 *
 * `ack` and `nack` take effect at once; their promise resolves when the outcome is durable, and may be left alone: nobody is
 * told of a rejection that is not waited for. It rejects with `FENCED` when the message was not one's own any more: its
 * partition or its subscription has gone, or its time was over. Then it is handed out again. Only the first word about a
 * message counts; a later one gives the same promise.
 */
export interface PulledMessage<V> extends Message<V> {
  /** Its signal, its fence, and more time for it: what a handler gets beside the message. */
  readonly context: HandlerContext
  /** Marks the message as finished. */
  ack(): Promise<void>
  /**
   * Has the message tried again: the attempt counts as failed.
   *
   * @param reason - an error, or options
   * @throws `INVALID_OPTION` at once, with nothing done
   */
  nack(reason?: Error | NackOptions): Promise<void>
  /**
   * Has the message moved to the dead letters, as {@link HandlerContext.deadLetter}.
   *
   * @throws `INVALID_OPTION`, `UNSUPPORTED` at once, with nothing done
   */
  deadLetter(reason: string): Promise<void>
}

/** What becomes of pulled messages beside `ack` and `nack`: where a transaction finds them. */
export interface PulledFrom {
  readonly broker: Broker
  readonly membership: Membership
  /** The partition of a message while it is the subscription's; `fence` says which grant of it. */
  assignmentOf(message: Message<unknown>, fence: number): Assignment | undefined
}

/** The handler call of a message that was pulled, or waits for it. */
export class OpenMessage {
  readonly queue: AckQueue
  readonly message: Message<unknown>
  readonly context: HandlerContext
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  /** Set by the first word about the message. */
  outcome: Promise<void> | undefined

  constructor(
    queue: AckQueue,
    message: Message<unknown>,
    context: HandlerContext,
    resolve: () => void,
    reject: (error: Error) => void,
  ) {
    this.queue = queue
    this.message = message
    this.context = context
    this.resolve = resolve
    this.reject = reject
  }

  /** Ends the call with what was said by hand; `error` where that was a refusal. */
  end(isDone: boolean, error?: unknown): Promise<void> {
    return this.endWith((settled, refused) => {
      if (!this.queue.close(this)) return refused(gone())
      this.context.call.acknowledge(new Acknowledgement(isDone, settled, refused))
      if (isDone) this.resolve()
      else this.reject(error as Error)
    })
  }

  endWith(begin: (settled: () => void, refused: (error: unknown) => void) => void): Promise<void> {
    this.outcome = new Promise(begin)
    // Whoever does not wait for it doesn't mind.
    this.outcome.catch(() => {})
    return this.outcome
  }
}

const openMessages = new WeakMap<object, OpenMessage>()

/** What is behind a message that was pulled; undefined for anything else. */
export function openMessageOf(message: unknown): OpenMessage | undefined {
  return isObject(message) ? openMessages.get(message) : undefined
}

/**
 * Turns the handler's side of a subscription into messages that are pulled and acknowledged one by one. Bounded by the
 * subscription's concurrency: each message is a handler call that has not returned yet.
 */
export class AckQueue {
  /** Where the messages are from; set before the first one is pulled. */
  from: PulledFrom | undefined
  /** Handed out by the dispatcher, not pulled yet. */
  readonly #arrived: PulledMessage<unknown>[] = []
  /** Every message that is neither acknowledged nor refused. */
  readonly #open = new Set<OpenMessage>()
  /** Loops that wait for a message; one is woken for each. */
  #waiting: (() => void)[] = []
  #isClosed = false

  /** The handler of the subscription. */
  readonly handle = (message: Message<unknown>, context: HandlerContext): Promise<void> => {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closed())
      const open = new OpenMessage(this, message, context, resolve, reject)
      this.#open.add(open)
      // Its time begins when it is pulled.
      context.extend(Infinity)
      this.#arrived.push(pulled(open))
      this.#waiting.shift()?.()
    })
  }

  /** The next message; undefined when there will be none. */
  async next(): Promise<PulledMessage<unknown> | undefined> {
    while (this.#arrived.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    const message = this.#arrived.shift()
    message?.context.extend()
    return message
  }

  isOpen(message: OpenMessage): boolean {
    return this.#open.has(message)
  }

  /** Something was said of the message; false when it is not one's own any more. */
  close(message: OpenMessage): boolean {
    return this.#open.delete(message)
  }

  /** Gives back everything that is not acknowledged. */
  closeAll(): void {
    this.#isClosed = true
    this.#arrived.length = 0
    for (const { reject } of this.#open) reject(closed())
    this.#open.clear()
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

function pulled(open: OpenMessage): PulledMessage<unknown> {
  const { topic, partition, offset, timestamp, key, value, headers, id, attempt } = open.message
  const { deadLetterFacts, redriveFacts } = open.message
  const { context } = open
  const ack = (): Promise<void> => open.outcome ?? open.end(true)
  const nack = (reason?: Error | NackOptions): Promise<void> => {
    const { error, delayMs } = resolveNack(reason)
    if (open.outcome !== undefined) return open.outcome
    if (delayMs === undefined) return open.end(false, error ?? new Error('nack'))
    if (!context.call.isEnded) context.call.askRetry({ delayMs })
    return open.end(false, error ?? context.call.effects?.retry ?? new AskedRetry({ delayMs }))
  }
  const deadLetter = (reason: string): Promise<void> => {
    if (open.outcome !== undefined) return open.outcome
    if (!context.call.isEnded) context.deadLetter(reason)
    return open.end(true)
  }
  const facts = { deadLetterFacts, redriveFacts }
  const words = { context, ack, nack, deadLetter }
  const message = { topic, partition, offset, timestamp, key, value, headers, id, attempt, ...facts, ...words }
  openMessages.set(message, open)
  return message
}

const nackFields = { delayMs: decimal(0, longestAskedDelayMs), error: custom<unknown>('anything', () => true) }

function resolveNack(reason: unknown): { error?: unknown; delayMs?: number } {
  const isError = reason instanceof Error || Object.prototype.toString.call(reason) === '[object Error]'
  if (isError || !isObject(reason)) return { error: reason ?? undefined }
  return resolveOptions<NackOptions>(reason, nackFields, 'nack')
}

function closed(): QueueError {
  return new QueueError('CLOSED', 'the subscription was closed before the message was acknowledged')
}

function gone(): QueueError {
  return new QueueError(
    'FENCED',
    'the subscription was closed before the message was acknowledged: it is handed out again',
  )
}
