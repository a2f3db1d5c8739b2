import { beforeAll, describe, test, vi } from 'vitest'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import { runSuite, type ConformanceCase, type SuiteResult } from '../../src/testing/suites/conformance.ts'
import { idempotencySuite, type IdempotencySubject } from '../../src/testing/suites/idempotency-suite.ts'
import type { IdempotencyStore } from '../../src/contracts/idempotency-store.ts'
import { servers, titled, variants, type SqlServer } from './sql-servers.ts'

/** The published suite in real time, on a table of its own for each case. */
function subjectOf(server: SqlServer): IdempotencySubject {
  return {
    // SQLite reads the clock of the machine, which a test can't set.
    features: {
      durable: true,
      results: true,
      transactional: true,
      shared: true,
      callerClock: server.dialect !== 'sqlite',
    },
    open: async () => {
      const place = await server.place()
      const open = async (): Promise<IdempotencyStore<unknown>> =>
        (await place.store()) as unknown as IdempotencyStore<unknown>
      await (await place.store()).setup()
      const store = await open()
      return {
        store,
        leaseMs: server.dialect === 'sqlite' ? 500 : 1_500,
        advance: (ms) => new Promise((resolve) => void realRuntime.timer(ms, 'the time of the store', resolve)),
        reopen: async () => {
          await store.close()
          return open()
        },
        another: open,
        transaction: async (body) => {
          const transaction = await place.begin()
          try {
            await body(transaction.connection)
          } catch (error) {
            await transaction.rollback()
            throw error
          }
          await transaction.commit()
        },
        jumpCallerClock: (byMs) => {
          vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + byMs })
        },
        dispose: async () => {
          vi.useRealTimers()
          await place.dispose()
        },
      }
    },
  }
}

/** Cases that run at the same time: most of one is waiting. */
const width = 10

/** Runs all cases, some at a time, and says how each went. */
function runAll(cases: readonly ConformanceCase[]): Map<string, Promise<SuiteResult>> {
  const lanes = Array.from({ length: width }, () => Promise.resolve<unknown>(undefined))
  return new Map(
    cases.map((one, index) => {
      const result = lanes[index % width]!.then(() => runSuite([one], { timeoutMs: 60_000 }))
      lanes[index % width] = result
      return [one.name, result]
    }),
  )
}

for (const server of [
  servers.postgres,
  variants.serializable,
  servers.mysql,
  servers.nodeSqlite,
  servers.betterSqlite,
]) {
  describe.skipIf(server.missing !== undefined)(`idempotency store: ${titled(server)}`, () => {
    const cases = idempotencySuite(subjectOf(server))
    let results = new Map<string, Promise<SuiteResult>>()
    beforeAll(() => {
      results = runAll(cases.filter(({ skipped }) => skipped === undefined))
    })
    for (const { name, skipped } of cases) {
      ;(skipped ? test.skip : test)(
        name,
        async () => {
          const failed = (await results.get(name))?.failed.map(({ error }) => error)
          if (failed?.length !== 0) throw failed?.[0]
        },
        180_000,
      )
    }
  })
}
