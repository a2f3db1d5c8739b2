import { AsyncLocalStorage } from 'node:async_hooks'
import type { Broker } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import { CollectedEffects, type OutputTopic } from '../dispatch/collected-effects.ts'
import type { StateReference, StateView } from '../dispatch/state-view.ts'
import { isQueueError, QueueError } from '../errors.ts'
import type { Acks, OutgoingMessage, SendResult } from '../message.ts'
import { abortSignal, integer, invalid, oneOf, resolveOptions } from '../options.ts'
import type { PulledMessage } from './ack-queue.ts'
import { TransactionAcks } from './transaction-acks.ts'

/** Options of {@link MessageQueue.transaction}. */
export interface TransactionOptions {
  /**
   * How often the callback runs at most, when state that it read was changed before the commit. 1: it runs once, and a
   * conflict rejects with `CONFLICT`, which is retriable.
   *
   * @defaultValue `1`
   * @remarks Range: 1 to 1_000.
   */
  readonly attempts?: number
  /** What the transaction waits for, see {@link SendOptions.acks}. @defaultValue `'flushed'` */
  readonly acks?: Acks
  /** Takes back a transaction that still waits for its turn (`ABORTED`); one that took effect stays. */
  readonly signal?: AbortSignal
}

/** What a transaction may do: nothing of it happens before its callback has returned, then all of it at once. */
export interface Transaction {
  /** Sends a message with the commit. @returns its place among the sends of this transaction, from 0 */
  send<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): number
  /** A store of state, as {@link HandlerContext.store}. Reads see the writes of this transaction. */
  store<V = unknown>(store: string | StateReference<V>): StateView<V>
  /**
   * Acknowledges a message with the commit, one that was pulled from a subscription of this queue: it is finished exactly
   * when the rest of the transaction is there. Its own `ack()` promises the same from then on. When the transaction is
   * refused the message stays open. To acknowledge it twice here does no harm.
   *
   * @throws `FENCED` when the message was acknowledged or refused before, or is not the subscription's any more, which
   * rejects the transaction too when it turns out at the commit; `INVALID_MESSAGE` when its own context has collected
   * effects; `INVALID_OPTION`
   */
  ack(message: PulledMessage<unknown>): void
  /** Has a part take effect with the rest. @internal */
  join(part: CommitPart): void
}

/** What became of a transaction. */
export interface TransactionResult<R> {
  /** What the callback returned. */
  readonly value: R
  /** Where each message went, in the order of the sends. */
  readonly sends: readonly SendResult[]
}

/** What runs inside of a transaction's callback, so that another one there is noticed. Made when one is begun. */
let inside: AsyncLocalStorage<CollectedEffects> | undefined

/** Runs a callback and commits what it collected. */
export async function runTransaction<R>(
  broker: Broker,
  callback: (transaction: Transaction) => R | PromiseLike<R>,
  options: TransactionOptions | undefined,
): Promise<TransactionResult<Awaited<R>>> {
  if (typeof callback !== 'function') throw invalid('transaction', 'callback', callback, 'a function')
  const { attempts, acks, signal } = resolveTransactionOptions(options)
  if (inside?.getStore() !== undefined) {
    throw new QueueError('TRANSACTION_NESTED', 'a transaction was begun inside of another one: use the outer one')
  }
  for (let attempt = 1; ; attempt++) {
    const effects = new CollectedEffects(broker.state)
    const messages = new TransactionAcks(broker)
    try {
      const value = await collect(effects, messages, callback)
      const { part } = messages
      if (part) effects.parts.push(part)
      const sends = await broker.transact(effects, messages.acknowledgements(), { acks, signal })
      messages.settled()
      return { value, sends }
    } catch (error) {
      messages.refused(error)
      if (attempt >= attempts || !isQueueError(error, 'CONFLICT')) throw error
    } finally {
      effects.end()
    }
  }
}

/** Runs the callback; the transaction is closed when it ends. */
async function collect<R>(
  effects: CollectedEffects,
  messages: TransactionAcks,
  callback: (transaction: Transaction) => R | PromiseLike<R>,
): Promise<Awaited<R>> {
  const transaction: Transaction = {
    send: (topic, message) => {
      effects.send(topic, message)
      return effects.outputs.length - 1
    },
    store: (store) => effects.store(store),
    ack: (message) => {
      effects.assertOpen()
      messages.add(message)
    },
    join: (part) => effects.join(part),
  }
  inside ??= new AsyncLocalStorage()
  try {
    return await inside.run(effects, () => callback(transaction))
  } finally {
    effects.close()
  }
}

function resolveTransactionOptions(given: TransactionOptions | undefined): Required<TransactionOptions> {
  const fields = {
    attempts: integer(1, 1_000, 1),
    acks: oneOf<Acks>(['flushed', 'buffered'], 'flushed'),
    signal: abortSignal(),
  }
  const resolved = resolveOptions<TransactionOptions>(given, fields, 'transaction') as Required<TransactionOptions>
  if (resolved.signal?.aborted) {
    throw new QueueError('ABORTED', 'the signal was aborted before the transaction', { cause: resolved.signal.reason })
  }
  return resolved
}
