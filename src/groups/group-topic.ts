import type { Backlog, BrokerTopic, FinishedView } from '../contracts/broker.ts'

/** A topic as groups need it: its partitions have numbers that are unique in the store, and it answers at once. */
export interface GroupTopic extends BrokerTopic {
  readonly partitionIds: readonly number[]
  offsetAt(partition: number, timestamp: number): number
  /** What a group has not finished up to the end. */
  backlog(partition: number, finished: FinishedView): Backlog
}
