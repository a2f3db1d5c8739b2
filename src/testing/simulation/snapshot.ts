import { isDeepStrictEqual } from 'node:util'
import type { Codec } from '../../codec.ts'
import type { Broker, BrokerTopic } from '../../contracts/broker.ts'
import type { Storage } from '../../contracts/storage.ts'
import { Catalog } from '../../embedded/catalog.ts'
import { Progress } from '../../groups/progress.ts'
import { TestError } from '../test-error.ts'
import type { History, HistoryEvents, LogSnapshot, ProgressSnapshot } from '../history.ts'
import type { OpenSend } from './observed-life.ts'

/** Reads back what a store holds: logs through the engine, progress straight from its rows. */
export function takeSnapshot(
  reason: 'restart' | 'end',
  { broker, storage }: { readonly broker: Broker; readonly storage: Storage },
  codec: (topic: string) => Codec<unknown>,
): HistoryEvents['snapshot'] {
  const logs: LogSnapshot[] = []
  for (const topic of broker.topics()) {
    for (let partition = 0; partition < topic.settings.partitions; partition++) {
      logs.push(readLog(topic, partition, codec(topic.name)))
    }
  }
  const catalog = new Catalog(storage)
  const progress: ProgressSnapshot[] = []
  for (const [group, groupId] of catalog.groups()) {
    for (const [topic, { partitionIds }] of catalog.topics()) {
      partitionIds.forEach((id, partition) => {
        const stored = Progress.restore(storage, groupId, id)
        if (stored === undefined) return
        const finishedAbove: number[] = []
        for (let offset = stored.position; offset < stored.finished.ceiling; offset++) {
          if (stored.finished.has(offset)) finishedAbove.push(offset)
        }
        progress.push({ group, topic, partition, position: stored.position, finishedAbove })
      })
    }
  }
  return { reason, logs, progress }
}

function readLog(topic: BrokerTopic, partition: number, codec: Codec<unknown>): LogSnapshot {
  const { start, end } = topic.offsets(partition)
  const records: LogSnapshot['records'][number][] = []
  for (let offset = start; offset < end;) {
    const answer = topic.fetch(partition, offset)
    if (answer instanceof Promise)
      throw new TestError('WOULD_HANG', `the log of ${topic.name} answers later: a snapshot reads at once`)
    if (answer.kind !== 'records') break
    const { batch, index } = answer
    for (let i = index; i < batch.count; i++) {
      records.push({ offset: batch.offsetAt(i), key: batch.keyAt(i), value: valueAt(i) })
    }
    offset = batch.nextOffset

    function valueAt(i: number): unknown {
      try {
        return batch.valueAt(i, codec)
      } catch {
        return batch.valueBytesAt(i)
      }
    }
  }
  return { topic: topic.name, partition, start, end, records }
}

/** A send of which only the store knows, and where it is. */
type FoundSend = OpenSend & { readonly offset: number }

/** Finds sends without an answer among what a store holds beyond what was acknowledged, in order. */
export function findSends(unknown: readonly OpenSend[], logs: readonly LogSnapshot[], history: History): FoundSend[] {
  const known = new Map<string, number>()
  for (const { topic, partition, offset } of history.of('acked')) {
    const place = `${topic}/${partition}`
    known.set(place, Math.max(known.get(place) ?? 0, offset + 1))
  }
  const left = [...unknown]
  const found: FoundSend[] = []
  for (const { topic, partition, records } of logs) {
    const from = known.get(`${topic}/${partition}`) ?? 0
    for (const { offset, key, value } of records) {
      if (offset < from) continue
      const index = left.findIndex((send) => {
        const isThere = send.topic === topic && send.partition === partition && send.key === key
        return isThere && isDeepStrictEqual(send.value, value)
      })
      if (index >= 0) found.push({ ...left.splice(index, 1)[0]!, offset })
    }
  }
  return found
}
