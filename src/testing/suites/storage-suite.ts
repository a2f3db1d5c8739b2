import { casesOf, type ConformanceCase, type ConformanceSubject } from './conformance.ts'
import { storageFeatures, type StorageFeature, type StorageUnderTest } from './storage-case.ts'
import { commitCases } from './storage-commits.ts'
import { contentCases } from './storage-contents.ts'

/** A store and what it can do. */
export type StorageSubject = ConformanceSubject<StorageUnderTest, StorageFeature>

/** What every `Storage` must do; see {@link ConformanceCase} for how a test runner takes it. */
export function storageSuite(subject: StorageSubject): ConformanceCase<StorageFeature>[] {
  return casesOf([...commitCases, ...contentCases], subject, storageFeatures)
}
