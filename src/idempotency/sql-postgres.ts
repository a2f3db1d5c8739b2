import { createHash } from 'node:crypto'
import {
  checkTransaction,
  notBegun,
  postgresSession,
  runPostgresScript,
  type PostgresClient,
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

/** How far the sequence is set ahead of a fence that it should have been past, so that calls at the same moment stay behind. */
const leap = 1_000_000

/**
 * PostgreSQL, from version 12. Every call is single statements on any connection of a pool. Fences come from a sequence,
 * which no rollback takes back; a lock on the key's hash, held for the one statement, makes sure that who gets a number
 * first also takes the key first.
 */
export class PostgresTables implements SqlTables {
  readonly dialect = 'postgres'
  readonly now = 'floor(extract(epoch from clock_timestamp()) * 1000000)::bigint'
  readonly whole = '?::bigint'
  readonly looksFirst = false
  readonly latest = ''
  readonly names: SqlNames
  readonly session: SqlSession
  readonly #client: PostgresClient

  constructor(client: PostgresClient, names: SqlNames) {
    this.names = names
    this.session = postgresSession(client)
    this.#client = client
  }

  async setup(): Promise<void> {
    const version = await this.#version()
    checkVersion(version, this.names)
    if (version !== tableVersion) await runPostgresScript(this.#client, this.#script())
    const { marks, inbox } = this.names
    await this.session.rows(`SELECT ${columns} FROM ${marks} LIMIT 0`)
    await this.session.rows(`SELECT ${inboxColumns} FROM ${inbox} LIMIT 0`)
  }

  async acquire(key: Buffer, claim: NewClaim, isThere: boolean): Promise<number | undefined> {
    const fence = await (isThere ? this.#takeOver(key, claim) : this.#insert(key, claim))
    if (fence !== undefined || !isThere) return fence
    // Rows that were restored may be ahead of the sequence.
    const [row] = await this.session.rows(`SELECT fence FROM ${this.names.marks} WHERE mark_key = ?`, [key])
    if (row !== undefined && (await this.#raise(Number(row['fence'])))) return this.#takeOver(key, claim)
    return undefined
  }

  async sweep(table: SweptTable, limit: number): Promise<number> {
    const name = this.names[table]
    const fence = table === 'marks' ? 't.fence' : '0::bigint'
    const gone = await this.session.rows(
      `DELETE FROM ${name} t WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ${name} WHERE ends_us <= (SELECT ${this.now})
        ORDER BY ends_us LIMIT ${limit} FOR UPDATE SKIP LOCKED)) RETURNING ${fence} AS fence`,
    )
    if (gone.length > 0) await this.#raise(Math.max(...gone.map(({ fence }) => Number(fence))))
    return gone.length
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
    return postgresSession(transaction as PostgresClient)
  }

  async save(transaction: unknown, session: SqlSession, name: string): Promise<void> {
    try {
      await session.run(`SAVEPOINT ${name}`)
    } catch (error) {
      throw failureOf(this.dialect, error) === 'outside' ? notBegun(this.dialect, transaction) : error
    }
  }

  /** A row that is there is not even tried: the attempt would wait for a user's transaction in which it is marked. */
  async #insert(key: Buffer, { owner, fingerprint, leaseMs }: NewClaim): Promise<number | undefined> {
    const { marks, fences } = this.names
    const [row] = await this.session.rows(
      `WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(${this.#lockOf(key)}))
      INSERT INTO ${marks} (mark_key, fence, owner, fingerprint, state, ends_us)
      SELECT ?::bytea, nextval('${fences}'), ?::bytea, ?::bytea, 0, ${this.now} + ${this.whole} * 1000 FROM turn
      WHERE NOT EXISTS (SELECT FROM ${marks} WHERE mark_key = ?)
      ON CONFLICT (mark_key) DO NOTHING RETURNING fence`,
      [key, owner, fingerprint, leaseMs, key],
    )
    return row && Number(row['fence'])
  }

  async #takeOver(key: Buffer, { owner, fingerprint, leaseMs }: NewClaim): Promise<number | undefined> {
    const { marks, fences } = this.names
    const [row] = await this.session.rows(
      `WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(${this.#lockOf(key)})),
      free AS MATERIALIZED (
        SELECT m.mark_key, m.fence FROM ${marks} m, turn
        WHERE m.mark_key = ? AND m.ends_us <= ${this.now} FOR UPDATE OF m SKIP LOCKED),
      numbered AS MATERIALIZED (SELECT mark_key, fence, nextval('${fences}') AS next FROM free)
      UPDATE ${marks} m SET fence = n.next, owner = ?, fingerprint = ?, state = 0, content = NULL,
        ends_us = ${this.now} + ${this.whole} * 1000
      FROM numbered n WHERE m.mark_key = n.mark_key AND n.next > n.fence RETURNING m.fence`,
      [key, owner, fingerprint, leaseMs],
    )
    return row && Number(row['fence'])
  }

  /** Sets the sequence past a fence, and says whether that was needed. */
  async #raise(fence: number): Promise<boolean> {
    const { fences } = this.names
    const raised = await this.session.rows(
      `SELECT setval('${fences}', ${fence + leap}) FROM ${fences} WHERE last_value < ${fence} OR (last_value = ${fence} AND NOT is_called)`,
    )
    return raised.length > 0
  }

  /** A number for the key of this store, of 64 bits. Two keys with the same one only wait for each other. */
  #lockOf(key: Buffer): string {
    return `'${createHash('sha256').update(`lanemq\0${this.names.marks}\0`).update(key).digest().readBigInt64BE()}'::bigint`
  }

  async #version(): Promise<number | undefined> {
    const { meta, marks } = this.names
    const [there] = await this.session.rows(
      `SELECT to_regclass('${meta}') IS NOT NULL AS meta, to_regclass('${marks}') IS NOT NULL AS marks`,
    )
    // A table of that name that somebody else made is not to be touched.
    if (there?.['marks'] === true) await this.session.rows(`SELECT ${oldestColumns} FROM ${marks} LIMIT 0`)
    if (there?.['meta'] !== true) return undefined
    const [row] = await this.session.rows(`SELECT value FROM ${meta} WHERE name = 'version'`)
    return row && Number(row['value'])
  }

  /** Each statement may run again, so the one script makes new tables and raises old ones. */
  #script(): string {
    const { marks, inbox, meta, fences, marksIndex, inboxIndex } = this.names
    return `
      SELECT pg_advisory_xact_lock(${this.#lockOf(Buffer.from('setup'))});
      CREATE TABLE IF NOT EXISTS ${meta} (name text PRIMARY KEY, value bigint NOT NULL);
      CREATE SEQUENCE IF NOT EXISTS ${fences} AS bigint MAXVALUE ${Number.MAX_SAFE_INTEGER};
      CREATE TABLE IF NOT EXISTS ${marks} (mark_key bytea PRIMARY KEY, fence bigint NOT NULL, owner bytea NOT NULL,
        state smallint NOT NULL, content bytea, ends_us bigint);
      ALTER TABLE ${marks} ADD COLUMN IF NOT EXISTS fingerprint bytea;
      CREATE INDEX IF NOT EXISTS ${marksIndex} ON ${marks} (ends_us);
      CREATE TABLE IF NOT EXISTS ${inbox} (mark_key bytea PRIMARY KEY, content bytea, ends_us bigint);
      CREATE INDEX IF NOT EXISTS ${inboxIndex} ON ${inbox} (ends_us);
      INSERT INTO ${meta} (name, value) VALUES ('version', ${tableVersion})
        ON CONFLICT (name) DO UPDATE SET value = greatest(${meta}.value, excluded.value);`
  }
}
