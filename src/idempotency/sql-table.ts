import { QueueError } from '../errors.ts'
import type { SqlDialect, SqlSession } from './sql-client.ts'

/** The version of the tables that this release makes and reads. */
export const tableVersion = 1

/** The names of one store's tables, quoted. */
export interface SqlNames {
  /** As the user wrote it, for messages. */
  readonly given: string
  readonly marks: string
  readonly inbox: string
  /** Its version, and the last fence where there are no sequences. */
  readonly meta: string
  readonly marksIndex: string
  readonly inboxIndex: string
  /** The sequence of fences, in PostgreSQL. */
  readonly fences: string
}

/** A letter or underscore, then letters, digits and underscores: nothing that quoting would have to escape. */
const part = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/

export const tableAllowed =
  '1 to 40 of a-z, A-Z, 0-9 and underscore, beginning with no digit, perhaps after the name of a schema and a dot'

export function isTableName(name: unknown): boolean {
  if (typeof name !== 'string') return false
  const parts = name.split('.')
  return parts.length <= 2 && parts.every((one) => part.test(one))
}

export function namesOf(dialect: SqlDialect, given: string): SqlNames {
  const quoted = (name: string): string => (dialect === 'mysql' ? `\`${name}\`` : `"${name}"`)
  const [table = '', schema] = given.split('.').reverse()
  const inSchema = (suffix: string): string =>
    (schema === undefined ? '' : `${quoted(schema)}.`) + quoted(table + suffix)
  return {
    given,
    marks: inSchema(''),
    inbox: inSchema('_inbox'),
    meta: inSchema('_meta'),
    fences: inSchema('_fences'),
    // An index lies in its table's schema: PostgreSQL and MySQL name it without, SQLite with it.
    marksIndex: dialect === 'sqlite' ? inSchema('_ends') : quoted(`${table}_ends`),
    inboxIndex: dialect === 'sqlite' ? inSchema('_inbox_ends') : quoted(`${table}_inbox_ends`),
  }
}

/** A claim that begins. */
export interface NewClaim {
  readonly owner: Buffer
  readonly fingerprint: Buffer | null
  readonly leaseMs: number
}

/** Which rows a sweep goes through. */
export type SweptTable = 'marks' | 'inbox'

/** What differs from database to database. Calls reject with the errors of the driver. */
export interface SqlTables {
  readonly dialect: SqlDialect
  readonly names: SqlNames
  /** For single statements, each a transaction of its own. */
  readonly session: SqlSession
  /** Microseconds since 1970 on the clock of the database, as an expression. */
  readonly now: string
  /** A parameter that is a whole number or NULL, as an expression. */
  readonly whole: string
  /** Whether looking at a row first is cheaper than trying to insert it. */
  readonly looksFirst: boolean
  /** At the end of a query that has to see what others committed after the transaction began. */
  readonly latest: string
  /** Makes the tables or brings them up to {@link tableVersion}; several processes may do so at once. */
  setup(): Promise<void>
  /**
   * Takes the key: by a new row when `isThere` is false, else by the row whose time is over. Returns its fence, or nothing
   * when the key is not as it was thought, or somebody is at work on the row at this moment.
   */
  acquire(key: Buffer, claim: NewClaim, isThere: boolean): Promise<number | undefined>
  /** Removes at most `limit` rows whose time is over, in one short transaction, without waiting for rows that are locked. */
  sweep(table: SweptTable, limit: number): Promise<number>
  /** Inserts a row into the inbox, in a transaction of the user. Waits for another transaction that did, and says whether the key was free. */
  insert(session: SqlSession, key: Buffer, ttlMs: number | null): Promise<boolean>
  /**
   * The connection of a transaction of the user.
   *
   * @throws `INVALID_OPTION`
   */
  joined(transaction: unknown): SqlSession
  /** Makes a savepoint; rejects with `INVALID_OPTION` where no transaction is open. */
  save(transaction: unknown, session: SqlSession, name: string): Promise<void>
}

/** @throws `STORE_VERSION` */
export function checkVersion(version: number | undefined, { given }: SqlNames): void {
  if (version === undefined || version <= tableVersion) return
  const message = `the idempotency store in '${given}' has version ${version}; this release knows versions up to ${tableVersion}`
  throw new QueueError('STORE_VERSION', message, { option: 'table', value: version })
}

/** Of marks and claims, in the first version; `ends_us` is NULL for what never ends. */
export const oldestColumns = 'mark_key, fence, owner, state, content, ends_us'
export const columns: string = `${oldestColumns}, fingerprint`
export const inboxColumns = 'mark_key, content, ends_us'

/** What `state` says. */
export const states = { claimed: 0, done: 1, failed: 2 } as const
