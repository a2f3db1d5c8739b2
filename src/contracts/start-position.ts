import { QueueError } from '../errors.ts'
import type { BrokerTopic, StartPosition } from './broker.ts'

/**
 * The offset of each partition that a position stands for: the rule that groups and readers of every broker follow.
 *
 * @throws `OFFSET_OUT_OF_RANGE` when an explicit offset does not exist.
 */
export function startOffsets(topic: BrokerTopic, from: StartPosition): Promise<number[]> {
  const partitions = Array.from({ length: topic.settings.partitions }, (_, partition) => partition)
  return Promise.all(partitions.map((partition) => startOffset(topic, partition, from)))
}

/** As {@link startOffsets}, for one partition. */
export async function startOffset(topic: BrokerTopic, partition: number, from: StartPosition): Promise<number> {
  const { start, end } = topic.offsets(partition)
  if (from === 'earliest') return start
  if (from === 'latest') return end
  if ('timestamp' in from) return topic.offsetAt(partition, from.timestamp)
  const offset = typeof from.offset === 'number' ? from.offset : from.offset[partition]
  if (offset !== undefined && offset >= start && offset <= end) return offset
  throw new QueueError(
    'OFFSET_OUT_OF_RANGE',
    `offset ${offset} of ${topic.name}/${partition} is outside [${start}, ${end}]: use 'earliest' or 'latest'`,
    { topic: topic.name, partition, from: start, to: end, ...(offset === undefined ? {} : { offset }) },
  )
}
