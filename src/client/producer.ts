import { EventEmitter } from 'eventemitter3'
import type { Broker, Output } from '../contracts/broker.ts'
import type { ProducerSession, SequencedPlace } from '../contracts/producers.ts'
import { QueueError } from '../errors.ts'
import type { Acks, OutgoingMessage, SendResult } from '../message.ts'
import { invalid } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Confirms, type OpenSend } from './confirms.ts'
import type { SendOptions } from './options.ts'
import { OrderedSends } from './ordered-sends.ts'
import type { Preparation } from './preparation.ts'
import type { PreparedMessage } from './prepared-message.ts'
import {
  resolveProducerSend,
  type ProducerEvents,
  type ProducerSendOptions,
  type ResolvedProducerOptions,
  type ResolvedProducerSend,
  type SendFailure,
} from './producer-options.ts'
import type { Topic } from './topic.ts'

/** What a producer asks of the queue that it belongs to. @internal */
export interface ProducerHost {
  readonly broker: Broker
  readonly runtime: Runtime
  readonly onClosed: (producer: Producer) => void
  /** Undefined for a producer without a name. */
  readonly preparation: Preparation | undefined
}

/**
 * Sends messages and says in three ways what became of them: each send's promise; {@link Producer.flush} after many; or the
 * events `ack` and `nack`.
 *
 * A send whose promise nobody awaits never ends the process: its failure is told by the next `flush` and by `nack`.
 */
export class Producer {
  /** Its name; undefined when it has none. */
  readonly name: string | undefined
  readonly #host: ProducerHost
  readonly #options: ResolvedProducerOptions
  readonly #session: ProducerSession | undefined
  readonly #ordered: OrderedSends | undefined
  readonly #confirms = new Confirms()
  readonly #emitter = new EventEmitter()
  /** Whether sends are given their numbers; undefined before the first one. */
  #isSequenced: boolean | undefined
  /** Messages that failed and that no flush has told of; the first of them. */
  #failures: SendFailure[] = []
  /** How many there are. */
  #failed = 0
  #flushes: { readonly upTo: number; readonly done: () => void }[] = []
  #closed: QueueError | undefined
  #closing: Promise<void> | undefined

  /** @internal */
  constructor(host: ProducerHost, options: ResolvedProducerOptions, session: ProducerSession | undefined) {
    this.#host = host
    this.#options = options
    this.name = options.name
    this.#session = session
    if (options.retries > 0) this.#ordered = new OrderedSends(host.broker, host.runtime, options)
  }

  /** Rises whenever the name is opened, over restarts too; undefined without a name. */
  get epoch(): number | undefined {
    return this.#session?.epoch
  }

  /**
   * The last sequence that was accepted under this name: after a restart go on behind it. It may not be on disk yet;
   * {@link Producer.flush} waits for that. Undefined when there is none.
   */
  get lastSequence(): number | undefined {
    return this.#session?.last?.sequence
  }

  /** What a named one holds; see {@link ProducerSession}. @internal */
  get session(): ProducerSession | undefined {
    return this.#session
  }

  /**
   * Sends a message, as {@link Topic.send} does.
   *
   * @throws as {@link Topic.send}; `FENCED` once the name was opened again; `IN_FLIGHT_FULL` also when too many sends are
   * under way; `INVALID_MESSAGE` for a sequence that does not rise; `INVALID_OPTION` for one without a name
   */
  send<V>(topic: Topic<V>, message: OutgoingMessage<V>, options?: ProducerSendOptions): Promise<SendResult> {
    return this.#send(topic as Topic<never>, [message], options, (given) => {
      if (this.#isPlain) return topic.send(message, options && plain(given))
      return this.#commit(() => [topic.output(message)], given).then(([result]) => result!)
    })
  }

  /**
   * Sends messages in one commit, as {@link Topic.sendBatch} does. It is one send, with one number.
   *
   * @throws as {@link Topic.sendBatch} and {@link Producer.send}
   */
  sendBatch<V>(
    topic: Topic<V>,
    messages: readonly OutgoingMessage<V>[],
    options?: ProducerSendOptions,
  ): Promise<SendResult[]> {
    return this.#send(topic as Topic<never>, messages, options, (given) => {
      if (this.#isPlain || !Array.isArray(messages)) return topic.sendBatch(messages, options && plain(given))
      return this.#commit(() => topic.outputs(messages), given)
    })
  }

  /**
   * Stores a message that nobody sees until it is committed; see {@link PreparedMessage}. On disk when this resolves. It
   * waits for a decision over restarts too: of this producer, of {@link Producer.prepared} or of the checker.
   *
   * @remarks Semantics: RocketMQ half messages. Where the work is kept in the same store, {@link MessageQueue.transaction} is
   * enough.
   * @throws `INVALID_OPTION` without a name; `PREPARED_FULL`; as {@link Producer.send}
   */
  prepare<V>(topic: Topic<V>, message: OutgoingMessage<V>): Promise<PreparedMessage<V>> {
    try {
      if (this.#closed) throw this.#closed
      return this.#preparation('prepare').prepare(topic, message)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  /**
   * What was prepared under this name, also before a restart, and is not decided about; in the order in which it was
   * prepared.
   *
   * @throws `INVALID_OPTION` without a name
   */
  prepared(): AsyncIterableIterator<PreparedMessage> {
    return this.#preparation('prepared').list()
  }

  /** Has the checker asked no more. @internal */
  endChecks(): void {
    this.#host.preparation?.close()
  }

  /**
   * Settles when everything is confirmed that was sent before by this producer.
   *
   * @throws `SENDS_FAILED` when some of it failed: `error.failures` has a {@link SendFailure} for each message, the first
   * `maxFailures` of them, and `error.count` counts all. Each is told by one flush only.
   */
  async flush(): Promise<void> {
    await this.#told(this.#confirms.begun)
    const failures = this.#failures
    const count = this.#failed
    if (count === 0) return
    this.#failures = []
    this.#failed = 0
    const [first] = failures as [SendFailure]
    const message = `${count} messages could not be sent; the first one, to ${first.topic}: ${String(first.error)}`
    throw new QueueError('SENDS_FAILED', message, { ...this.#naming, count, failures, cause: first.error })
  }

  /**
   * Calls `listener` when sends were confirmed (`ack`) or failed (`nack`): once for all that became known together, in the
   * order of the calls as far as nothing before them is open. What it throws becomes a process warning.
   */
  on<N extends keyof ProducerEvents>(name: N, listener: (event: ProducerEvents[N]) => void): this {
    this.#emitter.on(name, listener)
    return this
  }

  /** Calls `listener` no more. */
  off<N extends keyof ProducerEvents>(name: N, listener: (event: ProducerEvents[N]) => void): this {
    this.#emitter.off(name, listener)
    return this
  }

  /** Refuses new sends, and settles when those under way are confirmed or failed. Lets go of the name. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  /** As {@link Producer.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The queue closes: what could not be handed to it yet never will. @internal */
  abandon(error: QueueError): void {
    this.#closed ??= error
    this.endChecks()
    this.#ordered?.close(error)
  }

  async #close(): Promise<void> {
    this.#closed ??= new QueueError('CLOSED', 'the producer is closed', this.#naming)
    this.endChecks()
    await this.#told(this.#confirms.begun)
    this.#session?.close()
    this.#host.onClosed(this)
  }

  #preparation(where: string): Preparation {
    const { preparation } = this.#host
    if (preparation) return preparation
    throw invalid(where, 'name', this.name, 'a producer with a name', 'is missing')
  }

  /** Whether sends need nothing but their topic. */
  get #isPlain(): boolean {
    return this.#session === undefined && this.#ordered === undefined
  }

  get #naming(): { producer?: string } {
    return this.name === undefined ? {} : { producer: this.name }
  }

  /** Counts a send from its call until its outcome has been told. */
  #send<R extends SendResult | SendResult[]>(
    topic: Topic<never>,
    messages: readonly OutgoingMessage<unknown>[],
    options: ProducerSendOptions | undefined,
    start: (options: ResolvedProducerSend) => Promise<R>,
  ): Promise<R> {
    if (this.#closed) return handled(Promise.reject(this.#closed))
    let sequence = this.#confirms.begun + 1
    let sent: Promise<R>
    try {
      const given = this.#resolve(topic, options)
      sequence = given.sequence ?? sequence
      sent = start(given)
    } catch (error) {
      sent = Promise.reject(error as Error)
    }
    const open = this.#confirms.begin(sequence)
    sent.then(
      (results) => this.#settled(open, Array.isArray(results) ? results : [results], undefined),
      (error: unknown) => {
        this.#keepFailures(topic, messages, sequence, error)
        this.#settled(open, undefined, { error })
      },
    )
    return sent
  }

  #settled(open: OpenSend, results: readonly SendResult[] | undefined, failure: OpenSend['failure']): void {
    if (this.#confirms.settle(open, results, failure)) this.#host.runtime.soon('confirm', this.#tell)
  }

  /** Tells everyone what became known in this turn. */
  readonly #tell = (): void => {
    for (const { kind, event } of this.#confirms.take()) {
      for (const listener of this.#emitter.listeners(kind)) this.#call(listener as (event: unknown) => unknown, event)
    }
    const { told } = this.#confirms
    const waiting = this.#flushes
    this.#flushes = waiting.filter(({ upTo }) => upTo > told)
    for (const { upTo, done } of waiting) if (upTo <= told) done()
  }

  #call(listener: (event: unknown) => unknown, event: unknown): void {
    const report = (error: unknown): void => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#host.runtime.warn(`a listener of a lanemq producer threw: ${text}`)
    }
    try {
      const result = listener(event)
      if (result instanceof Promise) result.catch(report)
    } catch (error) {
      report(error)
    }
  }

  /** Resolves when so many sends have been told of, counted from the first. */
  #told(upTo: number): Promise<void> {
    if (this.#confirms.told >= upTo) return Promise.resolve()
    return new Promise((done) => this.#flushes.push({ upTo, done }))
  }

  #keepFailures(
    topic: Topic<never>,
    messages: readonly OutgoingMessage<unknown>[],
    sequence: number,
    error: unknown,
  ): void {
    const given = Array.isArray(messages) ? messages : [messages]
    this.#failed += given.length
    for (const message of given.slice(0, this.#options.maxFailures - this.#failures.length)) {
      // It may be no topic at all.
      this.#failures.push({ topic: (topic as { name?: string } | undefined)?.name ?? '', sequence, error, message })
    }
  }

  /** Sends what needs more than its topic: a name, or more than one try. */
  #commit(encode: () => Output[], { acks, signal, sequence }: ResolvedProducerSend): Promise<SendResult[]> {
    const outputs = encode()
    const parts = this.#session === undefined ? [] : [this.#session.part(sequence)]
    if (sequence !== undefined) {
      const found = this.#session!.find(sequence)
      if (found.kind === 'duplicate') {
        parts[0]!.check()
        return this.#repeated(found.place, outputs.length, acks)
      }
      const last = this.#confirms.lastOpen?.sequence ?? -1
      if (found.kind === 'late' || sequence <= last)
        throw this.#notRising(sequence, Math.max(last, this.lastSequence ?? -1))
    }
    if (this.#ordered) return this.#ordered.send(outputs, parts, { acks, signal })
    return this.#host.broker.transact({ outputs, parts }, [], { acks, signal })
  }

  /** The answer to a send that was accepted before; it settles when the first one is as safe as it asks for. */
  async #repeated(place: SequencedPlace | undefined, count: number, acks: Acks): Promise<SendResult[]> {
    const { broker } = this.#host
    if (acks === 'flushed') await broker.flush()
    const level = broker.capabilities.durable ? acks : 'memory'
    const unknown = { partition: -1, offset: -1, timestamp: -1 }
    return Array.from({ length: count }, () => {
      const { partition, offset, timestamp } = (count === 1 ? place : undefined) ?? unknown
      return { partition, offset, timestamp, acks: level, duplicate: true }
    })
  }

  /** @throws `INVALID_OPTION`, `IN_FLIGHT_FULL` */
  #resolve(topic: Topic<never>, options: ProducerSendOptions | undefined): ResolvedProducerSend {
    const { maxInFlightSends } = this.#options
    if (this.#confirms.open >= maxInFlightSends) {
      const message = `${maxInFlightSends} sends of this producer are under way (maxInFlightSends): send again later`
      throw new QueueError('IN_FLIGHT_FULL', message, this.#naming)
    }
    const resolved = resolveProducerSend(topic, options, this.#session !== undefined)
    const { sequence } = resolved
    this.#isSequenced ??= sequence !== undefined
    if (this.#isSequenced === (sequence !== undefined)) return resolved
    const allowed = this.#isSequenced ? 'a sequence for each send, as for the first one' : 'none, as for the first send'
    throw invalid('send', 'sequence', sequence, allowed)
  }

  #notRising(sequence: number, last: number): QueueError {
    const allowed = `a whole number above ${last}`
    const message = `sequence ${sequence} was not sent, but ${last} was: sequences have to rise in the order of the calls`
    return new QueueError('INVALID_MESSAGE', message, { ...this.#naming, option: 'sequence', value: sequence, allowed })
  }
}

function plain({ acks, signal }: ResolvedProducerSend): SendOptions {
  return signal === undefined ? { acks } : { acks, signal }
}

/** A promise that is rejected whether anybody looks or not. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
