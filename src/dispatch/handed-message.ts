import type { RecordBatch } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { State } from '../contracts/state.ts'
import { readDeadLetterFacts, readRedriveFacts } from '../dead-letter.ts'
import type { DeadLetterFacts, RedriveFacts } from '../dead-letter-facts.ts'
import { QueueError } from '../errors.ts'
import type { Headers, Message, OutgoingMessage } from '../message.ts'
import { decimal, integerOrInfinity, invalid } from '../options.ts'
import { reservedHeader, userHeaders } from '../reserved-headers.ts'
import type { Acknowledgement } from './acknowledgement.ts'
import { latestTime, type AskedWait } from './asked-retry.ts'
import { CollectedEffects, type OutputTopic } from './collected-effects.ts'
import type { StateReference, StateView } from './state-view.ts'

/** A message as a handler gets it. Everything is a copy or frozen: keeping it keeps nothing else alive. */
export class HandedMessage implements Message<unknown> {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: string | undefined
  readonly value: unknown
  readonly headers: Headers
  readonly attempt: number
  readonly #idPrefix: string
  /** With those of the engine. */
  readonly #stored: Headers

  constructor(
    topic: string,
    partition: number,
    batch: RecordBatch,
    index: number,
    key: string | undefined,
    value: unknown,
    attempt: number,
  ) {
    this.topic = topic
    this.partition = partition
    this.offset = batch.offsetAt(index)
    this.timestamp = batch.timestampAt(index)
    this.key = key
    this.value = value
    this.#stored = batch.headersAt(index)
    this.headers = userHeaders(this.#stored)
    this.attempt = attempt
    this.#idPrefix = batch.idPrefix
  }

  /** What ids of messages of this log begin with: with the offset it says which message this is, whoever gave it an id. */
  get origin(): string {
    return this.#idPrefix
  }

  // Made when it is asked for: most handlers never do.
  get id(): string {
    return this.#stored[reservedHeader.id] ?? this.#idPrefix + this.offset
  }

  get deadLetterFacts(): DeadLetterFacts | undefined {
    return readDeadLetterFacts(this.#stored)
  }

  get redriveFacts(): RedriveFacts | undefined {
    return readRedriveFacts(this.#stored)
  }

  toJSON(): Message<unknown> {
    const { topic, partition, offset, timestamp, key, value, headers, id, attempt, deadLetterFacts, redriveFacts } =
      this
    const facts = { ...(deadLetterFacts && { deadLetterFacts }), ...(redriveFacts && { redriveFacts }) }
    return { topic, partition, offset, timestamp, key, value, headers, id, attempt, ...facts }
  }
}

/** What a handler gets beside the message. */
export interface HandlerContext {
  /**
   * Aborted when the handler is to end: its time is over (`HANDLER_TIMEOUT`), it was cancelled (`CANCELLED`), or its
   * subscription was closed with the handler still running at the deadline, or has ended (the reason tells why).
   */
  readonly signal: AbortSignal
  /** Which attempt this is, from 1; of a batch the highest of its messages. */
  readonly attempt: number
  /**
   * Rises with every change of the partition's owner, over restarts too. Store it beside an effect and refuse a smaller
   * one, and a handler that lost its partition can do no harm there.
   */
  readonly fence: number
  /**
   * Calls `call` and returns what it returns. Says, in a word or two, that the handler waits for something outside of the
   * process: a test in virtual time then knows what it waits for. In production it costs a function call.
   */
  external<T>(label: string, call: () => T): T
  /**
   * Gives the call more time: its limit is over in `ms` milliseconds from now on. Does nothing where
   * {@link SubscribeOptions.handlerTimeoutMs} is not set.
   *
   * @param ms - 1 to 2 ** 53 - 1, or Infinity for no limit; `handlerTimeoutMs` once more when left out
   * @throws `FENCED` when the time was over already, or the call has ended; `INVALID_OPTION`
   */
  extend(ms?: number): void
  /**
   * Sends a message that commits with the acknowledgement: it is in the log exactly when this message is done. Nothing is
   * sent when the handler fails. With arrays the outputs commit when the whole array is done.
   *
   * @throws `INVALID_MESSAGE`, `MESSAGE_TOO_LARGE`, `ENCODING_FAILED`, `VALIDATION_FAILED`; `TRANSACTION_ENDED` once the
   * handler is over; `UNSUPPORTED` where the broker can't
   */
  send<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): void
  /**
   * A store of state whose writes commit with the acknowledgement, so that they happen exactly once however often the
   * handler runs. By its name the values are JSON; one that is not there yet is created.
   *
   * When something that the handler read there was changed before the commit, it runs again, without an attempt counted.
   *
   * @throws `INVALID_NAME`; `TRANSACTION_ENDED` once the handler is over; `UNSUPPORTED` where the broker keeps no state
   */
  store<V = unknown>(store: string | StateReference<V>): StateView<V>
  /**
   * Has the message moved to the dead letters once the handler returns, whatever `onExhausted` says: it is not tried again.
   * What the handler sent and wrote commits with the move. When the handler throws, that counts instead.
   *
   * A handler of arrays returns an {@link UnrecoverableError} as the outcome of the message instead.
   *
   * @param reason - up to 1,024 characters, it stands among the facts of the dead letter
   * @throws `INVALID_OPTION`; `TRANSACTION_ENDED` once the handler is over; `UNSUPPORTED` for arrays, and where the broker can't
   */
  deadLetter(reason: string): void
  /**
   * Has the message handed out again at a time of the wall clock, and not before: whether the handler returns or throws,
   * the attempt counts as failed, and nothing that it sent or stored happens. The time is stored; it stands in place of
   * the back-off and beyond its maximum, over restarts and jumps of the clock. A clock that is set forward is noticed within
   * ten minutes. With arrays it holds for all messages of the array.
   *
   * {@link SubscribeOptions.attempts} still ends it, and so does an error thrown that is not to be tried again.
   *
   * @param time - milliseconds since 1970, or a date; one that is over means at once
   * @throws `INVALID_OPTION`; `TRANSACTION_ENDED` once the handler is over
   */
  retryAt(time: number | Date): void
  /** Has a part take effect with the acknowledgement. @internal */
  join(part: CommitPart): void
  /** The engine's side. @internal */
  readonly call: CallContext
}

/** Longest reason of a dead letter. */
const maxReason = 1_024

/** The context of one handler call. */
export class CallContext implements HandlerContext {
  readonly attempt: number
  readonly fence: number
  /** Made when the handler asks for the signal, or when there is something to abort. */
  #controller: AbortController | undefined
  /** Whether the call got an array, so that it is not to be seen which message is meant. */
  isOfArray = false
  /** Whether the message is finished on disk already, so that nothing can commit with it. */
  isAcknowledged = false
  /** What the handler wants done with its acknowledgement; made when it asks. */
  effects: CollectedEffects | undefined
  /** Set when the message was acknowledged by hand, and the call is about to end. */
  byHand: Acknowledgement | undefined
  readonly #state: State | undefined
  #isEnded = false

  /** `state` is where stores are. */
  constructor(attempt: number, fence: number, state: State | undefined) {
    this.attempt = attempt
    this.fence = fence
    this.#state = state
  }

  get call(): this {
    return this
  }

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal
  }

  external<T>(_label: string, call: () => T): T {
    return call()
  }

  extend(ms?: number): void {
    if (ms !== undefined) checkExtension(ms)
  }

  /** Set when the time of the call was over. Only a limited call knows: see `LimitedContext`. */
  get timeout(): QueueError | undefined {
    return undefined
  }

  /** Whether nothing that the handler asks for would happen any more. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  send<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): void {
    this.#collect().send(topic, message)
  }

  store<V>(store: string | StateReference<V>): StateView<V> {
    return this.#collect().store(store)
  }

  deadLetter(reason: string): void {
    const isText = typeof reason === 'string' && reason !== '' && reason.length <= maxReason && reason.isWellFormed()
    if (!isText) throw invalid('deadLetter', 'reason', reason, `text of 1 to ${maxReason} characters`)
    if (this.isOfArray) {
      const message = 'a handler of arrays returns an UnrecoverableError as the outcome of the message'
      throw new QueueError('UNSUPPORTED', message)
    }
    if (this.#state === undefined) throw new QueueError('UNSUPPORTED', 'this broker moves no messages to dead letters')
    const effects = this.#collect()
    effects.assertOpen()
    effects.letter = reason
  }

  retryAt(time: number | Date): void {
    this.askRetry({ at: checkTime(time) })
  }

  askRetry(wait: AskedWait): void {
    this.#collect().askRetry(wait)
  }

  /** What was asked for in place of the back-off. */
  get asked(): AskedWait | undefined {
    return this.effects?.retry?.wait
  }

  /** The message is acknowledged by hand; the call ends with it. */
  acknowledge(acknowledgement: Acknowledgement): void {
    if (this.#isEnded) return acknowledgement.refuse('the time of the message was over', this.timeout)
    this.byHand?.refuse('the message was handed out once more')
    this.byHand = acknowledgement
  }

  join(part: CommitPart): void {
    this.#collect().join(part)
  }

  /** The handler is over: what it asks for from now on would never happen. */
  end(): void {
    this.#isEnded = true
    this.effects?.close(this.timeout)
  }

  /** The handler runs once more in the same call: what it wanted before is dropped. */
  beginAnew(): void {
    this.effects?.end()
    this.effects = undefined
  }

  /** @throws `UNSUPPORTED` */
  #collect(): CollectedEffects {
    if (this.isAcknowledged) {
      const message =
        "with ackMode 'before' the message is finished: nothing can commit with it, or have it tried again"
      throw new QueueError('UNSUPPORTED', message)
    }
    if (this.effects === undefined) {
      this.effects = new CollectedEffects(this.#state)
      if (this.#isEnded) this.effects.close(this.timeout)
    }
    return this.effects
  }

  abort(reason: QueueError): void {
    ;(this.#controller ??= new AbortController()).abort(reason)
  }
}

const extension = integerOrInfinity(1)

/** @throws `INVALID_OPTION` */
export function checkExtension(ms: unknown): void {
  if (!extension.accepts(ms)) throw invalid('extend', 'ms', ms, extension.allowed)
}

const times = decimal(0, latestTime)

/** @throws `INVALID_OPTION` */
function checkTime(time: unknown): number {
  const ms = time instanceof Date ? time.getTime() : time
  if (times.accepts(ms)) return ms as number
  throw invalid('retryAt', 'time', time, `a valid date from 1970 on, or its milliseconds: ${times.allowed}`)
}
