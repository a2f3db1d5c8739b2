import type { Codec } from '../codec.ts'
import type { Effects, Output } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { State, StateTransaction } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import type { OutgoingMessage } from '../message.ts'
import { checkStoreName, invalid } from '../options.ts'
import { AskedRetry, type AskedWait } from './asked-retry.ts'
import { defaultStateCodec, SpaceView, type StateReference, type StateView } from './state-view.ts'

/** A topic as those see it who send within a handler or a transaction. {@link Topic} is one. */
export interface OutputTopic<V> {
  readonly name: string
  /** Checks and encodes a message, without sending it. @internal */
  output(message: OutgoingMessage<V>): Output
}

/**
 * What a handler or a transaction wants to have done: collected while it runs, and given to the broker in one piece.
 * Nothing of it happens before.
 */
export class CollectedEffects implements Effects {
  readonly outputs: Output[] = []
  readonly parts: CommitPart[] = []
  /** Why the message goes to the dead letters with the rest; undefined when it is done. */
  letter: string | undefined
  /** Set when the handler asked for another attempt: then nothing of this happens. */
  retry: AskedRetry | undefined
  readonly #state: State | undefined
  /** Made when the first store is asked for. */
  #transaction: StateTransaction | undefined
  #isEnded = false
  /** Set when the handler goes on after its time. */
  #timeout: QueueError | undefined

  constructor(state: State | undefined) {
    this.#state = state
  }

  send<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): void {
    this.assertOpen()
    if (typeof topic?.output !== 'function') throw invalid('send', 'topic', topic, 'a topic of this queue')
    this.outputs.push(topic.output(message))
  }

  store<V>(store: string | StateReference<V>): StateView<V> {
    this.assertOpen()
    const { name, codec } = referenceOf(store)
    checkStoreName(name)
    if (this.#state === undefined) {
      throw new QueueError('UNSUPPORTED', 'this broker keeps no state beside the log', { store: name })
    }
    if (this.#transaction === undefined) {
      this.#transaction = this.#state.begin()
      this.parts.push(this.#transaction)
    }
    return new SpaceView(this.#transaction, this.#state.space(name), codec, () => this.assertOpen())
  }

  /** Has a part take effect with the rest. */
  join(part: CommitPart): void {
    this.assertOpen()
    this.parts.push(part)
  }

  /** The message is to be handed out again, and nothing else is to happen. The last word counts. */
  askRetry(wait: AskedWait): void {
    this.assertOpen()
    this.retry = new AskedRetry(wait)
  }

  /** Nothing more is taken; `timeout` says so of a handler that goes on after its time. */
  close(timeout?: QueueError): void {
    this.#isEnded = true
    this.#timeout ??= timeout
  }

  /** What was collected is done or dropped. Idempotent. */
  end(): void {
    this.close()
    for (const part of this.parts) part.end?.()
  }

  assertOpen(): void {
    if (!this.#isEnded) return
    const cause = this.#timeout
    if (cause) throw new QueueError('FENCED', `nothing of this call is taken any more: ${cause.message}`, { cause })
    throw new QueueError('TRANSACTION_ENDED', 'the handler or transaction is over: send and store only while it runs')
  }
}

function referenceOf<V>(store: string | StateReference<V>): { name: string; codec: Codec<V> } {
  if (typeof store === 'string') return { name: store, codec: defaultStateCodec as Codec<V> }
  const isReference = typeof store === 'object' && store !== null && typeof store.codec?.encode === 'function'
  if (isReference) return store
  throw invalid('store', 'store', store, 'a store of this queue, or the name of one')
}
