import type { RecordBatch } from '../contracts/broker.ts'
import type { QueueError } from '../errors.ts'
import type { Headers, Message } from '../message.ts'

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
    this.headers = batch.headersAt(index)
    this.attempt = attempt
    this.#idPrefix = batch.idPrefix
  }

  // Made when it is asked for: most handlers never do.
  get id(): string {
    return this.#idPrefix + this.offset
  }

  toJSON(): Message<unknown> {
    const { topic, partition, offset, timestamp, key, value, headers, id, attempt } = this
    return { topic, partition, offset, timestamp, key, value, headers, id, attempt }
  }
}

/** What a handler gets beside the message. */
export interface HandlerContext {
  /** Aborted when the subscription is closed with the handler still running at the deadline, or has lost its partition. */
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
}

/** The context of one handler call. */
export class CallContext implements HandlerContext {
  readonly attempt: number
  readonly fence: number
  /** Made when the handler asks for the signal, or when there is something to abort. */
  #controller: AbortController | undefined

  constructor(attempt: number, fence: number) {
    this.attempt = attempt
    this.fence = fence
  }

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal
  }

  external<T>(_label: string, call: () => T): T {
    return call()
  }

  abort(reason: QueueError): void {
    ;(this.#controller ??= new AbortController()).abort(reason)
  }
}
