import { EventEmitter } from 'node:events'
import { createConnection } from 'mysql2'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { describe, expect, test } from 'vitest'
import { openSqlIdempotencyStore, type SqlIdempotencyOptions } from '../../src/idempotency/sql-store.ts'
import { servers, titled, type SqlPlace, type SqlServer } from './sql-servers.ts'

const minute = 60_000
const claim = { owner: 'a', leaseMs: minute }

async function on(server: SqlServer, body: (place: SqlPlace) => Promise<void>): Promise<void> {
  const place = await server.place()
  try {
    await body(place)
  } finally {
    await place.dispose()
  }
}

/** Tables as the first draft made them: no fingerprints, no index, no inbox. */
const oldest = {
  postgres: (table: string) => [
    `CREATE TABLE ${table}_meta (name text PRIMARY KEY, value bigint NOT NULL)`,
    `CREATE SEQUENCE ${table}_fences`,
    `CREATE TABLE ${table} (mark_key bytea PRIMARY KEY, fence bigint NOT NULL, owner bytea NOT NULL,
      state smallint NOT NULL, content bytea, ends_us bigint)`,
    `INSERT INTO ${table} SELECT 'old', nextval('${table}_fences'), 'a', 1, 'result', NULL`,
  ],
  mysql: (table: string) => [
    `CREATE TABLE ${table}_meta (name VARCHAR(16) PRIMARY KEY, value BIGINT NOT NULL)`,
    `INSERT INTO ${table}_meta VALUES ('fence', 1)`,
    `CREATE TABLE ${table} (mark_key VARBINARY(1024) PRIMARY KEY, fence BIGINT NOT NULL,
      owner VARBINARY(256) NOT NULL, state TINYINT NOT NULL, content LONGBLOB, ends_us BIGINT)`,
    `INSERT INTO ${table} VALUES ('old', 1, 'a', 1, 'result', NULL)`,
  ],
  sqlite: (table: string) => [
    `CREATE TABLE ${table}_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)`,
    `INSERT INTO ${table}_meta VALUES ('fence', 1)`,
    `CREATE TABLE ${table} (mark_key BLOB PRIMARY KEY, fence INTEGER NOT NULL, owner BLOB NOT NULL,
      state INTEGER NOT NULL, content BLOB, ends_us INTEGER)`,
    `INSERT INTO ${table} VALUES (x'6f6c64', 1, x'61', 1, x'726573756c74', NULL)`,
  ],
}

for (const server of Object.values(servers)) {
  describe.skipIf(server.missing !== undefined)(`failures: ${titled(server)}`, () => {
    test('a table that is missing is named, and setup() makes it', async () => {
      await on(server, async (place) => {
        const store = await place.store()
        const missing = { code: 'NOT_A_STORE', option: 'table', value: place.table, retriable: false }
        await expect(store.begin('k', claim)).rejects.toMatchObject(missing)
        await expect(store.begin('k', claim)).rejects.toThrow(/setup\(\)/)
        await expect(store.renew('k', 1, minute)).rejects.toMatchObject(missing)
        await expect(store.complete('k', 1, undefined, { ttlMs: 1 })).rejects.toMatchObject(missing)
        await expect(store.sweep(1)).rejects.toMatchObject(missing)
        await store.setup()
        await store.setup()
        expect(await store.begin('k', claim)).toEqual({ outcome: 'acquired', fence: 1 })
      })
    })

    test('a version 0 is brought up to date by several processes at once, and keeps its marks and fences', async () => {
      await on(server, async (place) => {
        for (const sql of oldest[server.dialect](place.table)) await place.sql(sql)
        await place.sql(`INSERT INTO ${place.table}_meta VALUES ('version', 0)`)
        const stores = await Promise.all(Array.from({ length: 4 }, () => place.store()))
        await expect(stores[0]!.begin('old', claim)).rejects.toMatchObject({ code: 'NOT_A_STORE' })
        await Promise.all(stores.map((store) => store.setup()))
        const result = Uint8Array.from(Buffer.from('result'))
        expect(await stores[0]!.begin('old', claim)).toEqual({ outcome: 'done', result })
        const found = await stores[1]!.begin('new', { ...claim, fingerprint: 'f' })
        expect(found).toEqual({ outcome: 'acquired', fence: 2 })
        expect(await stores[2]!.begin('new', { ...claim, fingerprint: 'g' })).toMatchObject({ outcome: 'mismatch' })
        expect(await stores[3]!.sweep(10)).toEqual({ removed: 0, more: false })
        expect(await place.sql(`SELECT value FROM ${place.table}_meta WHERE name = 'version'`)).toHaveLength(1)
      })
    })

    test('a newer version is refused', async () => {
      await on(server, async (place) => {
        const store = await place.store()
        await store.setup()
        await place.sql(`UPDATE ${place.table}_meta SET value = 9 WHERE name = 'version'`)
        await expect(store.setup()).rejects.toMatchObject({ code: 'STORE_VERSION', value: 9 })
      })
    })

    test('a table of somebody else is refused and not touched', async () => {
      await on(server, async (place) => {
        await place.sql(`CREATE TABLE ${place.table} (a INTEGER)`)
        const store = await place.store()
        await expect(store.setup()).rejects.toMatchObject({ code: 'NOT_A_STORE' })
        await place.sql(`INSERT INTO ${place.table} VALUES (1)`)
        const [row] = await place.sql(`SELECT * FROM ${place.table}`)
        expect({ ...row }).toEqual({ a: 1 })
      })
    })

    test('close waits for calls under way and leaves the client open', async () => {
      await on(server, async (place) => {
        const options = await place.options()
        const store = openSqlIdempotencyStore(options)
        await store.setup()
        const ended: string[] = []
        const call = store.begin('k', claim).then(() => ended.push('call'))
        await store.close().then(() => ended.push('close'))
        await call
        expect(ended).toEqual(['call', 'close'])
        await expect(store.setup()).rejects.toMatchObject({ code: 'CLOSED' })
        expect(await openSqlIdempotencyStore(options).begin('k', claim)).toMatchObject({ outcome: 'busy' })
      })
    })

    describe('one writer', () => {
      test.skipIf(server.dialect !== 'sqlite')(
        'a transaction on the database of the store keeps the store out, so that nothing is lost with it',
        async () => {
          await on(server, async (place) => {
            const options = await place.options()
            const store = openSqlIdempotencyStore(options)
            await store.setup()
            const { client } = options as Extract<SqlIdempotencyOptions, { dialect: 'sqlite' }>
            client.exec('BEGIN')
            const locked = { code: 'STORE_LOCKED', retriable: true }
            await expect(store.begin('k', claim)).rejects.toMatchObject(locked)
            await expect(store.sweep(1)).rejects.toMatchObject(locked)
            client.exec('ROLLBACK')
            expect(await store.begin('k', claim)).toMatchObject({ outcome: 'acquired' })
          })
        },
      )

      test.skipIf(server.dialect !== 'sqlite')(
        'a writer that takes its time is waited for; one that takes too long is told of',
        async () => {
          await on(server, async (place) => {
            const store = await place.store()
            await store.setup()
            const writer = await place.begin()
            await writer.sql(`UPDATE ${place.table}_meta SET value = value`)
            const waiting = store.begin('k', claim)
            await new Promise((resolve) => setTimeout(resolve, 100))
            await writer.commit()
            expect(await waiting).toMatchObject({ outcome: 'acquired' })
            const endless = await place.begin()
            await endless.sql(`UPDATE ${place.table}_meta SET value = value`)
            await expect(store.begin('other', claim)).rejects.toMatchObject({ code: 'STORE_LOCKED', retriable: true })
            await endless.rollback()
          })
        },
      )
    })

    describe('over a network', () => {
      test.skipIf(server.dialect === 'sqlite')(
        'connections that are lost are told of as retriable, and the store recovers by itself',
        async () => {
          await on(server, async (place) => {
            const store = await place.store()
            await store.setup()
            const kept = await store.begin('kept', claim)
            if (kept.outcome !== 'acquired') throw new Error(kept.outcome)
            let errors = 0
            let isOver = false
            const fences: number[] = []
            const worker = async (lane: number): Promise<void> => {
              for (let i = 0; !isOver; i++) {
                try {
                  const found = await store.begin(`${lane}-${i}`, claim)
                  if (found.outcome === 'acquired') fences.push(found.fence)
                } catch (error) {
                  expect(error).toMatchObject({ code: 'STORE_UNREACHABLE', retriable: true })
                  expect((error as Error).message).toMatch(/did not answer, which may succeed later/)
                  expect((error as Error).cause).toBeInstanceOf(Error)
                  errors++
                }
              }
            }
            const workers = [0, 1, 2, 3].map(worker)
            for (let i = 0; i < 5; i++) {
              await new Promise((resolve) => setTimeout(resolve, 100))
              await place.killStores()
            }
            await new Promise((resolve) => setTimeout(resolve, 100))
            isOver = true
            await Promise.all(workers)
            expect(errors).toBeGreaterThan(0)
            expect(new Set(fences).size).toBe(fences.length)
            expect(await store.complete('kept', kept.fence, undefined, { ttlMs: minute })).toEqual({
              outcome: 'accepted',
            })
          })
        },
      )

      test.skipIf(server.dialect === 'sqlite')('a server that is not there is told of as retriable', async () => {
        const url = `${server.dialect}://nobody@127.0.0.1:1/test`
        const options: SqlIdempotencyOptions =
          server.dialect === 'postgres'
            ? { dialect: 'postgres', client: new Pool({ connectionString: url }) }
            : { dialect: 'mysql', client: createPool({ uri: url }) }
        const store = openSqlIdempotencyStore(options)
        await expect(store.begin('k', claim)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', retriable: true })
        await expect(store.setup()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', retriable: true })
      })
    })
  })
}

describe('what a store is opened with', () => {
  const pool = new Pool()
  const mysqlPool = createPool({ host: '127.0.0.1', port: 1 })
  const callbackConnection = createConnection({ host: '127.0.0.1', port: 1 })
  callbackConnection.on('error', () => {})
  const sqlite = { exec: () => {}, prepare: () => ({ all: () => [], run: () => ({ changes: 0 }) }) }
  class Knex extends EventEmitter {}

  test.each<[string, string, unknown]>([
    ['postgres', 'a PromisePool', mysqlPool],
    ['postgres', 'a Connection', callbackConnection],
    ['postgres', 'an object with exec, prepare', sqlite],
    ['postgres', "'postgres://here'", 'postgres://here'],
    ['postgres', 'a function', () => {}],
    ['postgres', 'null', null],
    ['mysql', 'a BoundPool', pool],
    ['mysql', 'a Knex', new Knex()],
    ['sqlite', 'a BoundPool', pool],
    ['sqlite', 'a PromisePool', mysqlPool],
  ])('%s refuses %s', (dialect, seen, client) => {
    const open = (): unknown => openSqlIdempotencyStore({ dialect, client } as never)
    expect(open).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', option: 'client' }))
    expect(open).toThrow(`is ${seen}`)
  })

  test('missing and unknown options are refused', () => {
    const refused = (options: unknown): void =>
      expect(() => openSqlIdempotencyStore(options as never)).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      )
    refused(undefined)
    refused({})
    refused({ dialect: 'oracle', client: pool })
    refused({ dialect: 'postgres' })
    refused({ dialect: 'postgres', client: pool, tabel: 'a' })
    refused({ dialect: 'postgres', client: pool, maxResultBytes: -1 })
  })

  test.each(['', 'a b', 'a"b', 'a`b', "a'; DROP TABLE x; --", 'a.b.c', '.a', 'a.', '1a', 'é', 'a'.repeat(41), 7])(
    'the table name %o is refused',
    (table) => {
      const open = (): unknown => openSqlIdempotencyStore({ dialect: 'postgres', client: pool, table: table as string })
      expect(open).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', option: 'table' }))
    },
  )

  test('a pool is no transaction, nor is a client of another driver', async () => {
    const cases = [
      [openSqlIdempotencyStore({ dialect: 'postgres', client: pool }), pool, callbackConnection, {}],
      [openSqlIdempotencyStore({ dialect: 'mysql', client: mysqlPool }), mysqlPool, mysqlPool.pool, pool],
      [openSqlIdempotencyStore({ dialect: 'sqlite', client: sqlite }), pool, 'BEGIN'],
    ] as const
    for (const [store, ...wrong] of cases) {
      for (const transaction of wrong as unknown as never[]) {
        const refused = { code: 'INVALID_OPTION', option: 'transaction' }
        expect(() => store.inbox(transaction)).toThrow(expect.objectContaining(refused))
        await expect(store.complete('k', 1, undefined, { ttlMs: 1, transaction })).rejects.toMatchObject(refused)
      }
    }
  })
})

describe.skipIf(servers.postgres.missing !== undefined)(`names: ${titled(servers.postgres)}`, () => {
  test('a table may lie in a schema, and be named like a word of SQL', async () => {
    await on(servers.postgres, async (place) => {
      const schema = `${place.table}_Schema`
      await place.sql(`CREATE SCHEMA "${schema}"`)
      try {
        const store = await place.store({ table: `${schema}.Select` })
        await store.setup()
        await store.setup()
        expect(await store.begin('k', claim)).toEqual({ outcome: 'acquired', fence: 1 })
        expect(await store.begin('k', claim)).toMatchObject({ outcome: 'busy' })
        expect(await place.sql(`SELECT fence FROM "${schema}"."Select"`)).toHaveLength(1)
      } finally {
        await place.sql(`DROP SCHEMA "${schema}" CASCADE`)
      }
    })
  })
})
