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
export type { StorageFeature, StorageUnderTest } from './suites/storage-case.ts'
export { brokerSuite, type BrokerSubject } from './suites/broker-suite.ts'
export type { BrokerFeature, BrokerUnderTest } from './suites/broker-case.ts'
export { idempotencySuite, type IdempotencySubject } from './suites/idempotency-suite.ts'
export type { IdempotencyFeature, IdempotencyUnderTest } from './suites/idempotency-case.ts'
export { openMemoryIdempotencyStore, type MemoryIdempotencyOptions } from '../idempotency/memory-store.ts'
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
export { TestQueue, type NextResult, type VerbResult } from './test-queue.ts'
