import type { AskedWait } from './asked-retry.ts'
import type { PartitionIntake } from './partition-intake.ts'

/** A message that still ran when its subscription was closed. */
export interface LeftRunning {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
}

/** A message that a handler has, or had. */
export interface DeliveredEntry {
  readonly intake: PartitionIntake
  readonly offset: number
  readonly key: string | undefined
  readonly attempt: number
  /** Set when the handler said when it wants the next attempt. */
  readonly asked?: AskedWait | undefined
}

export function leftRunning({ intake, offset, key }: DeliveredEntry): LeftRunning {
  const { topic, partition } = intake.assignment
  return { topic: topic.name, partition, offset, key }
}
