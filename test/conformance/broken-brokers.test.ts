import { expect, test } from 'vitest'
import type {
  Broker,
  BrokerTopic,
  GroupPosition,
  JoinRequest,
  MemberListener,
  Membership,
} from '../../src/contracts/broker.ts'
import type { Storage, Table } from '../../src/contracts/storage.ts'
import type { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { isQueueError } from '../../src/errors.ts'
import { brokerSuite } from '../../src/testing/suites/broker-suite.ts'
import { runSuite } from '../../src/testing/suites/conformance.ts'
import { memoryBroker, spoil, type BrokerFault } from './subjects.ts'

/** A store below the broker that drops what is written to a table. */
function without(table: Table, what: 'put' | 'remove' = 'put'): BrokerFault {
  const storage = (storage: Storage): Partial<Storage> => ({
    batch: () => {
      const batch = storage.batch()
      const write = batch[what].bind(batch) as (...args: unknown[]) => void
      batch[what] = (...args: unknown[]) => {
        if (args[0] !== table) write(...args)
      }
      return batch
    },
  })
  return { storage }
}

/** Every topic of the broker changed, those that it finds at its opening too. */
function topics(change: (topic: BrokerTopic) => void): BrokerFault {
  const broker = (broker: EmbeddedBroker): void => {
    const changed = new WeakSet<BrokerTopic>()
    const once = <T extends BrokerTopic>(topic: T): T => {
      if (!changed.has(topic)) change(topic)
      changed.add(topic)
      return topic
    }
    for (const topic of broker.topics()) once(topic)
    const create = broker.createTopic.bind(broker)
    broker.createTopic = async (name, settings) => once(await create(name, settings))
  }
  return { broker }
}

/** Every member of every group changed: what it is told, and what it does. */
function members(change: {
  readonly listener?: (listener: MemberListener) => Partial<MemberListener>
  readonly membership?: (membership: Membership) => Partial<Membership>
}): BrokerFault {
  const broker = (broker: EmbeddedBroker): void => {
    const join = broker.join.bind(broker)
    broker.join = async (request) => {
      const { listener } = request
      const told: MemberListener = {
        assigned: (assignments) => listener.assigned(assignments),
        revoked: (assignments) => listener.revoked(assignments),
        lost: (error) => listener.lost(error),
        ...change.listener?.(listener),
      }
      const membership = await join({ ...request, listener: told })
      return { ...membership, ...change.membership?.(membership) }
    }
  }
  return { broker }
}

/** What is asked for at a join changed on its way in. */
function joins(change: (request: JoinRequest) => JoinRequest): BrokerFault {
  return methods((broker) => {
    const join = broker.join.bind(broker)
    return { join: async (request) => join(change(request)) }
  })
}

/** What is told of a group's places changed on its way out. */
function positions(change: (places: readonly GroupPosition[]) => readonly GroupPosition[]): BrokerFault {
  return methods((broker) => {
    const positions = broker.positions.bind(broker)
    return { positions: (group) => change(positions(group)) }
  })
}

/** Methods of the broker itself replaced. */
function methods(change: (broker: EmbeddedBroker) => Partial<Broker>): BrokerFault {
  return { broker: (broker) => void Object.assign(broker, change(broker)) }
}

/** What an engine may get wrong, and the case that has to notice. */
const faults: Record<string, { caughtBy: string; fault: BrokerFault }> = {
  'loses what was appended': { caughtBy: 'DURA-40', fault: without('log') },
  'loses progress over a restart': { caughtBy: 'PROGRESS-42', fault: without('progress') },
  'brings deleted topics back': { caughtBy: 'a deleted topic is gone', fault: without('meta', 'remove') },
  'begins each opening with the same epoch': { caughtBy: 'FENCE-43', fault: { storage: () => ({ epoch: 1 }) } },
  'reorders a batch': {
    caughtBy: 'a batch is appended in order',
    fault: topics((topic) => {
      const append = topic.appendBatch.bind(topic)
      topic.appendBatch = async (records, options) => (await append([...records].reverse(), options)).reverse()
    }),
  },
  'acknowledges a batch before it is flushed': {
    caughtBy: 'DURA-42',
    fault: topics((topic) => {
      const append = topic.appendBatch.bind(topic)
      topic.appendBatch = (records) => append(records, { acks: 'buffered' })
    }),
  },
  'tears a batch': {
    caughtBy: 'DURA-42',
    fault: topics((topic) => {
      topic.appendBatch = async (records, options) => {
        const results = []
        for (const record of records) results.push(await topic.append(record, options))
        return results
      }
    }),
  },
  'hides what retention removed': {
    caughtBy: 'a trim hides everything below an offset',
    fault: topics((topic) => {
      const fetch = topic.fetch.bind(topic)
      topic.fetch = async (partition, offset) => {
        const found = await fetch(partition, offset)
        return found.kind === 'gap' ? fetch(partition, found.start) : found
      }
    }),
  },
  'says that it flushed': { caughtBy: 'DURA-41', fault: methods(() => ({ flush: async () => {} })) },
  'does not tell its watchers': {
    caughtBy: 'a watcher is told',
    fault: topics((topic) => {
      topic.watch = () => () => {}
    }),
  },
  'ignores the fence': {
    caughtBy: 'FENCE-40',
    fault: members({
      membership: ({ settle }) => ({
        settle: async (settlement) => {
          try {
            await settle(settlement)
          } catch (error) {
            if (!isQueueError(error, 'FENCED')) throw error
          }
        },
      }),
    }),
  },
  'keeps the part of a fenced settlement that it can': {
    caughtBy: 'FENCE-40',
    fault: members({
      membership: ({ settle }) => ({
        settle: async ({ partitions }) => {
          const parts = await Promise.allSettled(partitions.map((one) => settle({ partitions: [one] })))
          for (const part of parts) if (part.status === 'rejected') throw part.reason
        },
      }),
    }),
  },
  'grants a partition before it was given back': {
    caughtBy: 'ORDER-40',
    fault: members({ listener: (listener) => ({ revoked: async (gone) => void listener.revoked(gone) }) }),
  },
  'commits the highest finished offset': {
    caughtBy: 'PROGRESS-41',
    fault: members({
      membership: ({ settle }) => ({
        settle: ({ partitions }) =>
          settle({ partitions: partitions.map((one) => ({ ...one, finished: [0, Math.max(...one.finished)] })) }),
      }),
    }),
  },
  'waits for an abandoned member': {
    caughtBy: 'FENCE-41',
    fault: members({ membership: ({ leave }) => ({ leave: () => leave() }) }),
  },
  'moves a group nowhere': {
    caughtBy: 'a seek takes the partitions back',
    fault: methods(() => ({ seek: async () => {} })),
  },
  'deletes a group under its members': {
    caughtBy: 'a deleted group is forgotten',
    fault: methods(() => ({ deleteGroup: async () => {} })),
  },
  'opens a topic whatever its settings are': {
    caughtBy: 'a topic that exists with other partitions',
    fault: methods((broker) => {
      const create = broker.createTopic.bind(broker)
      return { createTopic: (name, settings) => create(name, broker.topic(name) === undefined ? settings : {}) }
    }),
  },
  'hides its topics': { caughtBy: 'a topic is created once', fault: methods(() => ({ topics: () => [] })) },
  'forgets changed settings': {
    caughtBy: 'a changed setting holds at once',
    fault: topics((topic) => {
      topic.configure = async () => {}
    }),
  },
  'answers with the offset behind': {
    caughtBy: 'offsets of a partition are dense',
    fault: topics((topic) => {
      const append = topic.append.bind(topic)
      topic.append = async (record, options) => {
        const result = await append(record, options)
        return { ...result, offset: result.offset + 1 }
      }
    }),
  },
  'makes ids of the offset alone': {
    caughtBy: 'LOSS-40',
    fault: topics((topic) => {
      const fetch = topic.fetch.bind(topic)
      topic.fetch = async (partition, offset) => {
        const found = await fetch(partition, offset)
        return found.kind === 'records' ? { ...found, batch: spoil(found.batch, { idPrefix: '' }) } : found
      }
    }),
  },
  'begins a group at the earliest offset, asked or not': {
    caughtBy: 'a new group has to say where it begins',
    fault: joins((request) => ({ ...request, from: request.from ?? 'earliest' })),
  },
  'begins every group at the latest offset': {
    caughtBy: 'a group begins at the earliest or latest offset',
    fault: joins((request) => ({ ...request, from: request.from && 'latest' })),
  },
  'takes all groups for one': {
    caughtBy: 'groups are independent',
    fault: joins((request) => ({ ...request, group: 'g' })),
  },
  'forgets the places in topics that a group left': {
    caughtBy: 'a group may consume several topics',
    fault: positions((places) => places.filter(({ owner }) => owner !== undefined)),
  },
  'does not know who owns a partition': {
    caughtBy: 'members share the partitions evenly',
    fault: positions((places) => places.map((place) => ({ ...place, owner: undefined }))),
  },
  'does not tell a member that it is over': {
    caughtBy: 'a member is told when its topic is deleted',
    fault: members({ listener: () => ({ lost: () => {} }) }),
  },
  'says that it is not durable': {
    caughtBy: 'a durable broker says so',
    fault: methods(() => ({ capabilities: { durable: false, exactProgress: true, effects: true } })),
  },
  'says that it takes no effects': {
    caughtBy: 'a broker that takes effects keeps state',
    fault: methods(() => ({ capabilities: { durable: true, exactProgress: true, effects: false } })),
  },
  'drops the last output of an acceptance': {
    caughtBy: 'what is accepted is finished, with its outputs',
    fault: members({
      membership: ({ accept }) => ({
        accept: (settlement, { outputs, parts }) => accept(settlement, { outputs: outputs.slice(0, -1), parts }),
      }),
    }),
  },
  'finishes what it accepts in another commit than its effects': {
    caughtBy: 'after a crash all of an acceptance is there or nothing',
    fault: members({
      membership: ({ accept, settle }) => ({
        accept: (settlement, effects) => {
          const accepted = accept({ partitions: [] }, effects)
          setTimeout(() => void settle(settlement).catch(() => {}), 5)
          return accepted
        },
      }),
    }),
  },
  'applies parts before all are checked': {
    caughtBy: 'when one part says no, nothing has changed',
    fault: members({
      membership: ({ accept }) => ({
        accept: (settlement, { outputs, parts }) => {
          for (const part of parts) {
            part.check()
            part.apply([])
          }
          return accept(settlement, { outputs, parts: [] })
        },
      }),
    }),
  },
  'takes transactions of who gave a partition away': {
    caughtBy: 'who gave a partition away can neither accept nor acknowledge',
    fault: methods((broker) => {
      const transact = broker.transact.bind(broker)
      return { transact: (effects, _acks, options) => transact(effects, [], options) }
    }),
  },
  'sends what a transaction sends one by one': {
    caughtBy: 'a transaction acknowledges for several members',
    fault: methods((broker) => {
      const transact = broker.transact.bind(broker)
      return {
        transact: async ({ outputs, parts }, acks, options) => {
          for (const { topic, record } of outputs) await topic.append(record, options)
          return transact({ outputs: [], parts }, acks, options)
        },
      }
    }),
  },
  'loses state over a restart': { caughtBy: 'outputs, progress and state that were settled', fault: without('state') },
  'does not notice that state changed': {
    caughtBy: 'what was read and has changed refuses a transaction',
    fault: methods((broker) => {
      const begin = broker.state.begin.bind(broker.state)
      broker.state.begin = () => Object.assign(begin(), { check: () => {} })
      return {}
    }),
  },
  'reads state as UTF-16': {
    caughtBy: 'state is read in the order of its keys as UTF-8',
    fault: methods((broker) => {
      const range = broker.state.range.bind(broker.state)
      broker.state.range = (space, options) =>
        range(space, options).sort((a, b) => (a.key < b.key ? -1 : 1) * (options.reverse ? -1 : 1))
      return {}
    }),
  },
  'says that its progress is not exact': {
    caughtBy: 'exact progress says so',
    fault: methods(() => ({ capabilities: { durable: true, exactProgress: false, effects: true } })),
  },
}

test.concurrent.each(Object.entries(faults))('a broker that %s is caught', async (_, { caughtBy, fault }) => {
  const { failed } = await runSuite(brokerSuite(memoryBroker(fault)), { timeoutMs: 1_500 })
  expect(failed.map(({ name }) => name)).toContainEqual(expect.stringContaining(caughtBy))
})
