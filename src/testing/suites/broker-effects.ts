import assert from 'node:assert/strict'
import type { Broker, BrokerTopic, Effects, Output } from '../../contracts/broker.ts'
import type { CommitPart } from '../../contracts/commit-part.ts'
import type { State, StateSpace } from '../../contracts/state.ts'
import { QueueError } from '../../errors.ts'
import { appendAll, record, TestMember, valuesFrom, withCode, type BrokerCase } from './broker-case.ts'

const flushed = { acks: 'flushed' } as const
const none: Effects = { outputs: [], parts: [] }

function output(topic: BrokerTopic, value: string, partition = 0): Output {
  return { topic, record: record(value, partition) }
}

/** A part that says no, or writes down that it was applied. */
class TestPart implements CommitPart {
  isApplied = false
  readonly #error: Error | undefined

  constructor(error?: Error) {
    this.#error = error
  }

  check(): void {
    if (this.#error) throw this.#error
  }

  apply(): void {
    this.isApplied = true
  }
}

const refusing = (): TestPart => new TestPart(new QueueError('CONFLICT', 'no'))

/** Two topics, a member of a group on the first, which has five messages, and a store of state. */
async function scene(broker: Broker): Promise<{
  input: BrokerTopic
  output: BrokerTopic
  member: TestMember
  state: State
  space: StateSpace
}> {
  const [input, other] = [await broker.createTopic('in', {}), await broker.createTopic('out', { partitions: 2 })]
  await appendAll(input, 0, ['a', 'b', 'c', 'd', 'e'])
  const member = await TestMember.join(broker, 'g', [input], 'earliest')
  await member.owns(1)
  const state = broker.state!
  return { input, output: other, member, state, space: state.space('s') }
}

function positionOf(broker: Broker): number {
  return broker.positions('g')[0]!.position
}

function write(state: State, space: StateSpace, key: string, value: string): CommitPart {
  const transaction = state.begin()
  transaction.put(space, key, Buffer.from(value))
  return transaction
}

function textAt(state: State, space: StateSpace, key: string): string | undefined {
  const value = state.get(space, key)
  return value && Buffer.from(value).toString()
}

/** What takes effect together: progress, outputs, and parts of the environment. */
export const effectCases: readonly BrokerCase[] = [
  {
    name: 'a broker that takes effects keeps state',
    requires: 'effects',
    run: async ({ broker }) => {
      assert.equal(broker.capabilities.effects, true)
      assert.notEqual(broker.state, undefined)
    },
  },
  {
    name: 'a broker that takes no effects says so',
    unless: 'effects',
    run: async ({ broker }) => assert.equal(broker.capabilities.effects, false),
  },
  {
    name: 'what is accepted is finished, with its outputs, once a later settlement is',
    requires: 'effects',
    run: async ({ broker }) => {
      const { output: topic, member, state, space } = await scene(broker)
      const part = new TestPart()
      const settlement = { partitions: [{ assignment: member.owned.get(0)!, finished: [0, 1] }] }
      const outputs = [output(topic, 'x'), output(topic, 'y', 1), output(topic, 'z')]
      const parts = [part, write(state, space, 'k', 'v')]
      const { results } = member.membership.accept(settlement, { outputs, parts })
      assert.deepEqual(
        results.map(({ partition, offset, duplicate }) => [partition, offset, duplicate]),
        [
          [0, 0, false],
          [1, 0, false],
          [0, 1, false],
        ],
      )
      assert.ok(part.isApplied)
      assert.equal(textAt(state, space, 'k'), 'v')
      await member.membership.settle({ partitions: [] })
      assert.equal(positionOf(broker), 1)
      assert.deepEqual([await valuesFrom(topic, 0, 0), await valuesFrom(topic, 1, 0)], [['x', 'z'], ['y']])
    },
  },
  {
    name: 'when one part says no, nothing has changed: of an acceptance, of a transaction',
    requires: 'effects',
    run: async ({ broker }) => {
      const { output: topic, member, state, space } = await scene(broker)
      const partitions = [{ assignment: member.owned.get(0)!, finished: [0, 1] }]
      const before = new TestPart()
      const effects = (): Effects => ({
        outputs: [output(topic, 'x')],
        parts: [before, write(state, space, 'k', 'v'), refusing()],
      })
      assert.throws(() => member.membership.accept({ partitions }, effects()), withCode('CONFLICT'))
      const acks = [{ membership: member.membership, partitions }]
      await assert.rejects(broker.transact(effects(), acks, flushed), withCode('CONFLICT'))
      await broker.flush()
      assert.equal(before.isApplied, false)
      assert.equal(textAt(state, space, 'k'), undefined)
      assert.deepEqual(await valuesFrom(topic, 0, 0), [])
      assert.equal(positionOf(broker), 0)
    },
  },
  {
    name: 'who gave a partition away can neither accept nor acknowledge in a transaction, and nothing of it is kept',
    requires: 'effects',
    run: async ({ broker }) => {
      const { input, output: topic, member } = await scene(broker)
      const partitions = [{ assignment: member.owned.get(0)!, finished: [0, 1] }]
      await member.membership.leave()
      const next = await TestMember.join(broker, 'g', [input])
      await next.owns(1)
      const effects: Effects = { outputs: [output(topic, 'x')], parts: [] }
      assert.throws(() => member.membership.accept({ partitions }, effects), withCode('FENCED'))
      const acks = [{ membership: member.membership, partitions }]
      await assert.rejects(broker.transact(effects, acks, flushed), withCode('FENCED'))
      assert.deepEqual(await valuesFrom(topic, 0, 0), [])
      assert.equal(positionOf(broker), 0)
    },
  },
  {
    name: 'a transaction acknowledges for several members, and says where its outputs went',
    requires: 'effects',
    run: async ({ broker }) => {
      const { input, output: topic, member } = await scene(broker)
      const other = await TestMember.join(broker, 'h', [input], 'earliest')
      await other.owns(1)
      const acks = [member, other].map(({ membership, owned }, i) => ({
        membership,
        partitions: [{ assignment: owned.get(0)!, finished: [0, i + 1] }],
      }))
      const outputs = [output(topic, 'x', 1), output(input, 'f')]
      const results = await broker.transact({ outputs, parts: [] }, acks, flushed)
      assert.deepEqual(
        results.map(({ partition, offset }) => [partition, offset]),
        [
          [1, 0],
          [0, 5],
        ],
      )
      assert.deepEqual([positionOf(broker), broker.positions('h')[0]!.position], [1, 2])
      assert.deepEqual(await broker.transact(none, [], flushed), [])
    },
  },
  {
    name: 'a topic that was deleted takes no outputs, and nothing of the rest happens',
    requires: 'effects',
    run: async ({ broker }) => {
      const { output: topic, member } = await scene(broker)
      await broker.deleteTopic('out')
      const partitions = [{ assignment: member.owned.get(0)!, finished: [0, 1] }]
      const effects: Effects = { outputs: [output(topic, 'x')], parts: [] }
      assert.throws(() => member.membership.accept({ partitions }, effects), withCode('TOPIC_DELETED'))
      await assert.rejects(broker.transact(effects, [], flushed), withCode('TOPIC_DELETED'))
      assert.equal(positionOf(broker), 0)
    },
  },
  {
    name: 'after a crash all of an acceptance is there or nothing, and all of a transaction',
    requires: 'crash',
    run: async ({ broker, crash }) => {
      if (!broker.capabilities.effects) return
      const { output: topic, member, state, space } = await scene(broker)
      const accept = (offset: number, key: string): void => {
        const partitions = [{ assignment: member.owned.get(0)!, finished: [offset, offset + 1] }]
        const parts = [write(state, space, key, 'v')]
        member.membership.accept({ partitions }, { outputs: [output(topic, key)], parts })
      }
      accept(0, 'k')
      await broker.flush()
      accept(1, 'l')
      const more: Effects = { outputs: [output(topic, 'm', 1)], parts: [write(state, space, 'm', 'v')] }
      broker.transact(more, [], flushed).catch(() => {})
      const again = await crash!()
      const at = again.state!.space('s')
      const has = (key: string): boolean => textAt(again.state!, at, key) !== undefined
      const kept = again.topic('out')!
      assert.ok(has('k'), 'what was accepted before a flush is there after it')
      assert.equal(positionOf(again), has('l') ? 2 : 1)
      assert.deepEqual(await valuesFrom(kept, 0, 0), has('l') ? ['k', 'l'] : ['k'])
      assert.deepEqual(await valuesFrom(kept, 1, 0), has('m') ? ['m'] : [])
    },
  },
  {
    name: 'outputs, progress and state that were settled are there after a reopening, stores by their names',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      if (!broker.capabilities.effects) return
      const { output: topic, member, state, space } = await scene(broker)
      const partitions = [{ assignment: member.owned.get(0)!, finished: [0, 2] }]
      const parts = [write(state, space, 'k', 'v'), write(state, state.space('other'), 'k', 'o')]
      member.membership.accept({ partitions }, { outputs: [output(topic, 'x')], parts })
      await member.membership.settle({ partitions: [] })
      const again = await reopen()
      assert.equal(positionOf(again), 2)
      assert.deepEqual(await valuesFrom(again.topic('out')!, 0, 0), ['x'])
      assert.deepEqual(
        again
          .state!.spaces()
          .map(({ name }) => name)
          .sort(),
        ['other', 's'],
      )
      assert.equal(textAt(again.state!, again.state!.space('s'), 'k'), 'v')
      assert.equal(textAt(again.state!, again.state!.space('other'), 'k'), 'o')
      assert.ok(again.state!.epoch > state.epoch)
    },
  },
  {
    name: 'state is read in the order of its keys as UTF-8, in pages, both ways, store by store',
    requires: 'effects',
    run: async ({ broker }) => {
      const { state, space } = await scene(broker)
      const keys = ['😀', 'z', 'é', 'ab', 'a', '\uffff']
      for (const key of keys)
        await broker.transact({ outputs: [], parts: [write(state, space, key, key)] }, [], flushed)
      await broker.transact({ outputs: [], parts: [write(state, state.space('next'), 'b', 'b')] }, [], flushed)
      const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      const read = (range: Parameters<State['range']>[1]): string[] => state.range(space, range).map(({ key }) => key)
      assert.deepEqual(read({ limit: 99 }), sorted)
      assert.deepEqual(read({ limit: 2, reverse: true }), sorted.slice(-2).reverse())
      assert.deepEqual(read({ from: 'ab', to: 'é', limit: 99 }), ['ab', 'z'])
    },
  },
  {
    name: 'what was read and has changed refuses a transaction; what only writes is not refused',
    requires: 'effects',
    run: async ({ broker }) => {
      const { state, space } = await scene(broker)
      const reading = state.begin()
      assert.equal(reading.get(space, 'k'), undefined)
      reading.put(space, 'copy', Buffer.from('none'))
      const blind = write(state, space, 'k', 'second')
      await broker.transact({ outputs: [], parts: [write(state, space, 'k', 'first')] }, [], flushed)
      await assert.rejects(broker.transact({ outputs: [], parts: [reading] }, [], flushed), withCode('CONFLICT'))
      await broker.transact({ outputs: [], parts: [blind] }, [], flushed)
      assert.equal(textAt(state, space, 'k'), 'second')
      assert.equal(textAt(state, space, 'copy'), undefined)
    },
  },
]
