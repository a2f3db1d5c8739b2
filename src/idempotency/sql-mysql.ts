import {
  checkTransaction,
  isPool,
  mysqlPromises,
  mysqlSession,
  notBegun,
  type MysqlClient,
  type MysqlConnection,
  type MysqlPool,
  type SqlSession,
} from './sql-client.ts'
import { failureOf } from './sql-failure.ts'
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

/** What a step of a migration meets that was made before. */
const isThereAlready = new Set([1060, 1061])

/**
 * MySQL from version 8.0.1, MariaDB from 10.6. Fences come from a row that counts, raised last in the short transaction of
 * an acquisition, while the key's own row is locked.
 */
export class MysqlTables implements SqlTables {
  readonly dialect = 'mysql'
  readonly now = `timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))`
  readonly whole = '?'
  readonly looksFirst = true
  readonly latest = 'LOCK IN SHARE MODE'
  readonly names: SqlNames
  readonly session: SqlSession
  readonly #client: MysqlPool | MysqlConnection
  /** The last use of a single connection: others wait, or they would be in the midst of a transaction that is not theirs. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(client: MysqlClient, names: SqlNames) {
    this.names = names
    this.#client = mysqlPromises(client)
    const session = mysqlSession(this.#client)
    this.session = isPool(this.#client)
      ? session
      : {
          rows: (sql, values) => this.#inTurn(() => session.rows(sql, values)),
          run: (sql, values) => this.#inTurn(() => session.run(sql, values)),
        }
  }

  async setup(): Promise<void> {
    const { marks, inbox } = this.names
    const version = await this.#version()
    checkVersion(version, this.names)
    // There is no transaction around these: after an interruption they run again, each harmless the second time.
    if (version !== tableVersion) for (const step of this.#steps()) await this.#step(step)
    await this.session.rows(`SELECT ${columns} FROM ${marks} LIMIT 0`)
    await this.session.rows(`SELECT ${inboxColumns} FROM ${inbox} LIMIT 0`)
  }

  acquire(key: Buffer, { owner, fingerprint, leaseMs }: NewClaim, isThere: boolean): Promise<number | undefined> {
    const { marks, meta } = this.names
    return this.#transaction(async (session) => {
      const before = await (isThere ? this.#lockEnded(session, key) : this.#insert(session, key))
      if (before === undefined) return undefined
      const { affected, insertId } = await session.run(
        `UPDATE ${meta} SET value = last_insert_id(greatest(value, ?) + 1) WHERE name = 'fence'`,
        [before],
      )
      if (affected !== 1) throw new Error(`the row 'fence' of ${meta} is gone: call setup()`)
      await session.run(
        `UPDATE ${marks} SET fence = ?, owner = ?, fingerprint = ?, state = 0, content = NULL,
          ends_us = ${this.now} + ? * 1000 WHERE mark_key = ?`,
        [insertId, owner, fingerprint, leaseMs, key],
      )
      return insertId
    })
  }

  sweep(table: SweptTable, limit: number): Promise<number> {
    const { meta, [table]: name } = this.names
    return this.#transaction(async (session) => {
      const fence = table === 'marks' ? 'fence' : '0 AS fence'
      const gone = await session.rows(
        `SELECT mark_key, ${fence} FROM ${name} WHERE ends_us <= ${this.now}
        ORDER BY ends_us LIMIT ${limit} FOR UPDATE SKIP LOCKED`,
      )
      if (gone.length === 0) return 0
      const places = gone.map(() => '?').join(', ')
      await session.run(
        `DELETE FROM ${name} WHERE mark_key IN (${places})`,
        gone.map(({ mark_key }) => mark_key as Buffer),
      )
      // Rows that were restored may be ahead of the count.
      const last = Math.max(...gone.map(({ fence }) => Number(fence)))
      const [count] = await session.rows(`SELECT value FROM ${meta} WHERE name = 'fence'`)
      if (Number(count?.['value']) < last) {
        await session.run(`UPDATE ${meta} SET value = greatest(value, ?) WHERE name = 'fence'`, [last])
      }
      return gone.length
    })
  }

  async insert(session: SqlSession, key: Buffer, ttlMs: number | null): Promise<boolean> {
    const sql = `INSERT INTO ${this.names.inbox} (mark_key, ends_us) VALUES (?, ${this.now} + ? * 1000)`
    try {
      await session.run(sql, [key, ttlMs])
      return true
    } catch (error) {
      if (failureOf(this.dialect, error) === 'duplicate') return false
      throw error
    }
  }

  joined(transaction: unknown): SqlSession {
    checkTransaction(this.dialect, transaction)
    return mysqlSession(mysqlPromises(transaction as MysqlConnection))
  }

  async save(transaction: unknown, session: SqlSession, name: string): Promise<void> {
    await session.run(`SAVEPOINT ${name}`)
    try {
      // A savepoint outside of a transaction is gone at once, without a word.
      await session.run(`ROLLBACK TO SAVEPOINT ${name}`)
    } catch (error) {
      throw failureOf(this.dialect, error) === 'outside' ? notBegun(this.dialect, transaction) : error
    }
  }

  /** Holds the new row from here on; the fence and the rest come with the number. */
  async #insert(session: SqlSession, key: Buffer): Promise<number | undefined> {
    const sql = `INSERT INTO ${this.names.marks} (mark_key, fence, owner, state, ends_us) VALUES (?, 0, '', 0, 0)`
    try {
      await session.run(sql, [key])
      return 0
    } catch (error) {
      if (failureOf(this.dialect, error) === 'duplicate') return undefined
      throw error
    }
  }

  async #lockEnded(session: SqlSession, key: Buffer): Promise<number | undefined> {
    const [row] = await session.rows(
      `SELECT fence FROM ${this.names.marks} WHERE mark_key = ? AND ends_us <= ${this.now} FOR UPDATE SKIP LOCKED`,
      [key],
    )
    return row && Number(row['fence'])
  }

  /** Commits what the body did, or nothing. At READ COMMITTED no gap between rows is locked. */
  async #transaction<T>(body: (session: SqlSession) => Promise<T>): Promise<T> {
    if (!isPool(this.#client)) {
      const session = mysqlSession(this.#client)
      return this.#inTurn(() => inTransaction(session, body))
    }
    const connection = await this.#client.getConnection()
    const session = mysqlSession(connection)
    let isFit = false
    try {
      const answer = await inTransaction(session, body, () => (isFit = true))
      isFit = true
      return answer
    } finally {
      // Whatever state it is in: the server takes back what it had begun.
      if (isFit) connection.release()
      else connection.destroy()
    }
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const answer = this.#turn.then(call)
    this.#turn = answer.catch(() => {})
    return answer
  }

  async #version(): Promise<number | undefined> {
    const { marks, meta } = this.names
    if (await this.#isThere(`SELECT 1 FROM ${marks} LIMIT 0`)) {
      // A table of that name that somebody else made is not to be touched.
      await this.session.rows(`SELECT ${oldestColumns} FROM ${marks} LIMIT 0`)
    }
    if (!(await this.#isThere(`SELECT 1 FROM ${meta} LIMIT 0`))) return undefined
    const [row] = await this.session.rows(`SELECT value FROM ${meta} WHERE name = 'version'`)
    return row && Number(row['value'])
  }

  async #isThere(query: string): Promise<boolean> {
    try {
      await this.session.rows(query)
      return true
    } catch (error) {
      if (failureOf(this.dialect, error) === 'missing') return false
      throw error
    }
  }

  async #step(sql: string): Promise<void> {
    try {
      await this.session.run(sql)
    } catch (error) {
      if (!isThereAlready.has(Number((error as { errno?: unknown }).errno))) throw error
    }
  }

  #steps(): string[] {
    const { marks, inbox, meta, marksIndex, inboxIndex } = this.names
    return [
      `CREATE TABLE IF NOT EXISTS ${meta} (name VARCHAR(16) PRIMARY KEY, value BIGINT NOT NULL) ENGINE = InnoDB`,
      `CREATE TABLE IF NOT EXISTS ${marks} (mark_key VARBINARY(1024) PRIMARY KEY, fence BIGINT NOT NULL,
        owner VARBINARY(256) NOT NULL, state TINYINT NOT NULL, content LONGBLOB, ends_us BIGINT)
        ENGINE = InnoDB ROW_FORMAT = DYNAMIC`,
      `ALTER TABLE ${marks} ADD COLUMN fingerprint VARBINARY(256)`,
      `CREATE INDEX ${marksIndex} ON ${marks} (ends_us)`,
      `CREATE TABLE IF NOT EXISTS ${inbox} (mark_key VARBINARY(1024) PRIMARY KEY, content LONGBLOB, ends_us BIGINT)
        ENGINE = InnoDB ROW_FORMAT = DYNAMIC`,
      `CREATE INDEX ${inboxIndex} ON ${inbox} (ends_us)`,
      `INSERT INTO ${meta} (name, value) VALUES ('fence', 0) ON DUPLICATE KEY UPDATE value = value`,
      `INSERT INTO ${meta} (name, value) VALUES ('version', ${tableVersion})
        ON DUPLICATE KEY UPDATE value = greatest(value, ${tableVersion})`,
    ]
  }
}

async function inTransaction<T>(
  session: SqlSession,
  body: (session: SqlSession) => Promise<T>,
  rolledBack: () => void = () => {},
): Promise<T> {
  await session.run('SET TRANSACTION ISOLATION LEVEL READ COMMITTED')
  await session.run('START TRANSACTION')
  try {
    const answer = await body(session)
    await session.run('COMMIT')
    return answer
  } catch (error) {
    await session.run('ROLLBACK').then(rolledBack, () => {})
    throw error
  }
}
