import assert from 'node:assert/strict'
import { realRuntime } from '../../runtime/real-runtime.ts'
import { appendAll, record, valuesFrom, withCode, type BrokerCase } from './broker-case.ts'

/** Topics and their logs. */
export const logCases: readonly BrokerCase[] = [
  {
    name: 'a topic is created once and opened after that',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 3 })
      assert.equal(topic.settings.partitions, 3)
      assert.equal(topic.settings.retention.maxAgeMs, Infinity)
      assert.equal((await broker.createTopic('t', {})).settings.partitions, 3)
      assert.deepEqual(
        broker.topics().map(({ name }) => name),
        ['t'],
      )
      assert.equal(broker.topic('t')!.name, 't')
      assert.equal(broker.topic('u'), undefined)
    },
  },
  {
    name: 'a topic that exists with other partitions or another content type is refused',
    run: async ({ broker }) => {
      await broker.createTopic('t', { partitions: 3 })
      await assert.rejects(broker.createTopic('t', { partitions: 4 }), withCode('TOPIC_CONFLICT'))
      await assert.rejects(broker.createTopic('t', { contentType: 'text/plain' }), withCode('TOPIC_CONFLICT'))
    },
  },
  {
    name: 'offsets of a partition are dense and in the order of the calls, awaited or not',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, i) => {
          return topic.append(record(String(i), i % 2), { acks: i % 3 === 0 ? 'buffered' : 'flushed' })
        }),
      )
      assert.deepEqual(
        results.map(({ partition, offset }) => [partition, offset]),
        results.map((_, i) => [i % 2, i >> 1]),
      )
      for (const partition of [0, 1]) {
        const of = results.filter((result) => result.partition === partition)
        const times = of.map(({ timestamp }) => timestamp)
        assert.ok(times.every((time, i) => i === 0 || time >= times[i - 1]!))
        assert.ok(of.every(({ duplicate }) => !duplicate))
      }
      await broker.flush()
      const odd = Array.from({ length: 25 }, (_, i) => String(2 * i + 1))
      assert.deepEqual(await valuesFrom(topic, 1, 0), odd)
    },
  },
  {
    name: 'a batch is appended in order, with a result for each record',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      await topic.append(record('first', 1), { acks: 'flushed' })
      const results = await topic.appendBatch([record('a', 1), record('b', 0), record('c', 1)], { acks: 'flushed' })
      assert.deepEqual(
        results.map(({ partition, offset }) => [partition, offset]),
        [
          [1, 1],
          [0, 0],
          [1, 2],
        ],
      )
      assert.deepEqual(await valuesFrom(topic, 1, 0), ['first', 'a', 'c'])
    },
  },
  {
    name: 'DURA-40: what was appended as flushed is there after the broker was opened again, byte for byte',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      await topic.append(record('héllo', 1, 'kéy', '{"a":"1"}'), { acks: 'flushed' })
      await topic.append(record('', 1), { acks: 'flushed' })
      const again = (await reopen()).topic('t')!
      assert.equal(again.settings.partitions, 2)
      assert.deepEqual(again.offsets(1), { start: 0, end: 2 })
      const found = await again.fetch(1, 0)
      if (found.kind !== 'records') return assert.fail(found.kind)
      const { batch, index } = found
      assert.equal(batch.keyAt(index), 'kéy')
      assert.equal(batch.valueBytesAt(index).toString(), 'héllo')
      assert.deepEqual({ ...batch.headersAt(index) }, { a: '1' })
      assert.ok(batch.timestampAt(index) > 0)
      assert.deepEqual(await valuesFrom(again, 1, 1), [''])
    },
  },
  {
    name: 'DURA-41: flush settles when everything appended before it, buffered or not, is kept',
    requires: 'durable',
    run: async (under) => {
      const topic = await under.broker.createTopic('t', {})
      for (let i = 0; i < 5; i++) await topic.append(record(String(i)), { acks: 'buffered' })
      await under.broker.flush()
      const again = under.crash === undefined ? await under.reopen() : await under.crash()
      assert.deepEqual(await valuesFrom(again.topic('t')!, 0, 0), ['0', '1', '2', '3', '4'])
    },
  },
  {
    name: 'DURA-42: of a batch that was not acknowledged when the broker died all records are there or none',
    requires: 'crash',
    run: async (under) => {
      let { broker } = under
      await broker.createTopic('t', { partitions: 3 })
      let expected = 0
      for (let round = 0; round < 20; round++) {
        const topic = broker.topic('t')!
        const batch = Array.from({ length: 300 }, (_, i) => record(`${round}`.padEnd(1_000, '.'), i % 3))
        let acknowledged = false
        topic.appendBatch(batch, { acks: 'flushed' }).then(
          () => (acknowledged = true),
          () => {},
        )
        // The broker dies in another turn of its commits each time.
        for (let turn = 0; turn < round % 4; turn++) {
          await new Promise<void>((resolve) => realRuntime.later('turn', resolve))
        }
        broker = await under.crash!()
        const ends = [0, 1, 2].map((partition) => broker.topic('t')!.offsets(partition).end)
        assert.ok(
          ends.every((end) => end === ends[0]),
          `torn: ${ends.join(', ')}`,
        )
        assert.ok(ends[0] === expected || ends[0] === expected + 100, `torn: ${ends.join(', ')}`)
        if (acknowledged) assert.equal(ends[0], expected + 100)
        expected = ends[0]!
      }
    },
  },
  {
    name: 'a fetch answers from any offset, says where to go on, and is empty at the end',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', {})
      assert.deepEqual(await topic.fetch(0, 0), { kind: 'empty' })
      await appendAll(topic, 0, ['a', 'b'])
      await topic.appendBatch([record('c'), record('d'), record('e')], { acks: 'flushed' })
      for (let offset = 0; offset < 5; offset++) {
        assert.deepEqual(await valuesFrom(topic, 0, offset), ['a', 'b', 'c', 'd', 'e'].slice(offset))
      }
      assert.deepEqual(await topic.fetch(0, 5), { kind: 'empty' })
      await assert.rejects(async () => topic.fetch(0, 6), withCode('OFFSET_OUT_OF_RANGE'))
    },
  },
  {
    name: 'LOSS-40: ids are unique, also over a restart',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const ids = new Set<string>()
      let count = 0
      let topic = await broker.createTopic('t', { partitions: 2 })
      for (const round of [1, 2]) {
        if (round === 2) topic = (await reopen()).topic('t')!
        for (const partition of [0, 1]) {
          const from = topic.offsets(partition).end
          await appendAll(topic, partition, ['a', 'b'])
          const found = await topic.fetch(partition, from)
          if (found.kind !== 'records') return assert.fail(found.kind)
          for (let i = found.index; i < found.batch.count; i++, count++) {
            ids.add(found.batch.idPrefix + String(found.batch.offsetAt(i)))
          }
        }
      }
      assert.equal(ids.size, count)
    },
  },
  {
    name: 'a watcher is told of what is new in its partition, until it stops',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      let calls = 0
      const told = new Promise<void>((resolve) => {
        const stop = topic.watch(1, () => {
          calls++
          stop()
          resolve()
        })
      })
      await appendAll(topic, 0, ['other'])
      assert.equal(calls, 0)
      await appendAll(topic, 1, ['mine'])
      await told
      await appendAll(topic, 1, ['more'])
      assert.equal(calls, 1)
      assert.deepEqual(topic.offsets(1), { start: 0, end: 2 })
    },
  },
  {
    name: 'a lookup by time finds the first message at or after it',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      let topic = await broker.createTopic('t', {})
      const times: number[] = []
      // Until three different times were stored; each append takes some.
      while (new Set(times).size < 3) times.push((await topic.append(record('v'), { acks: 'flushed' })).timestamp)
      for (const round of ['open', 'reopened']) {
        if (round === 'reopened') topic = (await reopen()).topic('t')!
        for (const time of new Set(times)) assert.equal(await topic.offsetAt(0, time), times.indexOf(time))
        assert.equal(await topic.offsetAt(0, 0), 0)
        assert.equal(await topic.offsetAt(0, times.at(-1)! + 1), times.length)
      }
    },
  },
  {
    name: 'a trim hides everything below an offset for good; reading there answers with the gap',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      let topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, ['a', 'b'])
      await topic.appendBatch([record('c'), record('d'), record('e')], { acks: 'flushed' })
      await topic.trim(0, 3)
      await topic.trim(0, 1)
      for (const round of ['open', 'reopened']) {
        if (round === 'reopened') topic = (await reopen()).topic('t')!
        assert.deepEqual(topic.offsets(0), { start: 3, end: 5 })
        assert.deepEqual(await topic.fetch(0, 0), { kind: 'gap', start: 3 })
        assert.deepEqual(await valuesFrom(topic, 0, 3), ['d', 'e'])
      }
      await topic.trim(0, 5)
      assert.deepEqual(topic.offsets(0), { start: 5, end: 5 })
      topic = (await reopen()).topic('t')!
      assert.equal((await topic.append(record('f'), { acks: 'flushed' })).offset, 5)
    },
  },
  {
    name: 'a changed setting holds at once and is kept',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', { partitions: 2 })
      await topic.configure({ ...topic.settings, retention: { ...topic.settings.retention, maxAgeMs: 5_000 } })
      assert.equal(topic.settings.retention.maxAgeMs, 5_000)
      const { retention } = (await reopen()).topic('t')!.settings
      assert.deepEqual(
        [retention.maxAgeMs, retention.maxBytes, retention.hardMaxBytes, [...retention.consumedBy]],
        [5_000, Infinity, Infinity, []],
      )
    },
  },
  {
    name: 'a deleted topic is gone for all who use it; another of its name begins empty',
    requires: 'durable',
    run: async ({ broker, reopen }) => {
      const topic = await broker.createTopic('t', {})
      await appendAll(topic, 0, ['a', 'b'])
      await broker.deleteTopic('t')
      assert.equal(topic.ended?.code, 'TOPIC_DELETED')
      await assert.rejects(topic.append(record('c'), { acks: 'flushed' }), withCode('TOPIC_DELETED'))
      await assert.rejects(broker.deleteTopic('t'), withCode('TOPIC_NOT_FOUND'))
      const next = await broker.createTopic('t', { partitions: 2 })
      assert.deepEqual(next.offsets(0), { start: 0, end: 0 })
      await appendAll(next, 0, ['new'])
      await broker.createTopic('u', {})
      await broker.deleteTopic('u')
      const again = await reopen()
      assert.equal(again.topic('u'), undefined)
      assert.deepEqual(await valuesFrom(again.topic('t')!, 0, 0), ['new'])
    },
  },
  {
    name: 'after close everything is refused with CLOSED',
    run: async ({ broker }) => {
      const topic = await broker.createTopic('t', {})
      await broker.close()
      await broker.close()
      await assert.rejects(topic.append(record('a'), { acks: 'flushed' }), withCode('CLOSED'))
      await assert.rejects(topic.appendBatch([record('a')], { acks: 'buffered' }), withCode('CLOSED'))
      await assert.rejects(broker.createTopic('u', {}), withCode('CLOSED'))
      await assert.rejects(broker.flush(), withCode('CLOSED'))
    },
  },
]
