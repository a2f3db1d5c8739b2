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
  type KeyListOptions,
  type PauseTarget,
  type ReleaseOptions,
} from './client/subscription.ts'
export type { CancelTarget } from './client/cancel-target.ts'
export type { NackOptions, PulledMessage } from './client/ack-queue.ts'
export { Group } from './client/group.ts'
export { DeadLetters } from './client/dead-letters.ts'
export type {
  DeadLetter,
  DeadLetterDeleteOptions,
  DeadLetterFilter,
  DeadLetterListOptions,
  DeadLetterPage,
  DeadLetterPlace,
  RedriveOptions,
  RedriveProgress,
  RedriveResult,
} from './client/dead-letter-options.ts'
export { Producer } from './client/producer.ts'
export type { ProducerEvents, ProducerOptions, ProducerSendOptions, SendFailure } from './client/producer-options.ts'
export type { AckEvent, NackEvent } from './client/confirms.ts'
export { PreparedMessage } from './client/prepared-message.ts'
export type {
  CheckAnswer,
  CheckContext,
  Checker,
  CheckOptions,
  PreparedContent,
  PrepareOptions,
} from './client/check-options.ts'
export { StateStore, type CompareOutcome, type StoreOptions } from './client/state-store.ts'
export type { Transaction, TransactionOptions, TransactionResult } from './client/transaction.ts'
export type { OutputTopic } from './dispatch/collected-effects.ts'
export type { StateRangeOptions, StateReads, StateReference, StateView } from './dispatch/state-view.ts'
export type { Lag } from './client/lag.ts'
export type { QueueStats, StoreStats, SubscriptionStats, TopicStats } from './client/stats.ts'
export type { ReadOptions } from './client/reader.ts'
export type {
  BackoffOptions,
  BatchOptions,
  IdempotencyOptions,
  DedupeOptions,
  RetentionOptions,
  SendOptions,
  SubscribeOptions,
  TopicOptions,
} from './client/options.ts'
export type { OpenOptions, QueueOptions } from './client/queue-options.ts'
export type {
  Backlog,
  DedupeSettings,
  GroupPosition,
  OffsetRange,
  RetentionSettings,
  StartPosition,
  TopicSettings,
} from './contracts/broker.ts'
export type { HandlerContext } from './dispatch/handed-message.ts'
export type { LeftRunning } from './dispatch/delivered-entry.ts'
export type { BlockedKey, ParkedKey } from './dispatch/retries.ts'
export type { BackoffFunction, FailedMessage, OnExhausted } from './dispatch/retry-policy.ts'
export type { AckMode } from './dispatch/settings.ts'
export type { LatencySummary } from './dispatch/histogram.ts'
export type {
  DeadLetterFacts,
  DeadLetterReason,
  ErrorSummary,
  MessageOrigin,
  RedriveFacts,
} from './dead-letter-facts.ts'
export type { Acks, Headers, Message, OutgoingMessage, SendResult } from './message.ts'
export { bytes, json, type Codec, type CodecName } from './codec.ts'
export {
  errorCodes,
  isQueueError,
  QueueError,
  UnrecoverableError,
  type ErrorCode,
  type ErrorFacts,
  type ExhaustedReason,
} from './errors.ts'
export { channelPrefix, type MessageFacts, type QueueEventName, type QueueEvents } from './events.ts'
export { murmur2, partitionOf } from './partitioner.ts'
export type { StandardResult, StandardSchema } from './schema.ts'
