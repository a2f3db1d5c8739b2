import type { AppendOptions, Broker, Output } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import { isQueueError, QueueError } from '../errors.ts'
import type { SendResult } from '../message.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'

/** How often a send is tried again, and after what time. */
export interface SendRetries {
  readonly retries: number
  readonly retryDelayMs: number
}

interface OrderedSend {
  readonly number: number
  readonly outputs: readonly Output[]
  readonly parts: readonly CommitPart[]
  readonly options: AppendOptions
  failures: number
  readonly resolve: (results: SendResult[]) => void
  readonly reject: (error: unknown) => void
}

/**
 * Sends that are tried again when there was no room for them, without ever changing their order: each of them takes effect
 * only in its turn, which is checked in its commit. What is called later waits behind one that is tried again.
 */
export class OrderedSends {
  readonly #broker: Broker
  readonly #runtime: Runtime
  readonly #retries: SendRetries
  #count = 0
  /** The number of the send whose turn it is. */
  #next = 0
  /** Given up out of their turn. */
  readonly #gone = new Set<number>()
  /** To be tried again, in the order of their numbers. */
  #waiting: OrderedSend[] = []
  #timer: Timer | undefined
  #closed: QueueError | undefined

  constructor(broker: Broker, runtime: Runtime, retries: SendRetries) {
    this.#broker = broker
    this.#runtime = runtime
    this.#retries = retries
  }

  send(outputs: readonly Output[], parts: readonly CommitPart[], options: AppendOptions): Promise<SendResult[]> {
    if (this.#closed) return Promise.reject(this.#closed)
    return new Promise((resolve, reject) => {
      const number = this.#count++
      const turn: CommitPart = { check: () => this.#assertTurn(number), apply: () => this.#pass() }
      const send = { number, outputs, parts: [turn, ...parts], options, failures: 0, resolve, reject }
      if (this.#waiting.length > 0) this.#hold(send)
      else this.#try(send)
    })
  }

  /** Tries nothing any more; who waits is told so. */
  close(error: QueueError): void {
    this.#closed = error
    this.#timer?.cancel()
    this.#timer = undefined
    for (const send of this.#waiting.splice(0)) send.reject(error)
  }

  #try(send: OrderedSend): void {
    const { outputs, parts, options } = send
    if (options.signal?.aborted) return this.#giveUp(send, aborted(options.signal))
    this.#broker.transact({ outputs, parts }, [], options).then(
      (results) => {
        send.resolve(results)
        this.#tryAgain()
      },
      (error: unknown) => this.#failed(send, error),
    )
  }

  #failed(send: OrderedSend, error: unknown): void {
    if (this.#closed) return send.reject(error === outOfTurn ? this.#closed : error)
    if (error === outOfTurn) this.#hold(send)
    else if (isQueueError(error) && error.retriable && send.failures++ < this.#retries.retries) {
      this.#hold(send)
      this.#timer ??= this.#runtime.timer(this.#retries.retryDelayMs, 'retry send', () => {
        this.#timer = undefined
        this.#tryAgain()
      })
    } else return this.#giveUp(send, error)
    if (send.number === this.#next) this.#tryAgain()
  }

  #giveUp(send: OrderedSend, error: unknown): void {
    this.#gone.add(send.number)
    this.#skipGone()
    send.reject(error)
    this.#tryAgain()
  }

  /** Keeps a send until those before it are through. They come back in their order, nearly always. */
  #hold(send: OrderedSend): void {
    let place = this.#waiting.length
    while (place > 0 && this.#waiting[place - 1]!.number > send.number) place--
    this.#waiting.splice(place, 0, send)
  }

  #tryAgain(): void {
    if (this.#timer !== undefined) return
    for (const send of this.#waiting.splice(0)) this.#try(send)
  }

  #assertTurn(number: number): void {
    if (number !== this.#next) throw outOfTurn
  }

  #pass(): void {
    this.#next++
    this.#skipGone()
  }

  #skipGone(): void {
    while (this.#gone.delete(this.#next)) this.#next++
  }
}

/** Thrown to those who are not first; nobody outside sees it. */
const outOfTurn = new QueueError('IN_FLIGHT_FULL', 'a send before this one is tried again first')

function aborted(signal: AbortSignal): QueueError {
  return new QueueError('ABORTED', 'the signal was aborted before the send took effect', { cause: signal.reason })
}
