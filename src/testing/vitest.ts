import { expect, test as base, type TestAPI } from 'vitest'
import { matchers, type QueueMatchers } from './matchers.ts'
import { openTest, type OpenTestOptions } from './open-test.ts'
import type { TestQueue } from './test-queue.ts'

declare module 'vitest' {
  // The parameter has to be that of vitest.
  interface Matchers<T> extends QueueMatchers {}
}

expect.extend(matchers)

/** What a test of {@link test} gets in its context. */
export interface QueueFixtures {
  /** As {@link openTest}; what it opens is disposed when the test ends. */
  readonly openTest: <W = unknown>(options?: OpenTestOptions<W>) => Promise<TestQueue<W>>
}

/** vitest's `test` with {@link QueueFixtures} in its context: `test('…', async ({ openTest }) => …)`. */
export const test: TestAPI<QueueFixtures> = base.extend<QueueFixtures>({
  openTest: async ({ onTestFinished }, use) => use((options) => openTest({ ...options, context: { onTestFinished } })),
})
