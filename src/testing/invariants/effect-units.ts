import { isQueueError } from '../../errors.ts'
import type { EffectSource, HistoryEvent, OffsetPairs, ProgressSnapshot } from '../history.ts'
import type { EventChecks } from './invariant.ts'
import { GroupMap, offsetText } from './place-map.ts'
import { isSameValue } from './same-value.ts'

/** Offsets that something acknowledges. */
export interface UnitOffsets {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly finished: OffsetPairs
}

/** A message that something sent. */
export interface UnitOutput {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
  readonly value: unknown
}

/** What took effect as one piece, and has to be on disk whole or not at all. */
export interface EffectUnit {
  readonly of: EffectSource
  /** Number of the event that said so. */
  readonly seq: number
  offsets: readonly UnitOffsets[]
  outputs: readonly UnitOutput[]
  /** Whether no crash may take it any more. */
  isDurable: boolean
}

/** What is seen of a unit in the store. */
export interface Evidence {
  readonly text: string
  readonly isThere: boolean
}

/** A partition of a group, as far as it says whether a unit is there. */
interface JudgedPlace {
  /** Number of the event since which finished offsets come from settlements alone. */
  since: number
  /** Removed by retention: finished whatever became of their effects. */
  gap: number
}

/** Effects since the last restart, in the order in which they took effect; every commit holds a range of them. */
export class EffectUnits {
  readonly all: EffectUnit[] = []
  /** The first so many are durable. */
  #durableCount = 0
  /** Those that are not durable. */
  readonly #units = new Map<string, EffectUnit>()
  readonly #settling = new Map<number, HistoryEvent<'settle'>>()
  readonly #transactions = new Map<number, HistoryEvent<'transaction:begun'>>()
  readonly #sends = new Map<number, unknown>()
  readonly #places = new GroupMap((): JudgedPlace => ({ since: -1, gap: 0 }))

  /** The checks that follow the effects; `accepted` is told of each, and says what is wrong with it. */
  follow(
    accepted: (unit: EffectUnit) => string | undefined,
    forgotten: (group: string | undefined, topic: string | undefined) => void = () => {},
  ): EventChecks {
    const forgetTopic = ({ topic }: { readonly topic: string }): void => {
      this.#places.forget(topic)
      this.#forget((unit) => unit.topic === topic)
      forgotten(undefined, topic)
    }
    return {
      send: ({ send, value, of }) => {
        if (of !== undefined) this.#sends.set(send, value)
      },
      settle: (event) => void this.#settling.set(event.settlement, event),
      'transaction:begun': (event) => void this.#transactions.set(event.transaction, event),
      accepted: (event) => accepted(this.#accepted(event)),
      settled: ({ settlement }) => this.#durable({ settlement }),
      unsettled: ({ settlement }) => void this.#settling.delete(settlement),
      'transaction:committed': ({ transaction }) => {
        if (this.#transactions.get(transaction)?.acks === 'flushed') this.#durable({ transaction })
        this.#transactions.delete(transaction)
      },
      'transaction:refused': ({ transaction }) => void this.#transactions.delete(transaction),
      sought: ({ group, topic, partition, seq }) => {
        this.#places.at(group, topic, partition).since = seq
      },
      gap: ({ group, topic, partition, to }) => {
        const place = this.#places.at(group, topic, partition)
        place.gap = Math.max(place.gap, to)
      },
      'topic:created': forgetTopic,
      'topic:deleted': forgetTopic,
      'group:deleted': ({ group }) => {
        this.#places.forgetGroup(group)
        this.#forget((unit) => 'group' in unit && unit.group === group)
        forgotten(group, undefined)
      },
    }
  }

  /** What a look at the store says of one unit. */
  *evidence(unit: EffectUnit, { logs, progress }: HistoryEvent<'snapshot'>): Generator<Evidence> {
    for (const { topic, partition, offset, key, value } of unit.outputs) {
      const log = logs.find((one) => one.topic === topic && one.partition === partition)
      // What retention took, nobody knows.
      if (log === undefined || offset < log.start) continue
      const record = log.records.find((one) => one.offset === offset)
      const isThere = record !== undefined && record.key === key && isSameValue(value, record.value)
      yield {
        isThere,
        text: `its output ${offsetText(topic, partition, offset)} is ${isThere ? '' : 'not '}in the log`,
      }
    }
    for (const { group, topic, partition, finished } of unit.offsets) {
      const place = this.#places.at(group, topic, partition)
      if (unit.seq < place.since) continue
      const stored = progress.find((one) => one.group === group && one.topic === topic && one.partition === partition)
      if (stored === undefined) continue
      for (const offset of offsetsIn(finished)) {
        if (offset < place.gap) continue
        const isThere = isFinished(stored, offset)
        const where = offsetText(topic, partition, offset)
        yield { isThere, text: `${where} is ${isThere ? '' : 'not '}finished for ${group}` }
      }
    }
  }

  /** The next life knows of nothing that is under way. */
  restart(): void {
    this.all.length = 0
    this.#durableCount = 0
    this.#units.clear()
    this.#settling.clear()
    this.#transactions.clear()
    this.#sends.clear()
  }

  #accepted({ of, outputs, seq }: HistoryEvent<'accepted'>): EffectUnit {
    const numbers = 'settlement' in of ? [of.settlement] : (this.#transactions.get(of.transaction)?.settlements ?? [])
    const offsets = numbers.flatMap((number) => {
      const settle = this.#settling.get(number)
      this.#settling.delete(number)
      return (settle?.partitions ?? []).map(({ topic, partition, finished }) => {
        return { group: settle!.group, topic, partition, finished }
      })
    })
    const places = outputs.map(({ send, topic, partition, offset, key }) => {
      const value = this.#sends.get(send)
      this.#sends.delete(send)
      return { topic, partition, offset, key, value }
    })
    const unit: EffectUnit = { of, seq, offsets, outputs: places, isDurable: false }
    this.all.push(unit)
    this.#units.set(sourceText(of), unit)
    return unit
  }

  /** Commits are made in order. */
  #durable(of: EffectSource): void {
    const unit = this.#units.get(sourceText(of))
    if (unit === undefined) {
      if ('settlement' in of) this.#settling.delete(of.settlement)
      return
    }
    while (!unit.isDurable) {
      const next = this.all[this.#durableCount++]!
      next.isDurable = true
      this.#units.delete(sourceText(next.of))
    }
  }

  #forget(isGone: (part: UnitOffsets | UnitOutput) => boolean): void {
    for (const unit of this.all) {
      unit.offsets = unit.offsets.filter((one) => !isGone(one))
      unit.outputs = unit.outputs.filter((one) => !isGone(one))
    }
  }
}

/** Whether it says that effects were refused although nothing was wrong with their handler: it runs again. */
export function isRefusal(error: unknown): boolean {
  return isQueueError(error, 'CONFLICT') || isQueueError(error, 'STORE_FULL')
}

export function sourceText(of: EffectSource): string {
  return 'settlement' in of ? `settlement ${of.settlement}` : `transaction ${of.transaction}`
}

export function* offsetsIn(pairs: OffsetPairs): Generator<number> {
  for (let i = 0; i < pairs.length; i += 2) for (let offset = pairs[i]!; offset < pairs[i + 1]!; offset++) yield offset
}

export function isFinished({ position, finishedAbove }: ProgressSnapshot, offset: number): boolean {
  return offset < position || finishedAbove.includes(offset)
}
