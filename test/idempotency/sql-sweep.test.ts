import { describe, expect, test } from 'vitest'
import { servers, titled } from './sql-servers.ts'

const rows = 100_000
const minute = 60_000

/** Rows whose time is over, made by the server itself. */
const expired = {
  postgres: (table: string) => `INSERT INTO ${table} (mark_key, fence, owner, state, ends_us)
    SELECT int4send(i), nextval('${table}_fences'), 'a', 1, i FROM generate_series(1, ${rows}) i`,
  mysql: (table: string) => `INSERT INTO ${table} (mark_key, fence, owner, state, ends_us)
    SELECT concat('old', 1000 * a.n + b.n), 1, 'a', 1, 1000 * a.n + b.n FROM
    (WITH RECURSIVE s AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM s WHERE n < ${rows / 1_000 - 1}) SELECT n FROM s) a,
    (WITH RECURSIVE s AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 999) SELECT n FROM s) b`,
  sqlite: (table: string) => `INSERT INTO ${table} (mark_key, fence, owner, state, ends_us)
    WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < ${rows})
    SELECT CAST('old' || i AS BLOB), 1, x'61', 1, i FROM s`,
}

for (const server of Object.values(servers)) {
  describe.skipIf(server.missing !== undefined)(`sweep: ${titled(server)}`, () => {
    test(
      `${rows} rows go in slices, and who begins and completes meanwhile hardly waits`,
      { timeout: 120_000 },
      async () => {
        const place = await server.place()
        try {
          const [sweeper, worker] = [await place.store(), await place.store()]
          await sweeper.setup()
          const kept = await worker.begin('kept', { owner: 'a', leaseMs: minute })
          await place.sql(expired[server.dialect](place.table))
          let isOver = false
          const waits: number[] = []
          const work = async (): Promise<void> => {
            for (let i = 0; !isOver; i++) {
              const startedAt = performance.now()
              const found = await worker.begin(`new${i}`, { owner: 'b', leaseMs: minute })
              if (found.outcome !== 'acquired') throw new Error(found.outcome)
              const { outcome } = await worker.complete(`new${i}`, found.fence, undefined, { ttlMs: minute })
              expect(outcome).toBe('accepted')
              waits.push(performance.now() - startedAt)
              await new Promise((resolve) => setImmediate(resolve))
            }
          }
          const working = work()
          expect(await sweeper.sweep(1_200)).toEqual({ removed: 1_200, more: true })
          let removed = 1_200
          for (;;) {
            const slice = await sweeper.sweep(20_000)
            removed += slice.removed
            if (!slice.more) break
          }
          isOver = true
          await working
          expect(removed).toBe(rows)
          expect(waits.length).toBeGreaterThan(20)
          // The whole takes seconds; a slice takes milliseconds. The bound leaves room for a loaded machine.
          expect(Math.max(...waits)).toBeLessThan(2_000)
          expect(waits.sort((a, b) => a - b)[waits.length >> 1]).toBeLessThan(300)
          expect(kept.outcome === 'acquired' && (await worker.renew('kept', kept.fence, minute)).outcome).toBe(
            'accepted',
          )
        } finally {
          await place.dispose()
        }
      },
    )

    test('two that sweep at once share the work and wait for nobody', async () => {
      const place = await server.place()
      try {
        const stores = await Promise.all([place.store(), place.store(), place.store()])
        await stores[0]!.setup()
        const count = 60
        for (let i = 0; i < count; i++) await stores[0]!.begin(`k${i}`, { owner: 'a', leaseMs: 1 })
        await new Promise((resolve) => setTimeout(resolve, 10))
        const swept = await Promise.all(stores.map((store) => store.sweep(40)))
        const rest = await stores[0]!.sweep(1_000)
        expect(swept.reduce((sum, { removed }) => sum + removed, rest.removed)).toBe(count)
      } finally {
        await place.dispose()
      }
    })
  })
}
