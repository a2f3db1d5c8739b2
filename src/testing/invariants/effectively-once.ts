import type { EffectSource, HistoryEvent, StateEntrySnapshot } from '../history.ts'
import { EffectUnits, isFinished, offsetsIn, sourceText, type EffectUnit } from './effect-units.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { GroupMap, offsetText } from './place-map.ts'
import { isSameValue } from './same-value.ts'

/** A row that was written, in order. */
interface Written {
  readonly place: string
  readonly value: unknown
  readonly of: EffectSource | undefined
}

/** Effects in the store happen once for each message, however often its handler runs. */
export const effectivelyOnce: Invariant = {
  name: 'effectively-once',
  about:
    'The effects of a message are accepted once in all lives, and the stores of state hold what some moment of the accepted ones left.',
  begin: () => new EffectivelyOnce().checks,
}

class EffectivelyOnce {
  readonly #units = new EffectUnits()
  /** Which messages of a group have had their effects, and by what. */
  readonly #taken = new GroupMap(() => new Map<number, EffectSource>())
  /** Rows as the last restart found them. */
  #rows = new Map<string, unknown>()
  /** What was written since. */
  #written: Written[] = []
  /** How much of it was there when each unit had taken effect. */
  readonly #after = new Map<EffectUnit, number>()
  readonly #followed = this.#units.follow(
    (unit) => this.#accepted(unit),
    (group, topic) => {
      if (group !== undefined) this.#taken.forgetGroup(group)
      if (topic !== undefined) this.#taken.forget(topic)
    },
  )

  readonly checks: EventChecks = {
    ...this.#followed,
    sought: (event) => {
      this.#taken.at(event.group, event.topic, event.partition).clear()
      this.#followed.sought!(event)
    },
    state: ({ store, key, value, of }) => void this.#written.push({ place: placeOf(store, key), value, of }),
    snapshot: (event) => {
      const text = event.state === undefined ? undefined : this.#look(event, event.state)
      if (event.reason === 'restart') this.#restart(event)
      return text
    },
  }

  #accepted(unit: EffectUnit): string | undefined {
    let text: string | undefined
    for (const { group, topic, partition, finished } of unit.offsets) {
      const taken = this.#taken.at(group, topic, partition)
      for (const offset of offsetsIn(finished)) {
        const before = taken.get(offset)
        if (before !== undefined) {
          text ??= `${group}: ${offsetText(topic, partition, offset)} had its effects by ${sourceText(before)}, and again by ${sourceText(unit.of)}`
        }
        taken.set(offset, unit.of)
      }
    }
    this.#after.set(unit, this.#written.length)
    return text
  }

  /** Rows are those that were written up to some moment: not before what must be there, not after what is not there. */
  #look(event: HistoryEvent<'snapshot'>, state: readonly StateEntrySnapshot[]): string | undefined {
    const { least, most } = this.#bounds(event)
    const rows = new Map(this.#rows)
    const found = new Map(state.map(({ store, key, value }) => [placeOf(store, key), value]))
    let text: string | undefined
    for (let count = 0; ; count++) {
      // What one unit writes goes together.
      const isWithin = count > 0 && isSameSource(this.#written[count - 1]!.of, this.#written[count]?.of)
      if (count >= least && !isWithin) {
        const difference = differenceOf(rows, found)
        if (difference === undefined) return undefined
        text ??= difference
      }
      if (count >= most) return text
      apply(rows, this.#written[count]!)
    }
  }

  #bounds(event: HistoryEvent<'snapshot'>): { least: number; most: number } {
    let least = 0
    let most = this.#written.length
    for (const unit of this.#units.all) {
      const after = this.#after.get(unit) ?? 0
      const [first] = this.#units.evidence(unit, event)
      if (unit.isDurable || first?.isThere === true) least = Math.max(least, after)
      else if (first !== undefined) {
        most = Math.max(
          least,
          after - this.#written.slice(0, after).filter(({ of }) => isSameSource(of, unit.of)).length,
        )
        break
      }
    }
    return { least, most }
  }

  #restart({ progress, state = [] }: HistoryEvent<'snapshot'>): void {
    this.#units.restart()
    this.#after.clear()
    this.#written = []
    this.#rows = new Map(state.map(({ store, key, value }) => [placeOf(store, key), value]))
    this.#taken.forEach((taken, group, topic, partition) => {
      const stored = progress.find((one) => one.group === group && one.topic === topic && one.partition === partition)
      for (const offset of taken.keys()) {
        if (stored === undefined || !isFinished(stored, offset)) taken.delete(offset)
      }
    })
  }
}

function isSameSource(one: EffectSource | undefined, other: EffectSource | undefined): boolean {
  return one !== undefined && other !== undefined && sourceText(one) === sourceText(other)
}

function apply(rows: Map<string, unknown>, { place, value }: Written): void {
  if (value === undefined) rows.delete(place)
  else rows.set(place, value)
}

function differenceOf(rows: ReadonlyMap<string, unknown>, found: ReadonlyMap<string, unknown>): string | undefined {
  for (const [place, value] of rows) {
    if (!found.has(place)) return `the store has lost ${place}`
    if (!isSameValue(value, found.get(place))) return `the store has another value for ${place} than was written last`
  }
  for (const place of found.keys()) if (!rows.has(place)) return `the store has ${place}, which no effect wrote`
  return undefined
}

function placeOf(store: string, key: string): string {
  return `${JSON.stringify(key)} of store ${store}`
}
