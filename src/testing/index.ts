export { VirtualRuntime, type VirtualRuntimeOptions } from './virtual-runtime.ts'
export {
  runSuite,
  type CaseOutcome,
  type ConformanceCase,
  type ConformanceSubject,
  type RunSuiteOptions,
  type SuiteResult,
} from './suites/conformance.ts'
export { storageSuite, type StorageSubject } from './suites/storage-suite.ts'
export type { BackupUnderTest, StorageFeature, StorageUnderTest } from './suites/storage-case.ts'
export { brokerSuite, type BrokerSubject } from './suites/broker-suite.ts'
export type { BrokerFeature, BrokerUnderTest } from './suites/broker-case.ts'
export { idempotencySuite, type IdempotencySubject } from './suites/idempotency-suite.ts'
export type { IdempotencyFeature, IdempotencyUnderTest } from './suites/idempotency-case.ts'
export {
  openMemoryIdempotencyStore,
  type MemoryIdempotencyOptions,
  type MemoryIdempotencyStats,
  type MemoryIdempotencyStore,
} from '../idempotency/memory-store.ts'
export {
  idempotencyLimits,
  type BeginOutcome,
  type BeginRequest,
  type ClaimOutcome,
  type IdempotencyCapabilities,
  type IdempotencyStore,
  type MarkOptions,
  type RememberedError,
  type SweepOutcome,
} from '../contracts/idempotency-store.ts'
export { openMemoryStorage } from '../storage/memory-storage.ts'
export { openOn, queueDefaults } from '../open.ts'
export {
  openTest,
  type OpenTestOptions,
  type TestContextLike,
  type TestStore,
  type Wire,
  type WireContext,
} from './open-test.ts'
export { TestQueue } from './test-queue.ts'
export type { NextResult, VerbResult } from './verb-result.ts'
export {
  tables,
  type KeyRange,
  type Storage,
  type StorageEntry,
  type StorageStats,
  type Table,
  type WriteBatch,
} from '../contracts/storage.ts'
export type { Clock } from './clock.ts'
export type { DrainOptions } from './drainer.ts'
export type { Duration } from './duration.ts'
export {
  Assertions,
  type AssertionSource,
  type CommittedMatch,
  type DeliveredOptions,
  type NoneAssertions,
  type TimesOptions,
} from './assertions.ts'
export {
  FaultDesk,
  HandlerFaults,
  InjectedFailure,
  type CrashOptions,
  type MessageMatch,
  type PointMatch,
} from './fault-desk.ts'
export type {
  Delivery,
  EffectSource,
  History,
  HistoryEvent,
  HistoryEvents,
  HistoryKind,
  HistoryListener,
  MemberLimits,
  OffsetPairs,
  Place,
  PreparedDecision,
  PreparedIdentity,
  ProgressSnapshot,
  Stamp,
  StateEntrySnapshot,
} from './history.ts'
export type { DeadLetterOrigin, LogSnapshot } from './log-snapshot.ts'
export type {
  DeadMessage,
  GroupView,
  PendingMessage,
  PendingSend,
  PublishedMessage,
  RefusedSend,
  TopicView,
} from './inspect.ts'
export type { CommittedPosition } from './inspect-progress.ts'
export type { DeliveredMessage } from './inspect-groups.ts'
export { defaultInvariants } from './invariants/all.ts'
export type { EventChecks, Invariant } from './invariants/invariant.ts'
export type { DeepPartial, Match } from './match.ts'
export { matchers, type MatcherResult, type QueueMatchers } from './matchers.ts'
export { pointNames, type PointName } from './simulation/point.ts'
export { TestError, testErrorCodes, type TestErrorCode } from './test-error.ts'
export type { TimelineOptions } from './timeline.ts'
export type { TimelineLevel } from './timeline-rows.ts'
export type { DeadMatch, DeliveredMatch, ErrorMatch, PendingMatch, PublishedMatch } from './assertion-match.ts'
export { explore } from './explore/explore.ts'
export type { ExploreOptions, ExploreReport, LevelReport, Property } from './explore/exploration.ts'
export { deviationKinds, type DeviationKind } from './explore/deviation.ts'
export type { ArbitraryLike, FastCheckLike, Pick } from './explore/pick.ts'
export { fcSchedule, runChoices, type ArbitraryMaker } from './explore/choices.ts'
