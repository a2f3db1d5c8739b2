import type {
  Assignment,
  Broker,
  BrokerTopic,
  JoinRequest,
  MemberListener,
  Membership,
  StartPosition,
} from '../../contracts/broker.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { EmbeddedTopic } from '../../embedded/embedded-topic.ts'
import { reservedPrefix } from '../../reserved-headers.ts'
import type { SimulatedMember } from './member.ts'
import { observeState } from './observed-effects.ts'
import { never, type ObservedLife } from './observed-life.ts'
import { observePrepared } from './observed-prepared.ts'
import { noteSend, observeAccept, observeSettle, observeTransaction, type AcceptedNote } from './observed-settlement.ts'

/**
 * Puts the simulation between a queue and its broker: everything that passes is written into the history, and faults may
 * strike there. The engine runs as it is; only the calls across the seam are watched.
 */
export function observeBroker(broker: Broker, life: ObservedLife): void {
  const observed = new WeakSet<BrokerTopic>()
  const observe = (topic: BrokerTopic): void => {
    if (observed.has(topic)) return
    observed.add(topic)
    observeTopic(topic, life)
  }
  for (const topic of broker.topics()) observe(topic)
  observeState(broker, life)
  const createTopic = broker.createTopic.bind(broker)
  broker.createTopic = async (name, settings) => {
    const creating = createTopic(name, settings)
    // The engine knows it at once, so a commit that holds it can be named.
    const known = broker.topic(name)
    if (known) life.simulation.nameTopic(known as EmbeddedTopic)
    const topic = await creating
    observe(topic)
    return topic
  }
  const ensureTopic = broker.ensureTopic.bind(broker)
  broker.ensureTopic = (name, settings) => {
    const isNew = broker.topic(name) === undefined
    const topic = ensureTopic(name, settings)
    // It comes with what is put into it, and so before that.
    if (isNew) life.madeWithSend(name, topic.settings.partitions)
    observe(topic)
    return topic
  }
  const join = broker.join.bind(broker)
  // What the engine joins by itself, it tells of by what it commits.
  broker.join = (request) => {
    return request.group.startsWith(reservedPrefix) ? join(request) : observeJoin(request, join, life)
  }
  const deleteTopic = broker.deleteTopic.bind(broker)
  broker.deleteTopic = async (name) => {
    life.deleting.add(name)
    await deleteTopic(name)
    life.deleting.delete(name)
  }
  const deleteGroup = broker.deleteGroup.bind(broker)
  broker.deleteGroup = (name) => {
    const isKnown = broker.groups().some((group) => group.name === name)
    const deleting = deleteGroup(name)
    // The engine has forgotten it by now, unless it refused.
    if (isKnown && broker.groups().every((group) => group.name !== name)) life.note('group:deleted', { group: name })
    return deleting
  }
  if (broker.prepared) observePrepared(broker.prepared, life)
  const transact = broker.transact.bind(broker)
  broker.transact = (effects, acks, options) => observeTransaction(transact, life, effects, acks, options)
  observeProducers(broker, life)
  const seek = broker.seek.bind(broker)
  broker.seek = (group, to, where) => observeSeek(seek, life, group, to, where)
}

function observeProducers({ producers }: Broker, life: ObservedLife): void {
  if (producers === undefined) return
  const open = producers.open.bind(producers)
  producers.open = async (name) => {
    if (life.isOver) return life.zombie(`opened producer ${name}`)
    const opening = open(name)
    const session = await opening
    // Those before it are fenced since the call; a send that it told of before this is looked at by its own epoch.
    life.note('producer:opened', { producer: name, epoch: session.epoch })
    return session
  }
}

function observeTopic(topic: BrokerTopic, life: ObservedLife): void {
  const { simulation } = life
  simulation.nameTopic(topic as EmbeddedTopic)
  const { name } = topic
  const append = topic.append.bind(topic)
  topic.append = (record, options) => {
    if (life.isOver) return life.zombie(`sent to ${name}`)
    const send = noteSend(topic, record, options.acks, undefined, life)
    const { key, partition } = record
    simulation.pass(
      { name: 'send:before', label: `send:before ${name}[${partition}]`, topic: name, partition, key },
      life,
    )
    if (life.isOver) return never()
    const sent = append(record, options)
    sent.then(
      (result) => life.acked(send, result),
      (error: unknown) => life.refused(send, error),
    )
    return sent
  }
  const appendBatch = topic.appendBatch.bind(topic)
  topic.appendBatch = (records, options) => {
    if (life.isOver) return life.zombie(`sent to ${name}`)
    const batch = simulation.number('batch')
    const sends = records.map((record) => noteSend(topic, record, options.acks, batch, life))
    simulation.pass({ name: 'send:before', label: `send:before ${name} (${records.length})`, topic: name }, life)
    if (life.isOver) return never()
    const sent = appendBatch(records, options)
    sent.then(
      (results) => results.forEach((result, i) => life.acked(sends[i]!, result)),
      (error: unknown) => sends.forEach((send) => life.refused(send, error)),
    )
    return sent
  }
  const trim = topic.trim.bind(topic)
  topic.trim = (partition, before) => {
    const isZombie = life.isOver
    if (!isZombie) {
      simulation.pass({ name: 'trim:before', label: `trim:before ${name}[${partition}]`, topic: name, partition }, life)
    }
    if (!life.isOver) return trim(partition, before)
    // The store is gone, but memory moves: retention of the dead process goes on until nothing is left to be trimmed.
    trim(partition, before).catch(() => {})
    return isZombie ? life.zombie(`trimmed ${name}`) : never()
  }
}

async function observeJoin(
  request: JoinRequest,
  join: (request: JoinRequest) => Promise<Membership>,
  life: ObservedLife,
): Promise<Membership> {
  const member = life.takeJoining(request.listener as unknown as Dispatcher)
  const { group, settings } = member
  const { simulation } = life
  simulation.pass({ name: 'group:before', label: `group:before ${group}`, group, member: member.name }, life)
  if (life.isOver) return never()
  life.note('joined', {
    group,
    member: member.name,
    topics: request.topics.map(({ name }) => name),
    ordering: settings.ordering,
    concurrency: settings.concurrency,
    attempts: settings.retry.attempts,
    onExhausted: settings.retry.onExhausted,
    ackMode: settings.ackMode,
    batchMax: settings.batch?.max,
  })
  const membership = await join({ ...request, listener: observeListener(request.listener, member, life) })
  const accepted: AcceptedNote[] = []
  const observed: Membership = {
    // What the broker knows its own memberships by stays.
    ...membership,
    settle: (settlement) => observeSettle(settlement, membership, member, accepted, life),
    accept: (settlement, effects) => observeAccept(settlement, effects, membership, member, accepted, life),
    leave: async (options) => {
      if (member.hasLeft) return membership.leave(options)
      member.hasLeft = true
      const abandoned = options?.abandon ?? false
      if (abandoned) life.note('left', { group, member: member.name, abandoned })
      await membership.leave(options)
      if (!abandoned) life.note('left', { group, member: member.name, abandoned })
    },
  }
  member.membership = observed
  return observed
}

function observeListener(listener: MemberListener, member: SimulatedMember, life: ObservedLife): MemberListener {
  const { group, name } = member
  const place = ({ topic, partition, fence }: Assignment) => ({
    group,
    member: name,
    topic: topic.name,
    partition,
    fence,
  })
  return {
    assigned: (assignments) => {
      for (const assignment of assignments) {
        const { position } = assignment.finished
        life.granting(group, assignment.topic.name, assignment.partition, assignment.finished)
        member.fences.set(`${assignment.topic.name}/${assignment.partition}`, assignment.fence)
        const { topic, partition, fence } = assignment
        life.note('granted', { group, member: name, topic: topic.name, partition, fence, position })
      }
      listener.assigned(assignments)
    },
    revoked: async (assignments) => {
      await listener.revoked(assignments)
      for (const assignment of assignments) life.note('released', place(assignment))
    },
    lost: (error) => listener.lost(error),
  }
}

async function observeSeek(
  seek: Broker['seek'],
  life: ObservedLife,
  group: string,
  to: StartPosition,
  where: { topic?: string; partition?: number } | undefined,
): Promise<void> {
  if (life.isOver) return life.zombie(`sought in ${group}`)
  const seeking = life.beginSeek(group, where)
  try {
    await seek(group, to, where)
    seeking.done()
  } finally {
    seeking.end()
  }
}
