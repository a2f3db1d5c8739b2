import type { PreparedMessages, PreparedRef, StoredPrepared } from '../../contracts/prepared.ts'
import type { SendResult } from '../../message.ts'
import type { HistoryEvents, PreparedDecision, PreparedIdentity } from '../history.ts'
import { never, type ObservedLife } from './observed-life.ts'

/** Puts the simulation between a queue and its prepared messages. */
export function observePrepared(prepared: PreparedMessages, life: ObservedLife): void {
  const { simulation } = life
  const prepare = prepared.prepare.bind(prepared)
  prepared.prepare = (message, parts) => {
    const { ref, topic, record } = message
    if (life.isOver) return life.zombie(`prepared a message for ${topic}`)
    const { partition, key } = record
    const identity = identityOf(ref, topic, key)
    life.note('prepare', { ...identity, partition, value: simulation.decode(topic, record) })
    pass('prepare:before', identity, life)
    if (life.isOver) return never()
    const prepared = prepare(message, parts)
    prepared.then(
      () => life.note('prepared', identity),
      (error: unknown) => life.note('unprepared', { ...identity, error }),
    )
    return prepared
  }
  const { get } = prepared
  const decide = <R>(
    ref: PreparedRef,
    decision: PreparedDecision,
    act: () => Promise<R>,
    done: (result: R) => Partial<Decided>,
  ): Promise<R> => {
    if (life.isOver) return life.zombie(`decided about a prepared message: ${decision}`)
    const stored: StoredPrepared | undefined = get.call(prepared, ref)
    // Nothing is there to decide about: the engine says so.
    if (stored === undefined) return act()
    const identity = identityOf(ref, stored.topic, stored.key)
    const facts = { ...identity, decision, send: decision === 'rollback' ? undefined : simulation.nextNumber('send') }
    life.note('decide', facts)
    pass('decide:before', identity, life)
    if (life.isOver) return never()
    const decided = act()
    decided.then(
      (result) => life.note('decided', { ...identity, decision, ...done(result) }),
      (error: unknown) => life.note('undecided', { ...identity, decision, error }),
    )
    return decided
  }
  const placeOf = ({ partition, offset }: SendResult): Partial<Decided> => ({ partition, offset })
  const { commit, rollback, move } = prepared
  prepared.commit = (ref, parts) => decide(ref, 'commit', () => commit.call(prepared, ref, parts), placeOf)
  prepared.rollback = (ref, parts) =>
    decide(
      ref,
      'rollback',
      () => rollback.call(prepared, ref, parts),
      () => ({}),
    )
  prepared.move = (ref, to, parts) => decide(ref, 'give-up', () => move.call(prepared, ref, to, parts), placeOf)
}

type Decided = HistoryEvents['decided']

function identityOf(
  { producer, epoch, number }: PreparedRef,
  topic: string,
  key: string | undefined,
): PreparedIdentity {
  return { producer, id: `${epoch}.${number}`, topic, key }
}

function pass(name: 'prepare:before' | 'decide:before', identity: PreparedIdentity, life: ObservedLife): void {
  const { producer, id, topic, key } = identity
  life.simulation.pass({ name, label: `${name} ${producer} ${id}`, topic, key, producer }, life)
}
