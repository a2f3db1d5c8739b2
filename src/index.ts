export { open, openInMemory, type InMemoryMessageQueue } from './open.ts'
export { MessageQueue, type VerifyReport } from './client/message-queue.ts'
export {
  Topic,
  type BatchHandler,
  type BatchSubscribeOptions,
  type MessageHandler,
  type SingleSubscribeOptions,
} from './client/topic.ts'
export {
  Subscription,
  type CloseOptions,
  type CloseReport,
  type DrainReport,
  type MessageStream,
  type OwnedPartition,
  type PauseTarget,
} from './client/subscription.ts'
export type { PulledMessage } from './client/ack-queue.ts'
export { Group } from './client/group.ts'
export type { Lag } from './client/lag.ts'
export type { QueueStats, StoreStats, SubscriptionStats, TopicStats } from './client/stats.ts'
export type { ReadOptions } from './client/reader.ts'
export type {
  BackoffOptions,
  BatchOptions,
  OpenOptions,
  QueueOptions,
  RetentionOptions,
  SendOptions,
  SubscribeOptions,
  TopicOptions,
} from './client/options.ts'
export type {
  Backlog,
  GroupPosition,
  OffsetRange,
  RetentionSettings,
  StartPosition,
  TopicSettings,
} from './contracts/broker.ts'
export type { HandlerContext } from './dispatch/handed-message.ts'
export type { LeftRunning } from './dispatch/deliveries.ts'
export type { StoppedKey } from './dispatch/retries.ts'
export type { LatencySummary } from './dispatch/histogram.ts'
export type { Acks, Headers, Message, OutgoingMessage, SendResult } from './message.ts'
export { bytes, json, type Codec, type CodecName } from './codec.ts'
export { errorCodes, isQueueError, QueueError, type ErrorCode, type ErrorFacts } from './errors.ts'
export { channelPrefix, type QueueEventName, type QueueEvents } from './events.ts'
export { murmur2, partitionOf } from './partitioner.ts'
export type { StandardResult, StandardSchema } from './schema.ts'
