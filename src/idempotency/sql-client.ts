import { invalid, isObject, show } from '../options.ts'

/** The databases that have a store. */
export type SqlDialect = 'postgres' | 'mysql' | 'sqlite'

/** What the store uses of `pg`: a `Pool`, a `Client`, or a client that a pool lent. */
export interface PostgresClient {
  /** Runs a statement, or several without values in one transaction. */
  query(text: string, values?: unknown[]): Promise<{ readonly rows: unknown[]; readonly rowCount: number | null }>
}

/** One statement, as `mysql2` takes it. */
export interface MysqlStatement {
  sql: string
  values?: (Buffer | number | null)[]
  typeCast?: boolean
  rowsAsArray?: boolean
  nestTables?: boolean
  namedPlaceholders?: boolean
}

/** What the store uses of a connection of `mysql2/promise`. */
export interface MysqlConnection {
  /** Runs a statement. */
  query(statement: MysqlStatement): Promise<[unknown, unknown]>
  /** Not used; what is not of `mysql2` is told by its absence. */
  execute(statement: MysqlStatement): Promise<[unknown, unknown]>
}

/** What the store uses of a connection that a pool of `mysql2/promise` lent. */
export interface MysqlLentConnection extends MysqlConnection {
  /** Gives the connection back to its pool. */
  release(): void
  /** Closes the connection, whatever goes on there. */
  destroy(): void
}

/** What the store uses of a pool of `mysql2/promise`. */
export interface MysqlPool extends MysqlConnection {
  /** Lends a connection. */
  getConnection(): Promise<MysqlLentConnection>
}

/** A pool or connection of `mysql2` with callbacks, which has its promises at hand. */
export interface MysqlCallbackClient {
  /** The same client with promises. */
  promise(): MysqlConnection
}

/** A pool or connection of `mysql2`. */
export type MysqlClient = MysqlPool | MysqlConnection | MysqlCallbackClient

/** What the store uses of a prepared statement of SQLite. */
export interface SqliteStatement {
  /** Runs the statement and returns its rows. */
  all(...values: (Uint8Array | number | null)[]): unknown[]
  /** Runs the statement and says how many rows it changed. */
  run(...values: (Uint8Array | number | null)[]): { readonly changes: number | bigint }
}

/** What the store uses of a database of `better-sqlite3`, or a `DatabaseSync` of `node:sqlite`. */
export interface SqliteDatabase {
  /** Runs statements without values. */
  exec(sql: string): unknown
  /** Compiles a statement. */
  prepare(sql: string): SqliteStatement
  /** Whether a transaction is open, in `better-sqlite3`. */
  readonly inTransaction?: boolean
  /** Whether a transaction is open, in `node:sqlite`. */
  readonly isTransaction?: boolean
}

/** A connection in which the user has begun a transaction: of the store's dialect, and never a pool. */
export type SqlTransaction = PostgresClient | MysqlConnection | MysqlCallbackClient | SqliteDatabase

/** What a statement is given. Texts go as bytes, so that no encoding, collation or escaping has a say. */
export type SqlValue = Buffer | number | null

/** A row by the names of its columns. */
export type SqlRow = Readonly<Record<string, unknown>>

/** One connection, or a pool that picks one for each statement. Every parameter of a statement is a `?`. */
export interface SqlSession {
  rows(sql: string, values?: readonly SqlValue[]): Promise<SqlRow[]>
  run(sql: string, values?: readonly SqlValue[]): Promise<SqlChange>
}

/** What a statement did. */
export interface SqlChange {
  readonly affected: number
  /** What `LAST_INSERT_ID` was set to, in MySQL. */
  readonly insertId: number
}

export const where = 'idempotency store in SQL'

const allowed: Readonly<Record<SqlDialect, { readonly client: string; readonly transaction: string }>> = {
  postgres: {
    client: 'a Pool or Client of pg',
    transaction: 'a client of pg in which a transaction was begun, not the pool',
  },
  mysql: {
    client: 'a pool or connection of mysql2',
    transaction: 'a connection of mysql2 in which a transaction was begun, not the pool',
  },
  sqlite: {
    client: 'a database of better-sqlite3 or node:sqlite',
    transaction: 'a database of better-sqlite3 or node:sqlite in which a transaction was begun',
  },
}

/** @throws `INVALID_OPTION` saying what was seen */
export function checkClient(dialect: SqlDialect, client: unknown): void {
  if (isClient[dialect](client)) return
  throw invalid(where, 'client', client, allowed[dialect].client, `is ${nameOf(client)}`)
}

/** @throws `INVALID_OPTION` saying what was seen */
export function checkTransaction(dialect: SqlDialect, transaction: unknown): void {
  if (isClient[dialect](transaction) && !isPool(transaction)) return
  throw invalid(where, 'transaction', transaction, allowed[dialect].transaction, `is ${nameOf(transaction)}`)
}

export function notBegun(dialect: SqlDialect, transaction: unknown): Error {
  const problem = `is ${nameOf(transaction)} in which no transaction is open`
  return invalid(where, 'transaction', transaction, allowed[dialect].transaction, problem)
}

export function postgresSession(client: PostgresClient): SqlSession {
  const ask = (sql: string, values: readonly SqlValue[] = []): ReturnType<PostgresClient['query']> => {
    let count = 0
    return client.query(
      sql.replaceAll('?', () => `$${++count}`),
      [...values],
    )
  }
  return {
    rows: async (sql, values) => (await ask(sql, values)).rows as SqlRow[],
    run: async (sql, values) => ({ affected: (await ask(sql, values)).rowCount ?? 0, insertId: 0 }),
  }
}

/** Several statements at once, which PostgreSQL runs in one transaction; they can't have parameters. */
export async function runPostgresScript(client: PostgresClient, sql: string): Promise<void> {
  await client.query(sql)
}

export function mysqlSession(connection: MysqlConnection): SqlSession {
  const ask = async (sql: string, values: readonly SqlValue[] = []): Promise<unknown> => {
    // The user's settings of how rows look do not count here.
    const plain = { typeCast: true, rowsAsArray: false, nestTables: false, namedPlaceholders: false }
    const [answer] = await connection.query({ sql, values: [...values], ...plain })
    return answer
  }
  return {
    rows: async (sql, values) => (await ask(sql, values)) as SqlRow[],
    run: async (sql, values) => {
      const { affectedRows, insertId } = (await ask(sql, values)) as { affectedRows: number; insertId: number | string }
      return { affected: affectedRows, insertId: Number(insertId) }
    },
  }
}

/** The promises of a client that has callbacks. */
export function mysqlPromises(client: MysqlClient): MysqlPool | MysqlConnection {
  return hasMethods(client, 'promise') ? (client as MysqlCallbackClient).promise() : (client as MysqlConnection)
}

/** Everything happens during the call; the promises are only the common form. */
export function sqliteSession(database: SqliteDatabase): SqlSession {
  return {
    rows: async (sql, values = []) => database.prepare(sql).all(...values) as SqlRow[],
    run: async (sql, values = []) => ({
      affected: Number(database.prepare(sql).run(...values).changes),
      insertId: 0,
    }),
  }
}

/** Whether a transaction is open, where the driver can say. */
export function isInTransaction({ inTransaction, isTransaction }: SqliteDatabase): boolean | undefined {
  return inTransaction ?? isTransaction
}

export function isPool(client: unknown): client is MysqlPool {
  return hasMethods(client, 'getConnection') || (isObject(client) && typeof client['totalCount'] === 'number')
}

// All of them have a `query` or an `exec`; what tells them apart is what only one driver has.
const isClient: Readonly<Record<SqlDialect, (client: unknown) => boolean>> = {
  postgres: (client) =>
    hasMethods(client, 'query', 'connect') &&
    !['execute', 'getConnection', 'prepare'].some((name) => hasMethods(client, name)),
  mysql: (client) => hasMethods(client, 'query', 'execute') && !hasMethods(client, 'exec'),
  sqlite: (client) => hasMethods(client, 'prepare', 'exec') && !hasMethods(client, 'query'),
}

function hasMethods(value: unknown, ...names: string[]): boolean {
  return isObject(value) && names.every((name) => typeof value[name] === 'function')
}

/** What was given in place of a client, in a few words. */
function nameOf(client: unknown): string {
  if (!isObject(client)) return show(client)
  const { constructor } = client
  const name = typeof constructor === 'function' ? constructor.name : ''
  return name === '' || name === 'Object' ? show(client) : `a ${name}`
}
