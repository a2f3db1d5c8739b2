import type { BrokerTopic, GroupPosition } from '../contracts/broker.ts'

/** A topic as groups need it: its partitions have numbers that are unique in the store, and it answers at once. */
export interface GroupTopic extends BrokerTopic {
  readonly partitionIds: readonly number[]
  offsetAt(partition: number, timestamp: number): number
  /** What lies between `offset` and the end, less `finishedAbove` messages of it that are finished already. */
  backlogFrom(partition: number, offset: number, finishedAbove: number): GroupPosition['backlog']
}
