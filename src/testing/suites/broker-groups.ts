import assert from 'node:assert/strict'
import type { Broker, GroupPosition } from '../../contracts/broker.ts'
import { appendAll, TestMember, withCode, type BrokerCase } from './broker-case.ts'

const five = ['a', 'b', 'c', 'd', 'e']

function placesOf(broker: Broker, group: string): number[] {
  return [...broker.positions(group)].sort((a, b) => a.partition - b.partition).map(({ position }) => position)
}

function placeOf(broker: Broker, group: string, partition = 0): GroupPosition {
  return broker.positions(group).find((place) => place.partition === partition)!
}

/** Positions of groups: where they begin, what they finished, how they are moved. */
export const groupCases: readonly BrokerCase[] = [
  {
    name: 'a new group has to say where it begins',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', {})
      await assert.rejects(TestMember.join(broker, 'g', [topic]), { code: 'INVALID_OPTION', option: 'from' })
      assert.deepEqual(broker.groups(), [])
    },
  },
  {
    name: 'a group begins at the earliest or latest offset, at given ones, or at a time',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      await appendAll(topic, 0, five)
      await topic.trim(0, 1)
      await appendAll(topic, 1, ['a', 'b'])
      const found = await topic.fetch(0, 4)
      if (found.kind !== 'records') return assert.fail(found.kind)
      const timestamp = found.batch.timestampAt(found.index)
      const begins = async (group: string, from: Parameters<typeof TestMember.join>[3]): Promise<number[]> => {
        const member = await TestMember.join(broker, group, [topic], from)
        await member.membership.leave()
        return placesOf(broker, group)
      }
      assert.deepEqual(await begins('earliest', 'earliest'), [1, 0])
      assert.deepEqual(await begins('latest', 'latest'), [5, 2])
      assert.deepEqual(await begins('offset', { offset: 2 }), [2, 2])
      assert.deepEqual(await begins('offsets', { offset: [3, 0] }), [3, 0])
      const expected = [await topic.offsetAt(0, timestamp), await topic.offsetAt(1, timestamp)]
      assert.deepEqual(await begins('time', { timestamp }), expected)
      for (const offset of [0, 3, [1], [1, 3]]) {
        await assert.rejects(TestMember.join(broker, 'x', [topic], { offset }), withCode('OFFSET_OUT_OF_RANGE'))
      }
      assert.ok(!broker.groups().some(({ name }) => name === 'x'))
    },
  },
  {
    name: 'PROGRESS-40: where a group begins is kept for all partitions at once, before anything is handed out',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', { partitions: 3 })
      for (const partition of [0, 1, 2]) await appendAll(topic, partition, five)
      await TestMember.join(broker, 'g', [topic], 'latest')
      for (const partition of [0, 1, 2]) await appendAll(topic, partition, ['f'])
      const again = await reopen()
      assert.deepEqual(placesOf(again, 'g'), [5, 5, 5])
      const member = await TestMember.join(again, 'g', [again.topic('t')!], 'earliest')
      assert.deepEqual(placesOf(again, 'g'), [5, 5, 5])
      assert.equal(member.owned.get(0)!.finished.position, 5)
      assert.deepEqual(
        again.positions('g').map(({ backlog }) => backlog.count),
        [1, 1, 1],
      )
    },
  },
  {
    name: 'PROGRESS-41: the position is the lowest unfinished offset, and what is finished above it is kept exactly',
    requires: 'exactProgress',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, [...five, ...five])
      const member = await TestMember.join(broker, 'g', [topic], 'earliest')
      await member.settle(0, 0, 1, 2, 3, 5, 7)
      const check = (of: Broker): void => {
        const { position, finishedAbove, backlog } = placeOf(of, 'g')
        assert.deepEqual([position, finishedAbove, backlog.count], [1, 3, 6])
        assert.ok(backlog.bytes > 0)
      }
      check(broker)
      const again = await reopen()
      check(again)
      const { finished } = (await TestMember.join(again, 'g', [again.topic('t')!])).owned.get(0)!
      const seen = Array.from({ length: 10 }, (_, offset) => finished.has(offset))
      assert.deepEqual(
        seen.flatMap((is, offset) => (is ? [offset] : [])),
        [0, 2, 5, 6],
      )
      assert.deepEqual([finished.position, finished.ceiling, finished.countIn(1, 6)], [1, 7, 2])
    },
  },
  {
    name: 'PROGRESS-42: finishing what was missing moves the position over everything behind it',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, [...five, ...five])
      const member = await TestMember.join(broker, 'g', [topic], 'earliest')
      await member.settle(0, 1, 4, 6, 10)
      assert.equal(placeOf(broker, 'g').position, 0)
      await member.settle(0, 0, 1)
      assert.equal(placeOf(broker, 'g').position, 4)
      await member.settle(0, 4, 6)
      const again = await reopen()
      const { position, finishedAbove, backlog } = placeOf(again, 'g')
      assert.deepEqual([position, finishedAbove, backlog], [10, 0, { count: 0, bytes: 0, oldestTimestamp: undefined }])
    },
  },
  {
    name: 'groups are independent of each other',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, five)
      const a = await TestMember.join(broker, 'a', [topic], 'earliest')
      const b = await TestMember.join(broker, 'b', [topic], 'earliest')
      await a.settle(0, 0, 3)
      await b.settle(0, 0, 1)
      assert.deepEqual([placesOf(broker, 'a'), placesOf(broker, 'b')], [[3], [1]])
      const names = broker.groups().map(({ name, topics }) => `${name} ${topics.join()}`)
      assert.deepEqual(new Set(names), new Set(['a t', 'b t']))
    },
  },
  {
    name: 'a group without members can be moved, in all partitions or one',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      for (const partition of [0, 1]) await appendAll(topic, partition, five)
      const member = await TestMember.join(broker, 'g', [topic], 'earliest')
      await member.settle(0, 1, 3)
      await member.membership.leave()
      await broker.seek('g', 'latest')
      assert.deepEqual(placesOf(broker, 'g'), [5, 5])
      await broker.seek('g', { offset: 2 }, { topic: 't', partition: 0 })
      const again = await reopen()
      assert.deepEqual(placesOf(again, 'g'), [2, 5])
      // What was finished above the old place is forgotten.
      assert.equal(placeOf(again, 'g').finishedAbove, 0)
      await assert.rejects(again.seek('g', { offset: 9 }), withCode('OFFSET_OUT_OF_RANGE'))
      await assert.rejects(again.seek('g', 'latest', { partition: 7 }), withCode('OFFSET_OUT_OF_RANGE'))
      await assert.rejects(again.seek('h', 'latest'), withCode('GROUP_NOT_FOUND'))
      assert.deepEqual(placesOf(again, 'g'), [2, 5])
    },
  },
  {
    name: 'a deleted group is forgotten for good; one with members stays',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, five)
      const member = await TestMember.join(broker, 'g', [topic], 'earliest')
      await member.settle(0, 0, 1, 3, 4)
      await assert.rejects(broker.deleteGroup('g'), withCode('GROUP_CONFLICT'))
      await member.membership.leave()
      await broker.deleteGroup('g')
      await assert.rejects(broker.deleteGroup('g'), withCode('GROUP_NOT_FOUND'))
      assert.throws(() => broker.positions('g'), withCode('GROUP_NOT_FOUND'))
      const again = await reopen()
      assert.deepEqual(again.groups(), [])
      const anew = await TestMember.join(again, 'g', [again.topic('t')!], 'earliest')
      assert.deepEqual([placesOf(again, 'g'), anew.owned.get(0)!.finished.has(3)], [[0], false])
    },
  },
  {
    name: 'a group may consume several topics, and keeps its places in those it left',
    run: async ({ broker }) => {
      const [t, u] = [await broker.createTopic('t', {}), await broker.createTopic('u', {})]
      await appendAll(t, 0, five)
      await appendAll(u, 0, five)
      const first = await TestMember.join(broker, 'g', [t], 'earliest')
      await first.settle(0, 0, 2)
      await assert.rejects(TestMember.join(broker, 'g', [t, u], 'latest'), withCode('GROUP_CONFLICT'))
      await first.membership.leave()
      const second = await TestMember.join(broker, 'g', [u], { offset: 3 })
      const places = broker
        .positions('g')
        .map(({ topic, position, owner }) => `${topic} ${position} ${owner !== undefined}`)
      assert.deepEqual(places.sort(), ['t 2 false', 'u 3 true'])
      await second.membership.leave()
    },
  },
]
