import { describe, expect, test } from 'vitest'
import type { IdempotencyStore } from '../../src/contracts/idempotency-store.ts'
import { countOf } from '../../src/testing/suites/idempotency-case.ts'
import { servers, titled, variants, type SqlPlace } from './sql-servers.ts'

const many = Array.from({ length: 64 }, (_, index) => index)
const minute = 60_000

/** Stores with pools of their own, as so many processes have them. */
async function processes(place: SqlPlace, count: number): Promise<IdempotencyStore<unknown>[]> {
  const all = await Promise.all(Array.from({ length: count }, () => place.store()))
  // At once, as after a deployment.
  await Promise.all(all.map((store) => store.setup()))
  return all as unknown as IdempotencyStore<unknown>[]
}

async function on(server: (typeof servers)['postgres'], body: (place: SqlPlace) => Promise<void>): Promise<void> {
  const place = await server.place()
  try {
    await body(place)
  } finally {
    await place.dispose()
  }
}

for (const server of [...Object.values(servers), ...Object.values(variants)]) {
  describe.skipIf(server.missing !== undefined)(`races: ${titled(server)}`, () => {
    test('64 claims of one key by four processes: one winner, and each later winner has a greater fence', async () => {
      await on(server, async (place) => {
        const stores = await processes(place, 4)
        let last = 0
        for (let round = 0; round < 6; round++) {
          const found = await Promise.all(
            many.map((i) => stores[i % 4]!.begin('k', { owner: `o${i}`, leaseMs: minute })),
          )
          expect(countOf(found.map(({ outcome }) => outcome))).toEqual({ acquired: 1, busy: 63 })
          const winner = found.find((one) => one.outcome === 'acquired')
          expect(winner!.fence).toBeGreaterThan(last)
          last = winner!.fence
          const rivals = await Promise.all(stores.map((store) => store.release('k', last)))
          expect(countOf(rivals.map(({ outcome }) => outcome))).toEqual({ accepted: 1, fenced: 3 })
        }
      })
    })

    test('claims that are taken, released, completed, expired and swept all the time never see a fence go back', async () => {
      await on(server, async (place) => {
        const stores = await processes(place, 4)
        let highest = 0
        let held = 0
        let acquired = 0
        const work = async (store: IdempotencyStore<unknown>, lane: number): Promise<void> => {
          for (let i = 0; i < 25; i++) {
            const before = highest
            const found = await store.begin('k', { owner: `${lane}`, leaseMs: minute })
            if (found.outcome !== 'acquired') continue
            // Nobody else holds it between here and the end of the claim.
            expect(++held).toBe(1)
            acquired++
            expect(found.fence).toBeGreaterThan(before)
            expect(found.fence).toBeGreaterThan(highest)
            highest = found.fence
            held--
            if (i % 2 === 0) await store.release('k', found.fence)
            else await store.complete('k', found.fence, undefined, { ttlMs: 1 })
            if (i % 3 === 0) await store.sweep(10)
          }
        }
        await Promise.all([...stores, ...stores].map(work))
        expect(acquired).toBeGreaterThan(8)
      })
    })

    test('the late owner of a claim that another took over marks nothing, however their calls fall together', async () => {
      await on(server, async (place) => {
        const stores = await processes(place, 2)
        for (let round = 0; round < 10; round++) {
          const first = await stores[0]!.begin(`k${round}`, { owner: 'first', leaseMs: 1 })
          if (first.outcome !== 'acquired') throw new Error(first.outcome)
          await new Promise((resolve) => setTimeout(resolve, 3))
          const [late, second] = await Promise.all([
            stores[0]!.complete(`k${round}`, first.fence, Buffer.from('first'), { ttlMs: minute }),
            stores[1]!.begin(`k${round}`, { owner: 'second', leaseMs: minute }),
          ])
          // Either the late owner came first, or the new one has it alone.
          const verdicts = `${late.outcome} ${second.outcome}`
          expect(['accepted done', 'accepted busy', 'fenced acquired']).toContain(verdicts)
        }
      })
    })

    test('fences go on after rows and counts were put back from an old copy', async () => {
      await on(server, async (place) => {
        const store = await place.store()
        await store.setup()
        for (const key of ['taken over', 'swept'] as const) {
          const found = await store.begin(key, { owner: 'a', leaseMs: 1 })
          expect(found.outcome).toBe('acquired')
        }
        // As if the rows came from a later copy than the count.
        await place.sql(`UPDATE ${place.table} SET fence = fence + 5000`)
        await new Promise((resolve) => setTimeout(resolve, 10))
        const taken = await store.begin('taken over', { owner: 'b', leaseMs: minute })
        expect(taken.outcome === 'acquired' && taken.fence).toBeGreaterThan(5_001)
        await store.release('taken over', taken.outcome === 'acquired' ? taken.fence : 0)
        await place.sql(`UPDATE ${place.table} SET fence = 9000000`)
        expect(await store.sweep(10)).toEqual({ removed: 1, more: false })
        const swept = await store.begin('swept', { owner: 'b', leaseMs: minute })
        expect(swept.outcome === 'acquired' && swept.fence).toBeGreaterThan(9_000_000)
      })
    })

    test.skipIf(server.dialect === 'sqlite')(
      'a running transaction of the user holds up neither other keys nor a take-over',
      async () => {
        await on(server, async (place) => {
          const store = await place.store()
          await store.setup()
          const found = await store.begin('k', { owner: 'a', leaseMs: 200 })
          if (found.outcome !== 'acquired') throw new Error(found.outcome)
          const transaction = await place.begin()
          const options = { ttlMs: minute, transaction: transaction.connection }
          expect(await store.complete('k', found.fence, undefined, options)).toEqual({ outcome: 'accepted' })
          await new Promise((resolve) => setTimeout(resolve, 250))
          // The lease is over and its row is locked: who asks is told to come again, and the others go on.
          expect(await store.begin('k', { owner: 'b', leaseMs: minute })).toMatchObject({ outcome: 'busy', owner: 'a' })
          expect(await store.begin('other', { owner: 'b', leaseMs: minute })).toMatchObject({ outcome: 'acquired' })
          expect(await store.sweep(10)).toEqual({ removed: 0, more: false })
          await transaction.commit()
          expect(await store.begin('k', { owner: 'b', leaseMs: minute })).toMatchObject({ outcome: 'done' })
        })
      },
    )

    test.skipIf(server.dialect !== 'postgres')(
      'who got a number first takes the key first, even if it is slow',
      async () => {
        await on(server, async (place) => {
          const store = await place.store()
          await store.setup()
          // Stands still after the number was drawn and before the row is there.
          const slow = `${place.table}_slow`
          await place.sql(`CREATE FUNCTION ${slow}() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN IF NEW.owner = 'slow' THEN PERFORM pg_sleep(0.4); END IF; RETURN NEW; END $$`)
          await place.sql(
            `CREATE TRIGGER ${slow} BEFORE INSERT ON ${place.table} FOR EACH ROW EXECUTE FUNCTION ${slow}()`,
          )
          try {
            const first = store.begin('k', { owner: 'slow', leaseMs: minute })
            await new Promise((resolve) => setTimeout(resolve, 150))
            const second = await store.begin('k', { owner: 'fast', leaseMs: minute })
            if (second.outcome === 'acquired') await store.release('k', second.fence)
            expect([(await first).outcome, second.outcome]).toEqual(['acquired', 'busy'])
          } finally {
            await place.sql(`DROP FUNCTION ${slow} CASCADE`)
          }
        })
      },
    )
  })
}
