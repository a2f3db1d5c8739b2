import type { StartPosition } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { GroupTopic } from './group-topic.ts'

/**
 * The offset of each partition that a position stands for.
 *
 * @throws `OFFSET_OUT_OF_RANGE` when an explicit offset does not exist.
 */
export function startOffsets(topic: GroupTopic, from: StartPosition): number[] {
  return topic.partitionIds.map((_, partition) => {
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
  })
}
