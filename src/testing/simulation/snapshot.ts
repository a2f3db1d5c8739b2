import { isDeepStrictEqual } from 'node:util'
import type { Codec } from '../../codec.ts'
import type { Broker, BrokerTopic } from '../../contracts/broker.ts'
import type { Storage } from '../../contracts/storage.ts'
import { readDeadLetterFacts, readRedriveFacts } from '../../dead-letter.ts'
import { Catalog } from '../../embedded/catalog.ts'
import { Progress } from '../../groups/progress.ts'
import { stateSpaces } from '../../key-layout.ts'
import { contentKind, decodeContent, preparedIn } from '../../state/prepared-rows.ts'
import { reservedPrefix } from '../../reserved-headers.ts'
import { TestError } from '../test-error.ts'
import type { History, HistoryEvents, PreparedIdentity, ProgressSnapshot, StateEntrySnapshot } from '../history.ts'
import type { LogSnapshot } from '../log-snapshot.ts'
import { stateValue } from './observed-effects.ts'
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
  const kept: ProgressSnapshot[] = []
  for (const [group, groupId] of catalog.groups()) {
    const found = group.startsWith(reservedPrefix) ? kept : progress
    for (const [topic, { partitionIds }] of catalog.topics()) {
      partitionIds.forEach((id, partition) => {
        const stored = Progress.restore(storage, groupId, id)
        if (stored === undefined) return
        const finishedAbove: number[] = []
        for (let offset = stored.position; offset < stored.finished.ceiling; offset++) {
          if (stored.finished.has(offset)) finishedAbove.push(offset)
        }
        found.push({ group, topic, partition, position: stored.position, finishedAbove })
      })
    }
  }
  const prepared = readPrepared(storage)
  const state = broker.state === undefined ? undefined : readState(storage, catalog)
  return {
    reason,
    logs,
    progress,
    ...(kept.length > 0 && { kept }),
    state,
    ...(prepared.length === 0 ? {} : { prepared }),
  }
}

/** What the stores hold that are written through {@link Broker.state}: those of users, and idempotency marks. */
function readState(storage: Storage, { stores }: Catalog): StateEntrySnapshot[] {
  const entries: StateEntrySnapshot[] = []
  const read = (store: string, id: number): void => {
    const [from, to] = [Buffer.alloc(4), Buffer.alloc(5, 0xff)]
    from.writeUInt32BE(id)
    to.writeUInt32BE(id)
    for (const { key, value } of storage.range('state', { from, to, limit: 1e9 })) {
      entries.push({ store, key: Buffer.from(key).toString('utf8', 4), value: stateValue(value) })
    }
  }
  for (const [store, id] of stores) read(store, id)
  read('idempotency marks', stateSpaces.marks)
  read('ends of idempotency marks', stateSpaces.markExpiry)
  read('idempotency marks by place', stateSpaces.placeMarks)
  read('ends of idempotency marks by place', stateSpaces.placeMarkExpiry)
  return entries
}

/** Those whose content is there; each has one row of that. */
function readPrepared(storage: Storage): PreparedIdentity[] {
  const found: PreparedIdentity[] = []
  const [from, to] = [stateSpaces.prepared, stateSpaces.prepared + 1].map((space) => {
    const bound = Buffer.alloc(4)
    bound.writeUInt32BE(space)
    return bound
  }) as [Buffer, Buffer]
  for (const { key, value } of storage.range('state', { from, to, limit: mostPrepared })) {
    const { ref } = preparedIn(key.subarray(4))
    if (ref === undefined || key.at(-1) !== contentKind) continue
    const { topic, key: of } = decodeContent(value)
    found.push({ producer: ref.producer, id: `${ref.epoch}.${ref.number}`, topic, key: of })
  }
  return found
}

/** Rows that a test looks at. */
const mostPrepared = 100_000

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
      const headers = batch.hasHeaders ? batch.headersAt(i) : {}
      const [from, redrive] = [readDeadLetterFacts(headers), readRedriveFacts(headers)]
      const facts = { ...(from && { from }), ...(redrive && { redrive }) }
      records.push({ offset: batch.offsetAt(i), key: batch.keyAt(i), value: valueAt(i), ...facts })
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
