import type {
  Accepted,
  Acknowledgement,
  AppendOptions,
  Broker,
  BrokerTopic,
  Effects,
  EncodedRecord,
  Membership,
  Settlement,
} from '../../contracts/broker.ts'
import { readDeadLetterFacts, readRedriveFacts } from '../../dead-letter.ts'
import { ProducerPart } from '../../embedded/producer-registry.ts'
import type { Headers, SendResult } from '../../message.ts'
import { userHeaders } from '../../reserved-headers.ts'
import type { EffectSource } from '../history.ts'
import type { DeadLetterOrigin } from '../log-snapshot.ts'
import type { SimulatedMember } from './member.ts'
import { offsetsIn } from '../invariants/effect-units.ts'
import { observedEffects } from './observed-effects.ts'
import { never, type ObservedLife, type OpenSend } from './observed-life.ts'

/** A settlement that was accepted and is durable with the next one. */
export interface AcceptedNote {
  readonly settlement: number
  readonly positions: { topic: string; partition: number; position: number }[]
  /** The outputs as sends, with where they went. */
  readonly sends: readonly (readonly [send: number, result: SendResult])[]
}

export function observeSettle(
  settlement: Settlement,
  membership: Membership,
  member: SimulatedMember,
  accepted: AcceptedNote[],
  life: ObservedLife,
): Promise<void> {
  if (life.isOver) return life.zombie(`settled for ${member.group}`)
  const { group, name } = member
  // Only what was accepted before has to become durable: there is nothing new to tell.
  const number = settlement.partitions.length === 0 ? undefined : noteSettle(settlement, member, life)
  if (life.isOver) return never()
  const settled = membership.settle(settlement)
  const before = accepted.splice(0)
  // What the engine has in memory now is what the commit will hold; later settlements may move it on before this one is durable.
  const positions = positionsOf(settlement)
  settled.then(
    () => {
      for (const note of before) tellAccepted(note, member, life)
      if (number !== undefined) life.note('settled', { group, member: name, settlement: number, positions })
    },
    (error: unknown) => {
      // One settlement of several is refused as a whole; what was accepted before it stands.
      accepted.unshift(...before)
      if (number !== undefined) life.note('unsettled', { group, member: name, settlement: number, error })
    },
  )
  return settled
}

export function observeAccept(
  settlement: Settlement,
  effects: Effects,
  membership: Membership,
  member: SimulatedMember,
  accepted: AcceptedNote[],
  life: ObservedLife,
): Accepted {
  const nothing: Accepted = { results: [], bytes: 0 }
  if (life.isOver) return nothing
  const { group, name } = member
  const number = noteSettle(settlement, member, life, lettersOf(effects))
  if (life.isOver) return nothing
  const of = { settlement: number }
  const sends = effects.outputs.map(({ topic, record }) => noteSend(topic, record, 'flushed', undefined, life, of))
  try {
    const result = membership.accept(settlement, observedEffects(effects, of, sends, life))
    const told = sends.map((send, i) => [send, result.results[i]!] as const)
    accepted.push({ settlement: number, positions: positionsOf(settlement), sends: told })
    return result
  } catch (error) {
    life.note('unsettled', { group, member: name, settlement: number, error })
    for (const send of sends) life.refused(send, error)
    throw error
  }
}

function tellAccepted(note: AcceptedNote, { group, name }: SimulatedMember, life: ObservedLife): void {
  for (const [send, result] of note.sends) life.acked(send, result)
  life.note('settled', { group, member: name, settlement: note.settlement, positions: note.positions })
}

export function observeTransaction(
  transact: Broker['transact'],
  life: ObservedLife,
  effects: Effects,
  acks: readonly Acknowledgement[],
  options: AppendOptions,
): Promise<SendResult[]> {
  if (life.isOver) return life.zombie('committed a transaction')
  const transaction = life.simulation.number('transaction')
  const of = { transaction }
  const part = effects.parts.find((one) => one instanceof ProducerPart)
  const producer = part && { name: part.session.name, epoch: part.session.epoch, sequence: part.sequence }
  const sends = effects.outputs.map(({ topic, record }) => {
    return noteSend(topic, record, options.acks, undefined, life, of, producer)
  })
  // Members of the engine's own groups are not known here.
  const settlements = acks.flatMap(({ membership, partitions }) => {
    const member = life.members.find((known) => known.membership === membership)
    return member ? [{ member, number: noteSettle({ partitions }, member, life, [], true), partitions }] : []
  })
  const begun = { transaction, acks: options.acks, sends, settlements: settlements.map(({ number }) => number) }
  life.note('transaction:begun', begun)
  noteLetters(acks, transaction, life)
  life.simulation.pass({ name: 'transaction:before', label: 'transaction:before' }, life)
  if (life.isOver) return never()
  const done = transact(observedEffects(effects, of, sends, life), acks, options)
  const told = settlements.map(({ member, number, partitions }) => {
    return { member, note: { settlement: number, positions: positionsOf({ partitions }), sends: [] } }
  })
  done.then(
    (results) => {
      results.forEach((result, i) => life.acked(sends[i]!, result))
      for (const { member, note } of told) tellAccepted(note, member, life)
      life.note('transaction:committed', { transaction })
    },
    (error: unknown) => {
      for (const send of sends) life.refused(send, error)
      for (const { member, number } of settlements) {
        life.note('unsettled', { group: member.group, member: member.name, settlement: number, error })
      }
      life.note('transaction:refused', { transaction, error })
    },
  )
  return done
}

/** Tells which dead letters a transaction finishes for the keeper of their topic. */
function noteLetters(acks: readonly Acknowledgement[], transaction: number, life: ObservedLife): void {
  for (const { membership, partitions } of acks) {
    if (life.members.some((known) => known.membership === membership)) continue
    for (const { assignment, finished } of partitions) {
      const { topic, partition } = assignment
      const { start } = topic.offsets(partition)
      // Below it is what retention took.
      const letters = [...offsetsIn(finished)].filter((offset) => offset >= start)
      life.note('letters:finished', { transaction, topic: topic.name, partition, letters })
    }
  }
}

/** Tells that a settlement is made, and lets faults strike before it is. */
function noteSettle(
  settlement: Settlement,
  member: SimulatedMember,
  life: ObservedLife,
  letters: readonly DeadLetterOrigin[] = [],
  byTransaction?: true,
): number {
  const { simulation } = life
  const { group, name } = member
  const number = simulation.number('settlement')
  const partitions = settlement.partitions.map(({ assignment: { topic, partition, fence }, finished, failed }) => {
    const states = [...(failed ?? [])]
    const over = states.filter(([, { mark }]) => mark === undefined)
    const begun = states.filter(([, { mark }]) => mark !== undefined)
    const moved = letters.filter(
      (from) => from.group === group && from.topic === topic.name && from.partition === partition,
    )
    const deadLettered = moved.map(({ offset }) => offset)
    return {
      topic: topic.name,
      partition,
      fence,
      finished: [...finished],
      failed: over.map(([offset, { attempts }]) => ({ offset, attempts })),
      marked: begun.map(([offset, { attempts }]) => ({ offset, attempt: attempts })),
      ...(deadLettered.length > 0 && { deadLettered }),
    }
  })
  life.note('settle', { group, member: name, settlement: number, partitions, ...(byTransaction && { byTransaction }) })
  const where = partitions.map(({ topic, partition }) => `${topic}[${partition}]`).join(' ')
  const [first] = partitions
  simulation.pass(
    {
      name: 'settle:before',
      label: `settle:before ${group} ${where}`,
      group,
      member: name,
      topic: first?.topic,
      partition: first?.partition,
    },
    life,
  )
  return number
}

function positionsOf(settlement: Settlement): { topic: string; partition: number; position: number }[] {
  return settlement.partitions.map(({ assignment: { topic, partition, finished } }) => {
    return { topic: topic.name, partition, position: finished.position }
  })
}

/** Which messages are moved to the dead letters, as the outputs themselves say. */
function lettersOf({ outputs }: Effects): DeadLetterOrigin[] {
  return outputs.flatMap(({ record: { headers } }) => {
    const facts = headers === undefined ? undefined : readDeadLetterFacts(JSON.parse(headers) as Headers)
    return facts ? [facts] : []
  })
}

/** Tells that a message is on its way; returns the number of the send. */
export function noteSend(
  topic: BrokerTopic,
  record: EncodedRecord,
  acks: 'flushed' | 'buffered',
  batch: number | undefined,
  life: ObservedLife,
  of?: EffectSource,
  producer?: OpenSend['producer'],
): number {
  const { simulation } = life
  const send = simulation.number('send')
  const { partition, key, id } = record
  const headers = record.headers === undefined ? {} : (JSON.parse(record.headers) as Headers)
  const redrive = readRedriveFacts(headers)
  life.sent({
    send,
    topic: topic.name,
    partition,
    key,
    value: simulation.decode(topic.name, record),
    headers: userHeaders(headers),
    ...(id === undefined ? {} : { id, dedupe: topic.settings.dedupe }),
    ...(producer === undefined ? {} : { producer }),
    batch,
    acks,
    ...(of && { of }),
    ...(redrive && { redrive }),
  })
  return send
}
