import type { BrokerUnderTest } from './broker-case.ts'
import { groupCases } from './broker-groups.ts'
import { logCases } from './broker-log.ts'
import { memberCases } from './broker-members.ts'

/** What {@link brokerSuite} needs from a test runner and an engine. */
export interface BrokerSuiteOptions {
  /** Opens a group of tests, as runners name it. */
  readonly describe: (title: string, body: () => void) => void
  /** Adds a test to the group. */
  readonly test: (title: string, body: () => Promise<void>) => void
  /** Of the engine, for titles. */
  readonly name: string
  /** Opens an empty broker. */
  readonly open: () => Promise<BrokerUnderTest>
  readonly features: {
    /** {@link BrokerUnderTest.crash} works. */
    readonly crash?: boolean
    /** The finished offsets above the position are kept. */
    readonly exactProgress: boolean
  }
}

/** What every `Broker` must do, for any test runner. */
export function brokerSuite({ describe, test, name, open, features }: BrokerSuiteOptions): void {
  describe(`broker: ${name}`, () => {
    for (const { title, needs, run } of [...logCases, ...groupCases, ...memberCases]) {
      if (needs !== undefined && features[needs] !== true) continue
      test(title, async () => {
        const under = await open()
        try {
          await run(under)
        } finally {
          await under.dispose()
        }
      })
    }
  })
}
