import type { History, HistoryEvent, OffsetPairs } from './history.ts'
import { placeId } from './inspect-groups.ts'

/** How far a group is in a partition. */
export interface CommittedPosition {
  readonly topic: string
  readonly partition: number
  /** The lowest unfinished offset, as far as it is durable. */
  readonly position: number
}

interface Progress {
  readonly topic: string
  readonly partition: number
  position: number
  /** Finished offsets at or above the position. */
  above: Set<number>
}

type Partition = { readonly topic: string; readonly partition: number }

/** What a group has finished and made durable, by topic and partition. */
export class Durable {
  readonly places: Map<string, Progress> = new Map()
  readonly #asked = new Map<number, HistoryEvent<'settle'>['partitions']>()

  constructor(history: History, group: string) {
    for (const event of history.events) {
      if (event.kind === 'topic:deleted') this.#forget(event.topic)
      else if (event.kind === 'snapshot') this.#restart(event, group)
      else if ('group' in event && event.group === group) this.#take(event)
    }
  }

  isFinished(topic: string, partition: number, offset: number): boolean {
    const place = this.places.get(idOf({ topic, partition }))
    return place !== undefined && (offset < place.position || place.above.has(offset))
  }

  #take(event: HistoryEvent): void {
    if (event.kind === 'granted') this.#advance(event, event.position)
    else if (event.kind === 'sought') this.#moveTo(event, event.position)
    else if (event.kind === 'settle') this.#asked.set(event.settlement, event.partitions)
    else if (event.kind === 'settled') {
      for (const asked of this.#asked.get(event.settlement) ?? []) this.#finish(asked, asked.finished)
      for (const place of event.positions) this.#advance(place, place.position)
    }
  }

  #finish(partition: Partition, pairs: OffsetPairs): void {
    const { above } = this.#advance(partition, 0)
    for (let i = 0; i < pairs.length; i += 2) {
      for (let offset = pairs[i]!; offset < pairs[i + 1]!; offset++) above.add(offset)
    }
  }

  /** Positions only rise, unless the group is moved. */
  #advance(partition: Partition, position: number): Progress {
    const known = this.places.get(idOf(partition)) ?? this.#moveTo(partition, position)
    known.position = Math.max(known.position, position)
    for (const offset of known.above) if (offset < known.position) known.above.delete(offset)
    return known
  }

  #moveTo({ topic, partition }: Partition, position: number): Progress {
    const progress = { topic, partition, position, above: new Set<number>() }
    this.places.set(idOf(progress), progress)
    return progress
  }

  #restart(event: HistoryEvent<'snapshot'>, group: string): void {
    this.places.clear()
    for (const one of event.progress) {
      if (one.group === group) this.#moveTo(one, one.position).above = new Set(one.finishedAbove)
    }
  }

  #forget(topic: string): void {
    for (const [id, place] of this.places) if (place.topic === topic) this.places.delete(id)
  }
}

function idOf({ topic, partition }: Partition): string {
  return `${topic}\0${partition}`
}

/** Acknowledged messages of the group's topics that are in the log, but that the group has not finished durably. */
export function lagOf(history: History, group: string): number {
  const topics = topicsOf(history, group)
  const durable = new Durable(history, group)
  return stored(history).filter(({ topic, partition, offset }) => {
    return topics.has(topic) && !durable.isFinished(topic, partition, offset)
  }).length
}

function topicsOf(history: History, group: string): Set<string> {
  const topics = new Set<string>()
  for (const event of history.events) {
    if (!('group' in event) || event.group !== group) continue
    if (event.kind === 'joined') for (const topic of event.topics) topics.add(topic)
    else if ('topic' in event) topics.add(event.topic)
  }
  return topics
}

/** Acknowledged messages that neither retention nor a crash removed. */
function stored(history: History): HistoryEvent<'acked'>[] {
  const there = new Map<string, HistoryEvent<'acked'>>()
  const keep = (isMeant: (one: HistoryEvent<'acked'>) => boolean): void => {
    for (const [id, one] of there) if (!isMeant(one)) there.delete(id)
  }
  for (const event of history.events) {
    if (event.kind === 'acked') there.set(placeId(event), event)
    else if (event.kind === 'topic:deleted') keep((one) => one.topic !== event.topic)
    else if (event.kind === 'trimmed') {
      keep((one) => one.topic !== event.topic || one.partition !== event.partition || one.offset >= event.start)
    } else if (event.kind === 'snapshot') {
      const left = new Set(
        event.logs.flatMap(({ topic, partition, records }) => {
          return records.map(({ offset }) => placeId({ topic, partition, offset }))
        }),
      )
      keep((one) => left.has(placeId(one)))
    }
  }
  return [...there.values()]
}
