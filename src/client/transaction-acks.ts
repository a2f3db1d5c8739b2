import type { Acknowledgement, Broker, Membership, PartitionSettlement } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import { QueueError } from '../errors.ts'
import { invalid } from '../options.ts'
import { openMessageOf, type OpenMessage } from './ack-queue.ts'

/** Pulled messages that a transaction acknowledges, if it commits. */
export class TransactionAcks {
  readonly #broker: Broker
  readonly #messages = new Set<OpenMessage>()
  /** Set when the transaction took effect. */
  #isTaken = false
  /** Tell those who ask a message for its outcome from then on. */
  readonly #waiting: { readonly settled: () => void; readonly refused: (error: unknown) => void }[] = []

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** @throws `INVALID_OPTION`, `FENCED` */
  add(message: unknown): void {
    const open = openMessageOf(message)
    if (open?.queue.from?.broker !== this.#broker)
      throw invalid('ack', 'message', message, 'a message that was pulled from a subscription of this queue')
    assertOpen(open)
    this.#messages.add(open)
  }

  /** The progress that commits, by member. @throws `FENCED` */
  acknowledgements(): Acknowledgement[] {
    const byMember = new Map<Membership, Map<number, PartitionSettlement & { readonly finished: number[] }>>()
    for (const open of this.#messages) {
      assertOpen(open)
      const { membership } = open.queue.from!
      const { message, context } = open
      const assignment = open.queue.from!.assignmentOf(message, context.fence)
      if (assignment === undefined) throw lost(open, 'its partition has another owner')
      const partitions = byMember.get(membership) ?? new Map<number, PartitionSettlement & { finished: number[] }>()
      byMember.set(membership, partitions)
      const known = partitions.get(context.fence)
      if (known) known.finished.push(message.offset, message.offset + 1)
      else partitions.set(context.fence, { assignment, finished: [message.offset, message.offset + 1] })
    }
    return [...byMember].map(([membership, partitions]) => ({ membership, partitions: [...partitions.values()] }))
  }

  /** What goes with the commit: the messages are nobody else's from then on. Undefined where there are none. */
  get part(): CommitPart | undefined {
    if (this.#messages.size === 0) return undefined
    return {
      check: () => {
        for (const open of this.#messages) assertOpen(open)
      },
      apply: () => {
        this.#isTaken = true
        for (const open of this.#messages) {
          // It is not late any more: it is done.
          open.context.extend(Infinity)
          void open.endWith((settled, refused) => this.#waiting.push({ settled, refused }))
        }
      },
    }
  }

  /** The transaction is durable: the calls of its messages end. */
  settled(): void {
    for (const open of this.#messages) if (open.queue.close(open)) open.resolve()
    for (const { settled } of this.#waiting) settled()
  }

  /** The transaction failed. What had not taken effect leaves its messages open. */
  refused(error: unknown): void {
    if (!this.#isTaken) return
    for (const { refused } of this.#waiting) refused(error)
  }
}

function assertOpen(open: OpenMessage): void {
  const { call } = open.context
  if (open.outcome !== undefined) throw lost(open, 'it was acknowledged or refused already')
  if (call.isEnded) throw lost(open, 'its time was over')
  if (!open.queue.isOpen(open)) throw lost(open, 'its subscription was closed')
  if (call.effects === undefined) return
  const text =
    'a message that a transaction acknowledges has a context with effects of its own: collect them in the transaction'
  throw new QueueError('INVALID_MESSAGE', text, placeOf(open))
}

function lost(open: OpenMessage, why: string): QueueError {
  const { topic, partition, offset } = open.message
  const text = `offset ${offset} of ${topic}/${partition} can't be acknowledged by a transaction: ${why}`
  return new QueueError('FENCED', text, placeOf(open))
}

function placeOf({ message: { topic, partition, offset } }: OpenMessage): {
  topic: string
  partition: number
  offset: number
} {
  return { topic, partition, offset }
}
