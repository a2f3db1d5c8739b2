import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SqlIdempotencyStore } from '../../src/idempotency/sql-store.ts'
import { servers, titled, type SqlPlace, type UserTransaction } from './sql-servers.ts'

const keep = { ttlMs: 600_000 }
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

for (const server of Object.values(servers)) {
  describe.skipIf(server.missing !== undefined)(`inbox: ${titled(server)}`, () => {
    let place: SqlPlace
    let store: SqlIdempotencyStore

    beforeEach(async () => {
      place = await server.place()
      store = await place.store()
      await store.setup()
      await place.sql(`CREATE TABLE ${place.table}_effects (account INTEGER)`)
    })
    afterEach(() => place.dispose())

    /** Does the work of a message once, as a handler would. */
    const handle = (transaction: UserTransaction, key: string, result?: string): Promise<{ outcome: string }> =>
      store.inbox(transaction.connection).once(
        key,
        async () => {
          await transaction.sql(`INSERT INTO ${place.table}_effects VALUES (1)`)
          return result === undefined ? undefined : Buffer.from(result)
        },
        keep,
      )
    const effects = async (): Promise<number> => {
      const [row] = await place.sql(`SELECT count(*) AS n FROM ${place.table}_effects`)
      return Number(row!['n'])
    }

    test('an effect is done by the first transaction that commits; later ones get its result', async () => {
      const first = await place.begin()
      expect(await handle(first, 'k', 'kept')).toEqual({
        outcome: 'fresh',
        result: Uint8Array.from(Buffer.from('kept')),
      })
      await first.commit()
      const second = await place.begin()
      expect(await handle(second, 'k', 'other')).toEqual({
        outcome: 'repeated',
        result: Uint8Array.from(Buffer.from('kept')),
      })
      expect(await handle(second, 'K')).toEqual({ outcome: 'fresh', result: undefined })
      expect(await handle(second, 'K')).toEqual({ outcome: 'repeated', result: undefined })
      await second.commit()
      expect(await effects()).toBe(2)
    })

    test('a transaction that is rolled back leaves neither row nor effect', async () => {
      const first = await place.begin()
      expect(await handle(first, 'k')).toMatchObject({ outcome: 'fresh' })
      await first.rollback()
      expect(await effects()).toBe(0)
      const second = await place.begin()
      expect(await handle(second, 'k')).toMatchObject({ outcome: 'fresh' })
      await second.commit()
      expect(await effects()).toBe(1)
    })

    test('a connection that dies between effect and commit leaves neither; after the commit both are there', async () => {
      const dying = await place.begin()
      expect(await handle(dying, 'k')).toMatchObject({ outcome: 'fresh' })
      await dying.kill()
      await expect(dying.commit()).rejects.toBeInstanceOf(Error)
      expect(await effects()).toBe(0)
      const next = await place.begin()
      expect(await handle(next, 'k')).toMatchObject({ outcome: 'fresh' })
      await next.commit()
      await next.kill()
      expect(await effects()).toBe(1)
      const last = await place.begin()
      expect(await handle(last, 'k')).toMatchObject({ outcome: 'repeated' })
      await last.commit()
      expect(await effects()).toBe(1)
    })

    test('a connection that dies between effect and mark leaves neither, in the lease form too', async () => {
      const claim = await store.begin('k', { owner: 'a', leaseMs: 600_000 })
      if (claim.outcome !== 'acquired') throw new Error(claim.outcome)
      const work = async (transaction: UserTransaction): Promise<string> => {
        await transaction.sql(`INSERT INTO ${place.table}_effects VALUES (1)`)
        const options = { ...keep, transaction: transaction.connection }
        return (await store.complete('k', claim.fence, undefined, options)).outcome
      }
      const dying = await place.begin()
      expect(await work(dying)).toBe('accepted')
      await dying.kill()
      expect(await effects()).toBe(0)
      expect(await store.begin('k', { owner: 'b', leaseMs: 1 })).toMatchObject({ outcome: 'busy' })
      const next = await place.begin()
      expect(await work(next)).toBe('accepted')
      await next.commit()
      await next.kill()
      expect([await effects(), (await store.begin('k', { owner: 'b', leaseMs: 1 })).outcome]).toEqual([1, 'done'])
    })

    test('an effect that rejects takes its changes and its row along, and the transaction may go on', async () => {
      const transaction = await place.begin()
      const failing = store.inbox(transaction.connection).once(
        'k',
        async () => {
          await transaction.sql(`INSERT INTO ${place.table}_effects VALUES (1)`)
          throw new RangeError('no')
        },
        keep,
      )
      await expect(failing).rejects.toThrow(RangeError)
      expect(await handle(transaction, 'other')).toMatchObject({ outcome: 'fresh' })
      await transaction.commit()
      expect(await effects()).toBe(1)
      const again = await place.begin()
      expect(await handle(again, 'k')).toMatchObject({ outcome: 'fresh' })
      await again.commit()
    })

    test('an effect may contain another, and a failing one inside takes only itself along', async () => {
      const transaction = await place.begin()
      const inbox = store.inbox(transaction.connection)
      const outer = await inbox.once(
        'outer',
        async () => {
          await handle(transaction, 'inner')
          const failing = inbox.once('failing', () => Promise.reject(new RangeError('no')), keep)
          await expect(failing).rejects.toThrow(RangeError)
        },
        keep,
      )
      expect(outer.outcome).toBe('fresh')
      await transaction.commit()
      const later = await place.begin()
      const outcomes: string[] = []
      for (const key of ['outer', 'inner', 'failing']) outcomes.push((await handle(later, key)).outcome)
      expect(outcomes).toEqual(['repeated', 'repeated', 'fresh'])
      await later.rollback()
    })

    test('an entry whose time is over is done anew, and swept', async () => {
      const short = { ttlMs: 1 }
      const run = async (key: string): Promise<string> => {
        const transaction = await place.begin()
        const { outcome } = await store.inbox(transaction.connection).once(key, async () => {}, short)
        await transaction.commit()
        await wait(5)
        return outcome
      }
      expect([await run('k'), await run('k'), await run('j')]).toEqual(['fresh', 'fresh', 'fresh'])
      expect(await store.sweep(1)).toEqual({ removed: 1, more: true })
      expect(await store.sweep(10)).toEqual({ removed: 1, more: false })
    })

    test('a result over the limit is refused, and nothing of the effect stays', async () => {
      const transaction = await place.begin()
      await expect(handle(transaction, 'k', 'x'.repeat(store.maxResultBytes + 1))).rejects.toMatchObject({
        code: 'MESSAGE_TOO_LARGE',
      })
      await transaction.commit()
      expect(await effects()).toBe(0)
    })

    test('without an open transaction it is refused, and so is a mark', async () => {
      const claim = await store.begin('k', { owner: 'a', leaseMs: 600_000 })
      const transaction = await place.begin()
      await transaction.rollback()
      const refused = { code: 'INVALID_OPTION', option: 'transaction' }
      await expect((async () => handle(transaction, 'k'))()).rejects.toMatchObject(refused)
      const options = { ...keep, transaction: transaction.connection }
      const fence = claim.outcome === 'acquired' ? claim.fence : 0
      await expect(store.complete('k', fence, undefined, options)).rejects.toMatchObject(refused)
      expect(await effects()).toBe(0)
      expect(await store.begin('k', { owner: 'a', leaseMs: 1 })).toMatchObject({ outcome: 'busy' })
    })

    const isolations = {
      postgres: ['READ COMMITTED'],
      mysql: ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'],
      sqlite: ['SERIALIZABLE'],
    }
    describe('one writer', () => {
      test.skipIf(server.dialect !== 'sqlite')(
        'a second writer is refused while the first is at work, and can be tried again',
        async () => {
          const [first, second] = [await place.begin(), await place.begin()]
          await handle(first, 'k')
          await expect(handle(second, 'k')).rejects.toMatchObject({ code: 'STORE_LOCKED', retriable: true })
          await second.rollback()
          await first.commit()
          const again = await place.begin()
          expect(await handle(again, 'k')).toMatchObject({ outcome: 'repeated' })
          await again.rollback()
        },
      )
    })

    describe('many writers', () => {
      test.skipIf(server.dialect === 'sqlite').each(isolations[server.dialect])(
        'a second transaction waits for the first, %s',
        async (isolation) => {
          for (const ending of ['commit', 'rollback'] as const) {
            const [first, second] = [await place.begin(isolation), await place.begin(isolation)]
            // The second one has begun to read before the first one commits; in MySQL a serializable read would lock the table.
            const readsFirst = isolation !== 'SERIALIZABLE'
            if (readsFirst) await second.sql(`SELECT count(*) FROM ${place.table}_effects`)
            await handle(first, ending, 'first')
            let hasAnswer = false
            const waiting = handle(second, ending, 'second').finally(() => (hasAnswer = true))
            await wait(150)
            expect(hasAnswer).toBe(false)
            await first[ending]()
            const outcome = ending === 'commit' ? 'repeated' : 'fresh'
            const result = Uint8Array.from(Buffer.from(ending === 'commit' ? 'first' : 'second'))
            expect(await waiting).toEqual({ outcome, result })
            await second.commit()
          }
          expect(await effects()).toBe(2)
        },
      )
    })

    describe('snapshots', () => {
      test.skipIf(server.dialect !== 'postgres').each(['REPEATABLE READ', 'SERIALIZABLE'])(
        '%s: the second is refused and runs again',
        async (isolation) => {
          const [first, second] = [await place.begin(isolation), await place.begin(isolation)]
          await second.sql(`SELECT count(*) FROM ${place.table}_effects`)
          await handle(first, 'k')
          const waiting = handle(second, 'k').catch((error: unknown) => error)
          await wait(100)
          await first.commit()
          expect(await waiting).toMatchObject({ code: 'STORE_LOCKED', retriable: true })
          await second.rollback()
          const again = await place.begin(isolation)
          expect(await handle(again, 'k')).toMatchObject({ outcome: 'repeated' })
          await again.commit()
          expect(await effects()).toBe(1)
        },
      )
    })
  })
}
