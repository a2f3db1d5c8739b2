import type { Delivery, HistoryEvent } from '../history.ts'
import type { Members } from './members.ts'

/** A call that was given an array. */
interface ArrayCall {
  readonly messages: Delivery[]
  /** Places in `messages` of those that failed. */
  readonly failed: Set<number>
  /** Messages without an outcome. */
  open: number
  /** Where the next outcome probably belongs. */
  next: number
}

/**
 * What became of the messages of each call. In an array a failed message takes the later ones of its order back with it, so
 * that nothing is known of any of them before the last outcome came.
 */
export class CallOutcomes {
  readonly #members: Members
  readonly #ended: (message: Delivery, isFinished: boolean) => void
  readonly #single = new Map<number, Delivery>()
  readonly #arrays = new Map<number, ArrayCall>()

  /** `ended` is told of each message whether it is finished or has to be handed out again. */
  constructor(members: Members, ended: (message: Delivery, isFinished: boolean) => void) {
    this.#members = members
    this.#ended = ended
  }

  readonly deliver = (message: Delivery): void => {
    if (message.isDuplicate) return
    const { group, member, call } = message
    if (this.#members.limits(group, member)?.batchMax === undefined) {
      this.#single.set(call, message)
      return
    }
    const array = this.#arrays.get(call)
    if (array === undefined) this.#arrays.set(call, { messages: [message], failed: new Set(), open: 1, next: 0 })
    else {
      array.messages.push(message)
      array.open++
    }
  }

  readonly done = (message: HistoryEvent<'done'>): void => this.#outcome(message, false)

  readonly error = (message: HistoryEvent<'error'>): void => this.#outcome(message, true)

  /** What these calls still do is a zombie's. */
  forget(group: string, member: string): void {
    for (const [call, message] of this.#single) {
      if (message.group === group && message.member === member) this.#single.delete(call)
    }
    for (const [call, { messages }] of this.#arrays) {
      if (messages[0]!.group === group && messages[0]!.member === member) this.#arrays.delete(call)
    }
  }

  forgetAll(): void {
    this.#single.clear()
    this.#arrays.clear()
  }

  #outcome(message: Delivery, hasFailed: boolean): void {
    if (message.isDuplicate) return
    if (this.#single.delete(message.call)) return this.#ended(message, !hasFailed)
    const array = this.#arrays.get(message.call)
    if (array === undefined) return
    const index = indexIn(array, message)
    if (index < 0) return
    array.next = index + 1
    if (hasFailed) array.failed.add(index)
    if (--array.open > 0) return
    this.#arrays.delete(message.call)
    this.#endArray(array)
  }

  #endArray({ messages, failed }: ArrayCall): void {
    const first = messages[0]!
    const ordering = this.#members.ordering(first.group, first.member)
    /** Orders that have a failed message. */
    const broken = new Set<string>()
    messages.forEach((message, index) => {
      const { topic, partition, key } = message
      const hasOrder = ordering === 'partition' || (ordering === 'key' && key !== undefined)
      const order = hasOrder && failed.size > 0 ? `${topic} ${ordering === 'key' ? key : partition}` : ''
      const isFinished = !failed.has(index) && !(hasOrder && broken.has(order))
      if (!isFinished && hasOrder) broken.add(order)
      this.#ended(message, isFinished)
    })
  }
}

function indexIn({ messages, next }: ArrayCall, { topic, partition, offset }: Delivery): number {
  const isIt = (other: Delivery | undefined): boolean =>
    other !== undefined && other.offset === offset && other.partition === partition && other.topic === topic
  return isIt(messages[next]) ? next : messages.findIndex(isIt)
}
