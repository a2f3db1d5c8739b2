import type { HistoryEvent } from '../history.ts'
import { EffectUnits, sourceText, type EffectUnit } from './effect-units.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { offsetText, PartitionMap } from './place-map.ts'
import { isSameValue } from './same-value.ts'

/** A message that was refused with what it was to commit with. */
type Refused = HistoryEvent<'send'>

/** What commits together is there together. */
export const atomicOutputs: Invariant = {
  name: 'atomic-outputs',
  about:
    'The outputs of a settlement are in the log exactly when its messages are finished, those of a transaction all or none, and nothing of what was refused.',
  begin: () => new AtomicOutputs().checks,
}

class AtomicOutputs {
  readonly #units = new EffectUnits()
  readonly #sends = new Map<number, Refused>()
  readonly #refused = new Map<string, Refused[]>()
  /** Offsets whose messages are accounted for. */
  readonly #known = new PartitionMap(() => new Set<number>())
  readonly #followed = this.#units.follow(
    (unit) => this.#accepted(unit),
    (_group, topic) => topic !== undefined && this.#known.forget(topic),
  )

  readonly checks: EventChecks = {
    ...this.#followed,
    send: (event) => {
      this.#sends.set(event.send, event)
      this.#followed.send!(event)
    },
    acked: ({ send, topic, partition, offset }) => {
      this.#sends.delete(send)
      this.#known.at(topic, partition).add(offset)
    },
    refused: ({ send, error }) => {
      const event = this.#sends.get(send)
      this.#sends.delete(send)
      // After a failure of the store it may be there even so.
      if (event?.of === undefined || (error as { code?: unknown } | undefined)?.code === 'STORE_FAILED') return
      const refused = this.#refused.get(event.topic)
      if (refused === undefined) this.#refused.set(event.topic, [event])
      else refused.push(event)
    },
    snapshot: (event) => {
      const text = this.#look(event)
      if (event.reason === 'restart') this.#restart(event)
      return text
    },
  }

  #accepted({ of, offsets, outputs }: EffectUnit): string | undefined {
    for (const { topic, partition, offset } of outputs) this.#known.at(topic, partition).add(offset)
    const isIdle = offsets.every(({ finished }) => finished.length === 0)
    if (!isIdle || outputs.length === 0 || 'transaction' in of) return
    const { topic, partition, offset } = outputs[0]!
    return `${sourceText(of)} sent ${offsetText(topic, partition, offset)}, but it finishes no message`
  }

  #look(event: HistoryEvent<'snapshot'>): string | undefined {
    for (const unit of this.#units.all) {
      let there: string | undefined
      let missing: string | undefined
      for (const { text, isThere } of this.#units.evidence(unit, event)) {
        if (isThere) there ??= text
        else missing ??= text
      }
      if (there !== undefined && missing !== undefined)
        return `${sourceText(unit.of)} is torn: ${there}, but ${missing}`
    }
    return this.#stray(event)
  }

  /** Nothing of what was refused is there. */
  #stray({ logs }: HistoryEvent<'snapshot'>): string | undefined {
    if (this.#refused.size === 0) return undefined
    for (const { topic, partition, records } of logs) {
      const known = this.#known.at(topic, partition)
      for (const { offset, key, value } of records) {
        if (known.has(offset)) continue
        const isIt = (send: Refused): boolean =>
          send.topic === topic && send.partition === partition && send.key === key && isSameValue(send.value, value)
        const refused = this.#refused.get(topic)?.find(isIt)
        // Another send of the same, whose answer a crash took away, may be what is there.
        if (refused === undefined || [...this.#sends.values()].some(isIt)) continue
        return `${sourceText(refused.of!)} was refused, but its output ${offsetText(topic, partition, offset)} is in the log`
      }
    }
    return undefined
  }

  #restart({ logs }: HistoryEvent<'snapshot'>): void {
    this.#units.restart()
    this.#refused.clear()
    for (const { topic, partition, records } of logs) {
      const known = this.#known.at(topic, partition)
      known.clear()
      for (const { offset } of records) known.add(offset)
    }
  }
}
