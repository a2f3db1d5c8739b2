import { QueueError } from '../errors.ts'
import {
  checkTransaction,
  isInTransaction,
  notBegun,
  sqliteSession,
  type SqliteDatabase,
  type SqlRow,
  type SqlSession,
} from './sql-client.ts'
import {
  checkVersion,
  columns,
  inboxColumns,
  oldestColumns,
  tableVersion,
  type NewClaim,
  type SqlNames,
  type SqlTables,
  type SweptTable,
} from './sql-table.ts'

/**
 * SQLite, by drivers that do everything during the call: no other code of the process comes in between. Transactions begin
 * as writers, so that two processes never find out late that they wanted the same.
 */
export class SqliteTables implements SqlTables {
  readonly dialect = 'sqlite'
  readonly now = `CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000`
  readonly whole = 'CAST(? AS INTEGER)'
  readonly looksFirst = true
  readonly latest = ''
  readonly names: SqlNames
  readonly session: SqlSession
  readonly #database: SqliteDatabase

  constructor(database: SqliteDatabase, names: SqlNames) {
    const session = sqliteSession(database)
    this.names = names
    this.#database = database
    this.session = {
      rows: async (sql, values) => {
        this.#checkFree()
        return session.rows(sql, values)
      },
      run: async (sql, values) => {
        this.#checkFree()
        return session.run(sql, values)
      },
    }
  }

  async setup(): Promise<void> {
    const { marks, inbox } = this.names
    this.#transaction(() => {
      const version = this.#version()
      checkVersion(version, this.names)
      if (version === tableVersion) return
      for (const step of this.#steps()) this.#database.exec(step)
    })
    this.#rows(`SELECT ${columns} FROM ${marks} LIMIT 0`)
    this.#rows(`SELECT ${inboxColumns} FROM ${inbox} LIMIT 0`)
  }

  async acquire(key: Buffer, claim: NewClaim, isThere: boolean): Promise<number | undefined> {
    const { marks, meta } = this.names
    const { owner, fingerprint, leaseMs } = claim
    return this.#transaction(() => {
      const [row] = this.#rows(`SELECT fence, ends_us <= ${this.now} AS ended FROM ${marks} WHERE mark_key = ?`, key)
      if (isThere ? row?.['ended'] !== 1 : row !== undefined) return undefined
      const count = `UPDATE ${meta} SET value = max(value, ?) + 1 WHERE name = 'fence' RETURNING value`
      const [next] = this.#rows(count, Number(row?.['fence'] ?? 0))
      if (next === undefined) throw new Error(`the row 'fence' of ${meta} is gone: call setup()`)
      const fence = Number(next['value'])
      this.#database
        .prepare(
          `INSERT OR REPLACE INTO ${marks} (mark_key, fence, owner, fingerprint, state, ends_us)
          VALUES (?, ?, ?, ?, 0, ${this.now} + ${this.whole} * 1000)`,
        )
        .run(key, fence, owner, fingerprint, leaseMs)
      return fence
    })
  }

  async sweep(table: SweptTable, limit: number): Promise<number> {
    const { meta, [table]: name } = this.names
    const fence = table === 'marks' ? 'fence' : '0 AS fence'
    return this.#transaction(() => {
      const gone = this.#rows(
        `DELETE FROM ${name} WHERE mark_key IN (
          SELECT mark_key FROM ${name} WHERE ends_us <= ${this.now} ORDER BY ends_us LIMIT ${limit})
        RETURNING ${fence}`,
      )
      // Rows that were restored may be ahead of the count.
      const last = Math.max(0, ...gone.map(({ fence }) => Number(fence)))
      this.#database.prepare(`UPDATE ${meta} SET value = ? WHERE name = 'fence' AND value < ?`).run(last, last)
      return gone.length
    })
  }

  async insert(session: SqlSession, key: Buffer, ttlMs: number | null): Promise<boolean> {
    const { affected } = await session.run(
      `INSERT INTO ${this.names.inbox} (mark_key, ends_us) VALUES (?, ${this.now} + ${this.whole} * 1000)
      ON CONFLICT (mark_key) DO NOTHING`,
      [key, ttlMs],
    )
    return affected > 0
  }

  joined(transaction: unknown): SqlSession {
    checkTransaction(this.dialect, transaction)
    if (isInTransaction(transaction as SqliteDatabase) === false) throw notBegun(this.dialect, transaction)
    return sqliteSession(transaction as SqliteDatabase)
  }

  async save(_transaction: unknown, session: SqlSession, name: string): Promise<void> {
    await session.run(`SAVEPOINT ${name}`)
  }

  #rows(sql: string, ...values: (Uint8Array | number | null)[]): SqlRow[] {
    return this.#database.prepare(sql).all(...values) as SqlRow[]
  }

  #transaction<T>(body: () => T): T {
    this.#checkFree()
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const answer = body()
      this.#database.exec('COMMIT')
      return answer
    } catch (error) {
      if (isInTransaction(this.#database) !== false) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  /** What the store does in a transaction of somebody else would go with it. */
  #checkFree(): void {
    if (isInTransaction(this.#database) !== true) return
    const message = `a transaction is open on the database of the idempotency store in '${this.names.given}': give the store a database object of its own`
    throw new QueueError('STORE_LOCKED', message)
  }

  #version(): number | undefined {
    const { meta, marks } = this.names
    const isThere = (name: string): boolean => this.#rows(`PRAGMA ${pragmaOf(name)}`).length > 0
    // A table of that name that somebody else made is not to be touched.
    if (isThere(marks)) this.#rows(`SELECT ${oldestColumns} FROM ${marks} LIMIT 0`)
    if (!isThere(meta)) return undefined
    const [row] = this.#rows(`SELECT value FROM ${meta} WHERE name = 'version'`)
    return row && Number(row['value'])
  }

  #steps(): string[] {
    const { marks, inbox, meta, marksIndex, inboxIndex } = this.names
    const names = this.#rows(`PRAGMA ${pragmaOf(marks)}`).map(({ name }) => name)
    const unqualified = (name: string): string => name.slice(name.indexOf('.') + 1)
    return [
      `CREATE TABLE IF NOT EXISTS ${meta} (name TEXT PRIMARY KEY, value INTEGER NOT NULL)`,
      ...(names.length > 0 && !names.includes('fingerprint')
        ? [`ALTER TABLE ${marks} ADD COLUMN fingerprint BLOB`]
        : []),
      `CREATE TABLE IF NOT EXISTS ${marks} (mark_key BLOB PRIMARY KEY, fence INTEGER NOT NULL, owner BLOB NOT NULL,
        state INTEGER NOT NULL, content BLOB, ends_us INTEGER, fingerprint BLOB)`,
      `CREATE INDEX IF NOT EXISTS ${marksIndex} ON ${unqualified(marks)} (ends_us)`,
      `CREATE TABLE IF NOT EXISTS ${inbox} (mark_key BLOB PRIMARY KEY, content BLOB, ends_us INTEGER)`,
      `CREATE INDEX IF NOT EXISTS ${inboxIndex} ON ${unqualified(inbox)} (ends_us)`,
      `INSERT OR IGNORE INTO ${meta} (name, value) VALUES ('fence', 0)`,
      `INSERT OR REPLACE INTO ${meta} (name, value) VALUES ('version', ${tableVersion})`,
    ]
  }
}

/** The schema comes before the name of the pragma. */
function pragmaOf(table: string): string {
  const [name = '', schema] = table.split('.').reverse()
  return `${schema === undefined ? '' : `${schema}.`}table_info(${name})`
}
