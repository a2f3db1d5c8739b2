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
  // vitest wants the first parameter to be a pattern, to see which other fixtures are needed.
  // eslint-disable-next-line no-empty-pattern
  openTest: async ({}, use) => {
    const opened: TestQueue[] = []
    await use(async (options) => {
      const queue = await openTest(options)
      opened.push(queue)
      return queue
    })
    for (const queue of opened.reverse()) await queue.dispose()
  },
})
