import type { HistoryEvent } from '../history.ts'
import { PartitionMap } from './place-map.ts'

/** Messages that are for one group, because they were sent back to it. */
export class Addressees {
  readonly #sends = new Map<number, string>()
  readonly #groups = new PartitionMap(() => new Map<number, string>())

  readonly send = ({ send, redrive }: HistoryEvent<'send'>): void => {
    if (redrive !== undefined) this.#sends.set(send, redrive.group)
  }

  // Before anybody can be handed it.
  readonly accepted = ({ outputs }: HistoryEvent<'accepted'>): void => {
    for (const { send, topic, partition, offset } of outputs) {
      const group = this.#sends.get(send)
      if (group !== undefined) this.#groups.at(topic, partition).set(offset, group)
      this.#sends.delete(send)
    }
  }

  forget(topic: string): void {
    this.#groups.forget(topic)
  }

  /** The log is known anew, after a crash. */
  restart({ logs }: HistoryEvent<'snapshot'>): void {
    this.#sends.clear()
    for (const { topic, partition, records } of logs) {
      const groups = this.#groups.at(topic, partition)
      groups.clear()
      for (const { offset, redrive } of records) if (redrive) groups.set(offset, redrive.group)
    }
  }

  /** Whether a message is nothing to a group. */
  isForOthers(group: string, topic: string, partition: number, offset: number): boolean {
    const addressee = this.#groups.find(topic, partition)?.get(offset)
    return addressee !== undefined && addressee !== group
  }
}
