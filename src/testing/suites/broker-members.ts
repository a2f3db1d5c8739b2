import assert from 'node:assert/strict'
import { appendAll, TestMember, withCode, type BrokerCase } from './broker-case.ts'

/** Members of one group: who owns which partition, and who may settle. */
export const memberCases: readonly BrokerCase[] = [
  {
    name: 'members share the partitions evenly, and nobody loses more than that needs',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 4 })
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      assert.deepEqual(a.partitions, [0, 1, 2, 3])
      const b = await TestMember.join(broker, 'g', [topic])
      await b.owns(2)
      await a.owns(2)
      const kept = a.partitions
      const c = await TestMember.join(broker, 'g', [topic])
      await c.owns(1)
      assert.deepEqual(new Set([...a.partitions, ...b.partitions, ...c.partitions]), new Set([0, 1, 2, 3]))
      await c.membership.leave()
      await a.until(() => a.owned.size + b.owned.size === 4)
      for (const partition of kept.filter((one) => !a.partitions.includes(one))) {
        assert.fail(`partition ${partition} was taken from the first member for nothing`)
      }
      const owners = new Set(broker.positions('g').map(({ owner }) => owner))
      assert.deepEqual(owners, new Set([a.membership.id, b.membership.id]))
      assert.equal(broker.groups()[0]!.members.length, 2)
    },
  },
  {
    name: 'ORDER-40: a partition is granted only after its old owner has given it back',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      await appendAll(topic, 0, ['a'])
      await appendAll(topic, 1, ['a'])
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      let giveBack = (): void => {}
      a.release = new Promise((resolve) => (giveBack = resolve))
      const b = await TestMember.join(broker, 'g', [topic])
      await a.until(() => a.log.length === 3)
      const moving = Number(a.log[2]!.slice(1))
      await broker.flush()
      assert.equal(b.owned.size, 0)
      // Until then it is the old owner's, who settles what it finished.
      await a.settle(moving, 0, 1)
      giveBack()
      await b.owns(1)
      assert.deepEqual(b.partitions, [moving])
      assert.equal(b.owned.get(moving)!.finished.position, 1)
    },
  },
  {
    name: 'FENCE-40: who gave a partition away cannot settle it, and nothing of that settlement is kept',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      for (const partition of [0, 1]) await appendAll(topic, partition, ['a', 'b'])
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      const before = new Map(a.owned)
      const b = await TestMember.join(broker, 'g', [topic])
      await b.owns(1)
      const [gone] = b.partitions
      const kept = 1 - gone!
      const both = [...before.values()].map((assignment) => ({ assignment, finished: [0, 2] }))
      await assert.rejects(a.membership.settle({ partitions: both }), withCode('FENCED'))
      assert.deepEqual(
        broker.positions('g').map(({ position }) => position),
        [0, 0],
      )
      await a.settle(kept, 0, 2)
      await b.settle(gone!, 0, 1)
      assert.ok(b.owned.get(gone!)!.fence > before.get(gone!)!.fence)
    },
  },
  {
    name: 'FENCE-41: an abandoned member is fenced at once, and its partitions go to the others',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      for (const partition of [0, 1]) await appendAll(topic, partition, ['a', 'b'])
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      const owned = new Map(a.owned)
      a.release = new Promise(() => {})
      const b = await TestMember.join(broker, 'g', [topic])
      await a.until(() => a.log.length === 3)
      assert.equal(b.owned.size, 0)
      await a.membership.leave({ abandon: true })
      await b.owns(2)
      for (const [partition, assignment] of owned) {
        const late = a.membership.settle({ partitions: [{ assignment, finished: [0, 2] }] })
        await assert.rejects(late, withCode('FENCED'))
        assert.ok(b.owned.get(partition)!.fence > assignment.fence)
      }
      await b.settle(0, 0, 2)
    },
  },
  {
    name: 'FENCE-42: a partition that an abandoned member gives back late stays with its new owner',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      for (const partition of [0, 1]) await appendAll(topic, partition, ['a', 'b'])
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      let giveBack = (): void => {}
      a.release = new Promise((resolve) => (giveBack = resolve))
      const b = await TestMember.join(broker, 'g', [topic])
      await a.until(() => a.log.length === 3)
      await a.membership.leave({ abandon: true })
      await b.owns(2)
      giveBack()
      await a.until(() => a.owned.size === 1)
      await broker.flush()
      await b.settle(0, 0, 2)
      await b.settle(1, 0, 2)
      assert.deepEqual(b.log.sort(), ['+0', '+1'])
    },
  },
  {
    name: 'FENCE-43: fences rise over a restart',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', {})
      const a = await TestMember.join(broker, 'g', [topic], 'earliest')
      const { fence } = a.owned.get(0)!
      const again = await reopen()
      const b = await TestMember.join(again, 'g', [again.topic('t')!])
      assert.ok(b.owned.get(0)!.fence > fence)
    },
  },
  {
    name: 'a seek takes the partitions back, moves them and grants them again; older settlements are refused',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      for (const partition of [0, 1]) await appendAll(topic, partition, ['a', 'b', 'c'])
      const member = await TestMember.join(broker, 'g', [topic], 'earliest')
      await member.settle(0, 0, 2)
      const old = member.owned.get(0)!
      await broker.seek('g', { offset: 1 }, { partition: 0 })
      assert.deepEqual(member.log, ['+0', '+1', '-0', '+0'])
      assert.equal(member.owned.get(0)!.finished.position, 1)
      const late = member.membership.settle({ partitions: [{ assignment: old, finished: [1, 3] }] })
      await assert.rejects(late, withCode('FENCED'))
      await member.settle(0, 1, 2)
      assert.deepEqual(
        broker.positions('g').map(({ position }) => position),
        [2, 0],
      )
    },
  },
  {
    name: 'a member is told when its topic is deleted, and when the broker is closed',
    run: async ({ broker }) => {
      const [t, u] = [await broker.createTopic('t', {}), await broker.createTopic('u', {})]
      const onT = await TestMember.join(broker, 'g', [t], 'earliest')
      const onU = await TestMember.join(broker, 'h', [u], 'earliest')
      await broker.deleteTopic('t')
      assert.deepEqual(broker.positions('g'), [])
      assert.deepEqual([onT.lostWith?.code, onU.lostWith?.code], ['TOPIC_DELETED', undefined])
      await assert.rejects(TestMember.join(broker, 'g', [t], 'earliest'), withCode('TOPIC_DELETED'))
      await broker.close()
      assert.equal(onU.lostWith?.code, 'CLOSED')
    },
  },
]
