import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection, createPool, type Pool as MysqlPool } from 'mysql2/promise'
import { Client, Pool, type PoolConfig } from 'pg'
import type {
  MysqlConnection,
  PostgresClient,
  SqliteDatabase,
  SqlTransaction,
} from '../../src/idempotency/sql-client.ts'
import {
  openSqlIdempotencyStore,
  type SqlIdempotencyOptions,
  type SqlIdempotencyStore,
  type SqlStoreSettings,
} from '../../src/idempotency/sql-store.ts'

/** Where servers are looked for; a test machine may have none. */
const urls = {
  postgres: process.env['LANEMQ_POSTGRES'] ?? 'postgres://root@127.0.0.1:5432/test',
  mysql: process.env['LANEMQ_MYSQL'] ?? 'mysql://root@127.0.0.1:3306/test',
}

/** A transaction of a user of the store, on a connection of its own. */
export interface UserTransaction {
  readonly connection: SqlTransaction
  /** Runs a statement without parameters, and returns the rows of one that has some. */
  sql(text: string): Promise<Record<string, unknown>[]>
  commit(): Promise<void>
  rollback(): Promise<void>
  /** Has the server end the connection in the midst of it. */
  kill(): Promise<void>
}

/** One database with a table of its own, and everything that was opened there. */
export interface SqlPlace {
  readonly table: string
  /** Options of the store, by a new pool, as another process has one. */
  options(settings?: SqlStoreSettings): Promise<SqlIdempotencyOptions>
  /** A store by a new pool. */
  store(settings?: SqlStoreSettings): Promise<SqlIdempotencyStore>
  /** Runs a statement by itself. */
  sql(text: string): Promise<Record<string, unknown>[]>
  /** Begins a transaction; `isolation` as SQL has it. */
  begin(isolation?: string): Promise<UserTransaction>
  /** Ends all connections of the stores, as a restart of the server does. */
  killStores(): Promise<void>
  /** Drops the tables and closes everything. */
  dispose(): Promise<void>
}

/** A kind of database. */
export interface SqlServer {
  readonly name: string
  readonly dialect: SqlIdempotencyOptions['dialect']
  /** Why it can't be tested here. */
  readonly missing: string | undefined
  place(): Promise<SqlPlace>
}

/** What is closed at the end, the last one first. */
class Closing {
  readonly #tasks: (() => unknown)[] = []
  add(task: () => unknown): void {
    this.#tasks.push(task)
  }
  async run(): Promise<void> {
    for (const task of this.#tasks.toReversed()) await task()
  }
}

const newTable = (): string => `lanemq_${process.pid}_${randomBytes(4).toString('hex')}`
const quiet = (): void => {}

async function reasonOf(probe: () => Promise<unknown>, url: string): Promise<string | undefined> {
  try {
    await probe()
    return undefined
  } catch (error) {
    return `no server answers at ${new URL(url).host}: ${(error as { code?: string }).code ?? String(error)}`
  }
}

function postgresPool(settings: PoolConfig = {}): Pool {
  const pool = new Pool({ connectionString: urls.postgres, max: 5, connectionTimeoutMillis: 10_000, ...settings })
  pool.on('error', quiet)
  return pool
}

/** PostgreSQL; the options are those of each connection of a store. */
export function postgresServer(missing: string | undefined, connectionOptions?: string): SqlServer {
  const place = async (): Promise<SqlPlace> => {
    const closing = new Closing()
    const table = newTable()
    const admin = postgresPool({ max: 4 })
    closing.add(() => admin.end())
    closing.add(() => admin.query(`DROP TABLE IF EXISTS ${names(table)}; DROP SEQUENCE IF EXISTS ${table}_fences`))
    const sql = async (text: string): Promise<Record<string, unknown>[]> =>
      (await admin.query<Record<string, unknown>>(text)).rows
    const options = async (settings: SqlStoreSettings = {}): Promise<SqlIdempotencyOptions> => {
      const client = postgresPool({ application_name: table, ...(connectionOptions && { options: connectionOptions }) })
      closing.add(() => client.end())
      return { dialect: 'postgres', client, table, ...settings }
    }
    return {
      table,
      sql,
      options,
      store: async (settings) => openSqlIdempotencyStore(await options(settings)),
      begin: async (isolation = 'READ COMMITTED') => {
        const client = new Client({ connectionString: urls.postgres })
        client.on('error', quiet)
        await client.connect()
        closing.add(() => client.end().catch(quiet))
        const run = async (text: string): Promise<Record<string, unknown>[]> =>
          (await client.query<Record<string, unknown>>(text)).rows
        await run(`BEGIN ISOLATION LEVEL ${isolation}`)
        const [own] = await run('SELECT pg_backend_pid() AS pid')
        return {
          connection: client satisfies PostgresClient,
          sql: run,
          commit: async () => void (await run('COMMIT')),
          rollback: async () => void (await run('ROLLBACK')),
          kill: async () => void (await sql(`SELECT pg_terminate_backend(${String(own!['pid'])}, 5000)`)),
        }
      },
      killStores: async () => {
        await sql(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '${table}'`)
      },
      dispose: () => closing.run(),
    }
  }
  return { name: 'PostgreSQL', dialect: 'postgres', missing, place }
}

/** MySQL or MariaDB; a `client` of the callback kind is tested as well. */
export function mysqlServer(
  missing: string | undefined,
  change: (pool: MysqlPool) => MysqlPool['pool'] | MysqlPool = (pool) => pool,
): SqlServer {
  const place = async (): Promise<SqlPlace> => {
    const closing = new Closing()
    const table = newTable()
    const pools: MysqlPool[] = []
    const admin = createPool({ uri: urls.mysql, connectionLimit: 4 })
    closing.add(() => admin.end())
    closing.add(() => admin.query(`DROP TABLE IF EXISTS ${names(table)}`))
    const sql = async (text: string): Promise<Record<string, unknown>[]> =>
      (await admin.query(text))[0] as unknown as Record<string, unknown>[]
    const options = async (settings: SqlStoreSettings = {}): Promise<SqlIdempotencyOptions> => {
      const pool = createPool({ uri: urls.mysql, connectionLimit: 8 })
      pools.push(pool)
      closing.add(() => pool.end().catch(quiet))
      return { dialect: 'mysql', client: change(pool), table, ...settings }
    }
    return {
      table,
      sql,
      options,
      store: async (settings) => openSqlIdempotencyStore(await options(settings)),
      begin: async (isolation = 'REPEATABLE READ') => {
        const connection = await createConnection({ uri: urls.mysql })
        connection.on('error', quiet)
        closing.add(() => connection.destroy())
        await connection.query(`SET TRANSACTION ISOLATION LEVEL ${isolation}`)
        await connection.query('START TRANSACTION')
        return {
          connection: connection satisfies MysqlConnection,
          sql: async (text) => (await connection.query(text))[0] as unknown as Record<string, unknown>[],
          commit: () => connection.commit(),
          rollback: () => connection.rollback(),
          kill: async () => void (await sql(`KILL ${connection.threadId}`)),
        }
      },
      killStores: async () => {
        for (const pool of pools) {
          const connections = await Promise.all(Array.from({ length: 8 }, () => pool.getConnection()))
          const threads = connections.map(({ threadId }) => threadId)
          for (const one of connections) one.release()
          for (const thread of threads) await sql(`KILL ${thread}`)
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      },
      dispose: () => closing.run(),
    }
  }
  return { name: 'MySQL or MariaDB', dialect: 'mysql', missing, place }
}

type OpenSqlite = (path: string) => SqliteDatabase & { close(): void }

/** SQLite by one of its drivers, in a file of its own. */
export function sqliteServer(name: string, open: OpenSqlite | string): SqlServer {
  const place = async (): Promise<SqlPlace> => {
    if (typeof open === 'string') throw new Error(open)
    const closing = new Closing()
    const directory = mkdtempSync(join(tmpdir(), 'lanemq-sql-'))
    closing.add(() => rmSync(directory, { recursive: true, force: true }))
    const table = newTable()
    const database = (): ReturnType<OpenSqlite> => {
      const opened = open(join(directory, 'store.db'))
      opened.exec('PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 0; PRAGMA synchronous = OFF')
      closing.add(() => {
        try {
          opened.close()
        } catch {
          // A test closed it.
        }
      })
      return opened
    }
    const rowsOf = (on: SqliteDatabase, text: string): Record<string, unknown>[] => {
      if (/^\s*select/i.test(text)) return on.prepare(text).all() as Record<string, unknown>[]
      on.exec(text)
      return []
    }
    const admin = database()
    const options = async (settings: SqlStoreSettings = {}): Promise<SqlIdempotencyOptions> => ({
      dialect: 'sqlite',
      client: database(),
      table,
      ...settings,
    })
    return {
      table,
      options,
      sql: async (text) => rowsOf(admin, text),
      store: async (settings) => openSqlIdempotencyStore(await options(settings)),
      begin: async () => {
        const own = database()
        own.exec('BEGIN')
        return {
          connection: own,
          sql: async (text) => rowsOf(own, text),
          commit: async () => void own.exec('COMMIT'),
          rollback: async () => void own.exec('ROLLBACK'),
          kill: async () => own.close(),
        }
      },
      killStores: async () => {},
      dispose: () => closing.run(),
    }
  }
  return { name, dialect: 'sqlite', missing: typeof open === 'string' ? open : undefined, place }
}

/** The tables of a store. */
function names(table: string): string {
  return ['', '_inbox', '_meta', '_effects'].map((suffix) => table + suffix).join(', ')
}

const load = createRequire(import.meta.url)

function sqliteDriver(name: string, use: (driver: unknown) => OpenSqlite): OpenSqlite | string {
  try {
    const open = use(load(name))
    open(':memory:').close()
    return open
  } catch (error) {
    return `${name} does not load: ${(error as Error).message.split('\n')[0]}`
  }
}

type Constructor = new (path: string) => ReturnType<OpenSqlite>

const noPostgres = await reasonOf(async () => {
  const client = new Client({ connectionString: urls.postgres, connectionTimeoutMillis: 5_000 })
  client.on('error', quiet)
  await client.connect()
  await client.end()
}, urls.postgres)

const noMysql = await reasonOf(async () => {
  const connection = await createConnection({ uri: urls.mysql, connectTimeout: 5_000 })
  await connection.end()
}, urls.mysql)

/** All that there are, present or not. */
export const servers: Readonly<Record<'postgres' | 'mysql' | 'nodeSqlite' | 'betterSqlite', SqlServer>> = {
  postgres: postgresServer(noPostgres),
  mysql: mysqlServer(noMysql),
  nodeSqlite: sqliteServer(
    'SQLite by node:sqlite',
    sqliteDriver('node:sqlite', (driver) => {
      const { DatabaseSync } = driver as { DatabaseSync: Constructor }
      return (path) => new DatabaseSync(path)
    }),
  ),
  // No dependency of this package, since it may have to be compiled: a path to one can be given.
  betterSqlite: sqliteServer(
    'SQLite by better-sqlite3',
    sqliteDriver(
      process.env['LANEMQ_BETTER_SQLITE3'] ?? 'better-sqlite3',
      (driver) => (path) => new (driver as Constructor)(path),
    ),
  ),
}

/** PostgreSQL with stores whose transactions are serializable, and MySQL by the callback kind of client. */
export const variants: Readonly<Record<'serializable' | 'callbacks', SqlServer>> = {
  serializable: {
    ...postgresServer(noPostgres, '-c default_transaction_isolation=serializable'),
    name: 'PostgreSQL, serializable',
  },
  callbacks: { ...mysqlServer(noMysql, (pool) => pool.pool), name: 'MySQL or MariaDB, by callbacks' },
}

/** The title of what is tested on a server, with the reason where it can't be. */
export function titled({ name, missing }: SqlServer): string {
  return missing === undefined ? name : `${name} (skipped: ${missing})`
}
