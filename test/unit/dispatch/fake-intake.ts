import type { BrokerTopic, FetchResult, RecordBatch } from '../../../src/contracts/broker.ts'
import { PartitionIntake } from '../../../src/dispatch/partition-intake.ts'
import { OffsetSet } from '../../../src/offset-set.ts'

/** Records at the given offsets, which may have gaps. */
export function batchOf(offsets: readonly number[], nextOffset: number = (offsets.at(-1) ?? 0) + 1): RecordBatch {
  return {
    count: offsets.length,
    baseOffset: offsets[0] ?? 0,
    nextOffset,
    bytes: 100,
    offsetAt: (index: number) => offsets[index]!,
  } as RecordBatch
}

export interface IntakeOptions {
  readonly number?: number
  readonly finished?: OffsetSet
  readonly answers?: readonly FetchResult[]
}

/** An assigned partition without a broker; fetches give the answers in order, then nothing. */
export function fakeIntake(options: IntakeOptions = {}): PartitionIntake & { fetched: number[] } {
  const answers = [...(options.answers ?? [])]
  const fetched: number[] = []
  const topic = {
    name: 't',
    fetch(_partition: number, offset: number): FetchResult {
      fetched.push(offset)
      return answers.shift() ?? { kind: 'empty' }
    },
  } as unknown as BrokerTopic
  const assignment = {
    topic,
    partition: 0,
    fence: 1,
    finished: options.finished ?? new OffsetSet(0),
    failed: new Map(),
  }
  const consumed = { topic, codec: undefined as never, check: undefined }
  const reader = { group: 'g', passed: () => {} }
  return Object.assign(new PartitionIntake(options.number ?? 0, assignment, consumed, new Map(), reader), { fetched })
}
