import { QueueError } from '../errors.ts'
import { isObject } from '../options.ts'
import type { SqlDialect } from './sql-client.ts'

/**
 * What a failed statement means.
 *
 * - `conflict`: others came in between, and the database took the statement or transaction back
 * - `locked`: others held what was needed for too long
 * - `lost`: there was no answer; what was asked may have been done
 * - `missing`: the table or a column is not there
 * - `duplicate`: the key is there already
 * - `denied`: the user of the database may not do that
 * - `outside`: a savepoint where there is no transaction
 */
export type SqlFailure = 'conflict' | 'locked' | 'lost' | 'missing' | 'duplicate' | 'denied' | 'outside' | 'unknown'

const ofNetwork = /^(ECONN|EPIPE$|ETIMEDOUT$|ENOTFOUND$|EAI_AGAIN$|EHOSTUNREACH$|ENETUNREACH$|ENOENT$)/

const ofPostgres: readonly (readonly [RegExp, SqlFailure])[] = [
  [/^(40001|40P01)$/, 'conflict'],
  [/^(55P03|57014)$/, 'locked'],
  [/^(08...|57P0.|53300)$/, 'lost'],
  [/^(42P01|42703|3F000)$/, 'missing'],
  [/^23505$/, 'duplicate'],
  [/^(42501|25006)$/, 'denied'],
  [/^25P01$/, 'outside'],
]

const ofMysql: Readonly<Record<number, SqlFailure>> = {
  1213: 'conflict',
  1020: 'conflict',
  1205: 'locked',
  1040: 'lost',
  1053: 'lost',
  1203: 'lost',
  1927: 'lost',
  4031: 'lost',
  1146: 'missing',
  1054: 'missing',
  1049: 'missing',
  1062: 'duplicate',
  1044: 'denied',
  1045: 'denied',
  1142: 'denied',
  1290: 'denied',
  1305: 'outside',
}

const ofSqlite: Readonly<Record<number, SqlFailure>> = { 5: 'locked', 6: 'locked', 8: 'denied' }
const ofSqliteNames: readonly (readonly [RegExp, SqlFailure])[] = [
  [/^SQLITE_(BUSY|LOCKED)/, 'locked'],
  [/^SQLITE_READONLY/, 'denied'],
]

/** What the drivers say of a connection that is gone, where they have no code for it. */
const gone =
  /connection (terminated|ended|lost|is closed)|not queryable|connection timeout|timeout exceeded when trying to connect|in closed state/i

export function failureOf(dialect: SqlDialect, error: unknown): SqlFailure {
  if (!isObject(error)) return 'unknown'
  const { message, fatal } = error
  const code = String(error['code'])
  const text = String(message)
  if (ofNetwork.test(code) || code === 'PROTOCOL_CONNECTION_LOST') return 'lost'
  const known = {
    postgres: () => ofPostgres.find(([pattern]) => pattern.test(code))?.[1],
    mysql: () => ofMysql[Number(error['errno'])] ?? (fatal === true ? 'lost' : undefined),
    sqlite: () =>
      ofSqliteNames.find(([pattern]) => pattern.test(code))?.[1] ??
      ofSqlite[Number(error['errcode']) & 255] ??
      (/^no such (table|column)/.test(text) || /has no column named/.test(text) ? 'missing' : undefined),
  }[dialect]()
  return known ?? (dialect !== 'sqlite' && gone.test(text) ? 'lost' : 'unknown')
}

/** What the caller of a store is told. What nobody here has an answer for is passed on as it is. */
export function errorOf(dialect: SqlDialect, table: string, cause: unknown): unknown {
  const said = `the database says: ${cause instanceof Error ? cause.message || cause.name : String(cause)}`
  switch (failureOf(dialect, cause)) {
    case 'conflict':
    case 'locked': {
      const message = `others hold what the idempotency store in '${table}' needs: try again, a transaction from its beginning; ${said}`
      return new QueueError('STORE_LOCKED', message, { cause })
    }
    case 'lost': {
      const message = `the database of the idempotency store did not answer, which may succeed later; ${said}`
      return new QueueError('STORE_UNREACHABLE', message, { cause })
    }
    case 'missing': {
      const message = `'${table}' is not a table of an idempotency store, or one of an older version: call setup() once; ${said}`
      return new QueueError('NOT_A_STORE', message, { option: 'table', value: table, cause })
    }
    case 'denied': {
      const message = `the user of the database may not do what the idempotency store in '${table}' needs; ${said}`
      return new QueueError('STORE_UNWRITABLE', message, { option: 'table', value: table, cause })
    }
    case 'duplicate':
    case 'outside':
    case 'unknown':
      return cause
  }
}
