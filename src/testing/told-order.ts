import type { History, HistoryEvent } from './history.ts'

/**
 * The events of a history in the order in which one tells them: a message is sent before it is handled. The engine hands a
 * message out in the very turn in which its commit is flushed, a moment before the sender is told.
 */
export function toldOrder({ events }: History): readonly HistoryEvent[] {
  const acks = new Map<string, HistoryEvent<'acked'>>()
  const early = new Map<HistoryEvent, HistoryEvent<'acked'>>()
  const moved = new Set<HistoryEvent>()
  for (let i = events.length - 1; i >= 0; i--) {
    const event = events[i]!
    if (event.kind === 'acked') acks.set(`${event.topic}/${event.partition}/${event.offset}`, event)
    else if (event.kind === 'deliver') {
      // Walking back, the first delivery of a place is seen last: it is the one that counts.
      const ack = acks.get(`${event.topic}/${event.partition}/${event.offset}`)
      if (ack !== undefined && ack.life === event.life && ack.at === event.at) early.set(event, ack)
    }
  }
  return events.flatMap((event) => {
    if (moved.has(event)) return []
    const ack = early.get(event)
    if (ack === undefined || moved.has(ack)) return [event]
    moved.add(ack)
    return [ack, event]
  })
}
