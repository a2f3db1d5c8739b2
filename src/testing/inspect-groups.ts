import { isQueueError } from '../errors.ts'
import type { Delivery, History, HistoryEvent, Place } from './history.ts'

/** A message that was handed to a handler. */
export interface DeliveredMessage extends Place {
  readonly value: unknown
  readonly attempt: number
  readonly member: string
  /** Number of the handler call; messages of one array share it. */
  readonly call: number
  /** Which life of the process it was handed out in, from 1. */
  readonly life: number
  /** Handed out a second time on purpose, by a fault. */
  readonly isDuplicate: boolean
  /** `interrupted`: its life ended before the handler did. */
  readonly outcome: 'done' | 'failed' | 'running' | 'interrupted'
  /** What the handler threw, when it failed. */
  readonly error: unknown
}

/** A message that failed, and waits for its next attempt or to be told to go on, or was skipped. */
export interface HeldMessage extends Place {
  readonly group: string
  /** How often it was tried. */
  readonly attempts: number
  readonly error: unknown
  /** When it is tried again, in virtual milliseconds since the test began; undefined when it was given up. */
  readonly dueAt: number | undefined
  /** It was given up, and holds up its key. */
  readonly isParked: boolean
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** Walks through a history; `onEnd` is called where a life ends, be it by a crash. */
export function forEachInItsLife(history: History, onEnd: () => void, take: (event: HistoryEvent) => void): void {
  let life = 1
  for (const event of history.events) {
    if (event.life !== life || event.kind === 'crash') onEnd()
    life = event.life
    take(event)
  }
  if (history.life !== life) onEnd()
}

/** Everything that was handed to a group, and what became of it. */
export function deliveriesOf(history: History, group: string): DeliveredMessage[] {
  const all: Writable<DeliveredMessage>[] = []
  const running = new Map<string, Writable<DeliveredMessage>>()
  const sent = new Map<number, unknown>()
  const values = new Map<string, unknown>()
  const idOf = (event: Delivery): string => `${event.call}\0${placeId(event)}`
  const end = (event: Delivery, outcome: 'done' | 'failed', error?: unknown): void => {
    const message = running.get(idOf(event))
    if (message !== undefined) Object.assign(message, { outcome, error })
    running.delete(idOf(event))
  }
  const take = (event: HistoryEvent): void => {
    if (event.kind === 'send') sent.set(event.send, event.value)
    if (event.kind === 'acked') values.set(placeId(event), sent.get(event.send))
    if (!('group' in event) || event.group !== group) return
    if (event.kind === 'deliver') {
      const message = deliveredMessage(event, values.get(placeId(event)))
      all.push(message)
      running.set(idOf(event), message)
    }
    if (event.kind === 'start') Object.assign(running.get(idOf(event)) ?? {}, { value: event.value })
    if (event.kind === 'done') end(event, 'done')
    if (event.kind === 'error') end(event, 'failed', event.error)
  }
  const interrupt = (): void => {
    for (const message of running.values()) message.outcome = 'interrupted'
    running.clear()
  }
  forEachInItsLife(history, interrupt, take)
  // A message may be handed out a moment before its sender is told, and held there by a fault.
  for (const message of all) message.value ??= values.get(placeId(message))
  return all
}

function deliveredMessage(event: HistoryEvent<'deliver'>, value: unknown): Writable<DeliveredMessage> {
  const { topic, partition, offset, key, attempt, member, call, life, isDuplicate } = event
  const outcome = 'running'
  return { topic, partition, offset, key, value, attempt, member, call, life, isDuplicate, outcome, error: undefined }
}

/** The same for events and messages of the same place of a log. */
export function placeId({ topic, partition, offset }: Omit<Place, 'key'>): string {
  return `${topic}\0${partition}\0${offset}`
}

/** Messages that hold up their keys now, or were given up, in the order in which that was decided. */
export function heldBack(history: History): HeldMessage[] {
  const held = new Map<string, HeldMessage>()
  const tries = new Map<string, number>()
  const idOf = (event: Place & { readonly group: string }): string => `${event.group}\0${placeId(event)}`
  const hold = (
    event: HistoryEvent<'failed' | 'parked' | 'skipped' | 'dead-lettered'>,
    attempts: number,
    dueAt: number | undefined,
  ): void => {
    const { group, topic, partition, offset, key } = event
    // What the handler threw says more than that the engine gave up because of it.
    const error = isQueueError(event.error, 'HANDLER_FAILED') ? event.error.cause : event.error
    held.delete(idOf(event))
    held.set(idOf(event), {
      group,
      topic,
      partition,
      offset,
      key,
      attempts,
      error,
      dueAt,
      isParked: event.kind === 'parked',
    })
  }
  const letGo = (isMeant: (one: HeldMessage) => boolean): void => {
    for (const [id, one] of held) if (isMeant(one)) held.delete(id)
  }
  const take = (event: HistoryEvent): void => {
    if (event.kind === 'deliver') {
      tries.set(idOf(event), event.attempt)
      held.delete(idOf(event))
    } else if (event.kind === 'failed') {
      tries.set(idOf(event), event.attempt)
      if (event.retryInMs === undefined) held.delete(idOf(event))
      else hold(event, event.attempt, event.at + event.retryInMs)
    } else if (event.kind === 'duplicate') held.delete(idOf(event))
    else if (event.kind === 'parked') hold(event, tries.get(idOf(event)) ?? 1, undefined)
    else if (event.kind === 'skipped' || event.kind === 'dead-lettered') hold(event, event.attempts, undefined)
    else {
      const isMeant = released(event)
      if (isMeant !== undefined) letGo(isMeant)
    }
  }
  for (const event of history.events) take(event)
  return [...held.values()]
}

/** Which held messages an event lets go of, other than by handing them out; undefined when it has nothing to do with them. */
function released(event: HistoryEvent): ((one: HeldMessage) => boolean) | undefined {
  const isThere = (one: HeldMessage, place: { readonly topic: string; readonly partition: number }): boolean =>
    one.topic === place.topic && one.partition === place.partition
  if (event.kind === 'topic:deleted') return (one) => one.topic === event.topic
  if (event.kind === 'trimmed') return (one) => isThere(one, event) && one.offset < event.start
  if (event.kind === 'settled') {
    const isBelow = (one: HeldMessage): boolean =>
      event.positions.some((place) => isThere(one, place) && one.offset < place.position)
    // What was skipped or moved is given up for good.
    return (one) => one.group === event.group && (one.isParked || one.dueAt !== undefined) && isBelow(one)
  }
  if (event.kind === 'sought') return (one) => one.group === event.group && isThere(one, event)
  return undefined
}

/** How often partitions of a group were handed to members after its membership had changed. */
export function generationOf(history: History, group: string): number {
  let generation = 0
  let isChanged = true
  for (const event of history.events) {
    if (!('group' in event) || event.group !== group) continue
    if (event.kind === 'joined' || event.kind === 'left' || event.kind === 'lost') isChanged = true
    if (event.kind !== 'granted' || !isChanged) continue
    generation++
    isChanged = false
  }
  return generation
}
