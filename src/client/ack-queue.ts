import { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'

/** A message that the user acknowledges. */
export interface PulledMessage<V> extends Message<V> {
  /** Marks the message as finished. A second call does nothing. */
  ack(): void
  /** Has the message tried again after the back-off. A second call, or one after `ack`, does nothing. */
  nack(error?: unknown): void
}

/**
 * Turns the handler's side of a subscription into messages that are pulled and acknowledged one by one. Bounded by the
 * subscription's concurrency: each message is a handler call that has not returned yet.
 */
export class AckQueue {
  /** Handed out by the dispatcher, not pulled yet. */
  readonly #arrived: PulledMessage<unknown>[] = []
  /** Every message that is neither acknowledged nor refused. */
  readonly #open = new Set<(error: QueueError) => void>()
  /** Loops that wait for a message; one is woken for each. */
  #waiting: (() => void)[] = []
  #isClosed = false

  /** The handler of the subscription. */
  readonly handle = (message: Message<unknown>): Promise<void> => {
    return new Promise((resolve, reject) => {
      const refuse = (error: unknown): void => {
        if (this.#open.delete(refuse)) reject(error as Error)
      }
      this.#open.add(refuse)
      const ack = (): void => {
        if (this.#open.delete(refuse)) resolve()
      }
      const nack = (error?: unknown): void => refuse(error ?? new Error('nack'))
      if (this.#isClosed) return refuse(closed())
      this.#arrived.push(pulled(message, ack, nack))
      this.#waiting.shift()?.()
    })
  }

  /** The next message; undefined when there will be none. */
  async next(): Promise<PulledMessage<unknown> | undefined> {
    while (this.#arrived.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    return this.#arrived.shift()
  }

  /** Gives back everything that is not acknowledged. */
  close(): void {
    this.#isClosed = true
    this.#arrived.length = 0
    for (const refuse of [...this.#open]) refuse(closed())
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

function pulled(message: Message<unknown>, ack: () => void, nack: (error?: unknown) => void): PulledMessage<unknown> {
  const { topic, partition, offset, timestamp, key, value, headers, id, attempt } = message
  return { topic, partition, offset, timestamp, key, value, headers, id, attempt, ack, nack }
}

function closed(): QueueError {
  return new QueueError('CLOSED', 'the subscription was closed before the message was acknowledged')
}
