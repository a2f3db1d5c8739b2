import type {
  BeginOutcome,
  BeginRequest,
  ClaimOutcome,
  IdempotencyCapabilities,
  IdempotencyStore,
  MarkOptions,
  RememberedError,
  SweepOutcome,
} from '../contracts/idempotency-store.ts'
import { QueueError } from '../errors.ts'
import { custom, integer, invalid, oneOf, required, resolveOptions } from '../options.ts'
import { realRuntime } from '../runtime/real-runtime.ts'
import {
  checkBegin,
  checkFence,
  checkKey,
  checkLease,
  checkLimit,
  checkMark,
  checkResult,
  errorToRemember,
} from './claim-arguments.ts'
import {
  checkClient,
  where,
  type MysqlClient,
  type PostgresClient,
  type SqlDialect,
  type SqliteDatabase,
  type SqlTransaction,
} from './sql-client.ts'
import { errorOf, failureOf } from './sql-failure.ts'
import { runOnce, type InboxOptions, type InboxOutcome, type SqlInbox } from './sql-inbox.ts'
import {
  answerFor,
  findRow,
  isAlive,
  markClaim,
  markIn,
  ownerOf,
  releaseClaim,
  renewClaim,
  type ClaimRow,
  type Mark,
} from './sql-marks.ts'
import { MysqlTables } from './sql-mysql.ts'
import { PostgresTables } from './sql-postgres.ts'
import { SqliteTables } from './sql-sqlite.ts'
import { isTableName, namesOf, states, tableAllowed, type SqlTables, type SweptTable } from './sql-table.ts'

/** Which database an idempotency store uses, and how. */
export type SqlIdempotencyOptions = SqlStoreSettings &
  (
    | {
        readonly dialect: 'postgres'
        /** A `Pool` of `pg`; a `Client` works as well, but does not come back after a lost connection. */
        readonly client: PostgresClient
      }
    | {
        readonly dialect: 'mysql'
        /** A pool of `mysql2`; a connection works as well, but does not come back when it is lost, and does one call at a time. */
        readonly client: MysqlClient
      }
    | {
        readonly dialect: 'sqlite'
        /** A database of `better-sqlite3` or `node:sqlite`, for the store alone: the application's transactions need another. */
        readonly client: SqliteDatabase
      }
  )

/** Settings of an idempotency store in SQL, whatever the database. */
export interface SqlStoreSettings {
  /**
   * Name of the table, perhaps after a schema and a dot; two others are named after it, and in PostgreSQL a sequence. It
   * is quoted, so case counts. @defaultValue `'lanemq_idempotency'`
   */
  readonly table?: string
  /** Longest result, in bytes, from 0 to 4194304. @defaultValue `65_536` (64 KiB) */
  readonly maxResultBytes?: number
}

type Resolved = Required<SqlStoreSettings> & { readonly dialect: SqlDialect; readonly client: unknown }

const fields = {
  dialect: required(oneOf<SqlDialect>(['postgres', 'mysql', 'sqlite'])),
  client: required(custom<unknown>('a client', () => true)),
  table: custom<string>(tableAllowed, isTableName, 'lanemq_idempotency'),
  maxResultBytes: integer(0, 4_194_304, 65_536),
}

/** Rows that one statement of a sweep removes: others wait for it at the most. */
const sweepSlice = 500
/** How often a call is made when others came in between. */
const attempts = 20
/** How often `begin` looks at a key that changes under its hands. */
const looks = 4
/** What `begin` says of a key whose row is locked at the moment: the end of a transaction is not known. */
const lockedRetryMs = 50

/**
 * Remembers in a table of PostgreSQL, MySQL, MariaDB or SQLite what was done, for all processes that use that table.
 * Nothing is sent before the first call on the store; {@link SqlIdempotencyStore.setup} makes the table.
 *
 * @throws `INVALID_OPTION` for an unknown option, a wrong one, or a client of another driver
 */
export function openSqlIdempotencyStore(options: SqlIdempotencyOptions): SqlIdempotencyStore {
  const resolved = resolveOptions<Resolved>(options, fields, where)
  checkClient(resolved.dialect, resolved.client)
  return new SqlIdempotencyStore(resolved)
}

/**
 * {@link IdempotencyStore} in a database by SQL, in two forms.
 *
 * **The lease form** is the contract. A claim is a row with a lease; it ends by `complete` or `fail`.
 * - With {@link MarkOptions.transaction} the mark commits with the effect, or neither does. What remains: a crash before
 *   that commit lets the work begin again when the lease ends, with nothing of it left in the database. A `fenced` answer
 *   in a transaction means that someone else has the key: **roll back**.
 * - Without it a crash between effect and mark leaves the effect alone, and it is done again when the lease ends. The same
 *   goes for effects outside of the database, whatever is chosen.
 *
 * **The inbox form**, {@link SqlIdempotencyStore.inbox}, has no leases: a row in the user's own transaction, which makes
 * others wait. No crash falls between row and effect. What remains: effects outside of the database, as above, and a
 * repeat that arrives after the row's time.
 *
 * In both forms a crash between the commit and the acknowledgement of the message brings the message again, and it finds
 * its mark.
 *
 * **Time** is the server's; in SQLite, which has none, the wall clock of the machine as SQLite reads it: the one clock
 * that all processes with the file share and that goes on over a restart. Where it is set, leases and marks end earlier
 * or later by as much.
 *
 * **Errors.** A call whose connection was lost rejects with `STORE_UNREACHABLE`, retriable; it may have taken effect,
 * and can be made again. The store recovers with the next connection that the pool opens. Deadlocks and failed
 * serializations are tried again inside, except in a transaction of the user; `STORE_LOCKED`, retriable, says that it
 * did not help. `NOT_A_STORE` says that {@link SqlIdempotencyStore.setup} was not called.
 */
export class SqlIdempotencyStore implements IdempotencyStore<SqlTransaction> {
  readonly capabilities: IdempotencyCapabilities = Object.freeze({ durable: true, results: true, transactional: true })
  readonly maxResultBytes: number
  readonly #tables: SqlTables
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  /** @internal Use {@link openSqlIdempotencyStore}. */
  constructor({ dialect, client, table, maxResultBytes }: Resolved) {
    const names = namesOf(dialect, table)
    this.maxResultBytes = maxResultBytes
    if (dialect === 'postgres') this.#tables = new PostgresTables(client as PostgresClient, names)
    else if (dialect === 'mysql') this.#tables = new MysqlTables(client as MysqlClient, names)
    else this.#tables = new SqliteTables(client as SqliteDatabase, names)
  }

  /**
   * Makes the tables where there are none, and brings those of an older release up to date; does nothing else. Several
   * processes may call it at once. In production the user of the database may lack the right to make tables: then it is
   * called once, by one who has it.
   *
   * @throws `STORE_VERSION` for tables of a newer release; `NOT_A_STORE` when the table belongs to something else
   */
  async setup(): Promise<void> {
    this.#checkOpen()
    await this.#own(() => this.#tables.setup())
  }

  async begin(key: string, request: BeginRequest): Promise<BeginOutcome> {
    this.#checkOpen()
    checkKey(key)
    const { owner, leaseMs, fingerprint } = checkBegin(request)
    const print = fingerprint === undefined ? null : Buffer.from(fingerprint)
    const claim = { owner: Buffer.from(owner), fingerprint: print, leaseMs }
    const bytes = Buffer.from(key)
    return this.#own(async () => {
      let row = this.#tables.looksFirst ? await findRow(this.#tables, bytes) : undefined
      for (let look = 0; look < looks; look++) {
        if (row !== undefined && isAlive(row)) return answerFor(row, fingerprint)
        const fence = await this.#tables.acquire(bytes, claim, row !== undefined)
        if (fence !== undefined) return { outcome: 'acquired', fence }
        row = await findRow(this.#tables, bytes)
      }
      if (row !== undefined && isAlive(row)) return answerFor(row, fingerprint)
      return { outcome: 'busy', retryAfterMs: lockedRetryMs, owner: ownerOf(row) }
    })
  }

  async renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome> {
    const bytes = this.#checkClaim(key, fence)
    checkLease(leaseMs)
    return this.#own(() => renewClaim(this.#tables, { key: bytes, fence }, leaseMs))
  }

  async complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    options: MarkOptions<SqlTransaction>,
  ): Promise<ClaimOutcome> {
    const bytes = this.#checkClaim(key, fence)
    checkMark(options, this.capabilities)
    checkResult(result, this.maxResultBytes, this.capabilities)
    const content = result === undefined ? null : Buffer.from(result)
    return this.#mark({ key: bytes, fence }, { state: states.done, content, ttlMs: ttlOf(options) }, options)
  }

  async fail(
    key: string,
    fence: number,
    error: RememberedError,
    options: MarkOptions<SqlTransaction>,
  ): Promise<ClaimOutcome> {
    const bytes = this.#checkClaim(key, fence)
    checkMark(options, this.capabilities)
    const content = Buffer.from(JSON.stringify(errorToRemember(error)))
    return this.#mark({ key: bytes, fence }, { state: states.failed, content, ttlMs: ttlOf(options) }, options)
  }

  async release(key: string, fence: number): Promise<ClaimOutcome> {
    const bytes = this.#checkClaim(key, fence)
    return this.#own(() => releaseClaim(this.#tables, { key: bytes, fence }))
  }

  /**
   * Removes at most `limit` marks, claims and entries of the inbox whose time is over, in slices of a few hundred rows,
   * each a transaction of its own. Rows that others have locked are left for another time.
   */
  async sweep(limit: number): Promise<SweepOutcome> {
    this.#checkOpen()
    checkLimit(limit)
    return this.#watched(this.#sweep(limit))
  }

  /**
   * The inbox form, in a transaction that the user has begun on a connection of his own and ends himself:
   *
   * ```ts
   * await client.query('BEGIN')
   * const { result } = await store.inbox(client).once(message.id, async () => {
   *   await client.query('UPDATE accounts SET ...')
   * }, { ttlMs: 7 * 86_400_000 })
   * await client.query('COMMIT')
   * ```
   *
   * Where two transactions work on one key, the later one waits:
   * - PostgreSQL: until the first ends; then it finds the row, or works itself when the first rolled back. At REPEATABLE
   *   READ and SERIALIZABLE it is refused when the first committed (`STORE_LOCKED`: run the transaction again).
   * - MySQL and MariaDB: the same, at every isolation level, up to `innodb_lock_wait_timeout` (then `STORE_LOCKED`).
   * - SQLite has one writer for the whole file: the second waits as long as its busy timeout, which holds up the process,
   *   then it is refused with `STORE_LOCKED`.
   *
   * @throws `INVALID_OPTION` for a pool, a client of another driver, or where the driver says that no transaction is open
   */
  inbox(transaction: SqlTransaction): SqlInbox {
    this.#checkOpen()
    this.#tables.joined(transaction)
    return { once: (key, effect, options) => this.#once(transaction, key, effect, options) }
  }

  /** Waits for calls under way. The client stays open: it is the application's. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
  }

  async #once(
    transaction: SqlTransaction,
    key: string,
    effect: () => Promise<Uint8Array | undefined | void>,
    options: InboxOptions,
  ): Promise<InboxOutcome> {
    this.#checkOpen()
    checkKey(key)
    if (typeof effect !== 'function') throw invalid(where, 'effect', effect, 'a function')
    checkMark(options, this.capabilities)
    const ttlMs = ttlOf(options)
    let ofEffect: { error: unknown } | undefined
    const run = async (): Promise<Uint8Array | undefined> => {
      try {
        const result = (await effect()) ?? undefined
        checkResult(result, this.maxResultBytes, this.capabilities)
        return result
      } catch (error) {
        ofEffect = { error }
        throw error
      }
    }
    try {
      return await this.#watched(runOnce(this.#tables, transaction, Buffer.from(key), ttlMs, run))
    } catch (error) {
      // What the user's own code threw is the user's.
      throw ofEffect?.error === error && ofEffect !== undefined ? error : this.#errorOf(error)
    }
  }

  async #mark(claim: ClaimRow, mark: Mark, { transaction }: MarkOptions<SqlTransaction>): Promise<ClaimOutcome> {
    const tables = this.#tables
    if (transaction === undefined) return this.#own(() => markClaim(tables, tables.session, claim, mark))
    try {
      return await this.#watched(markIn(tables, transaction, claim, mark))
    } catch (error) {
      throw this.#errorOf(error)
    }
  }

  async #sweep(limit: number): Promise<SweepOutcome> {
    let removed = 0
    for (const table of ['marks', 'inbox'] satisfies SweptTable[]) {
      for (;;) {
        const slice = Math.min(limit - removed, sweepSlice)
        if (slice === 0) return { removed, more: true }
        const count = await this.#own(() => this.#tables.sweep(table, slice))
        removed += count
        if (count < slice) break
        await later()
      }
    }
    return { removed, more: removed === limit }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new QueueError('CLOSED', 'the idempotency store is closed')
  }

  #checkClaim(key: string, fence: number): Buffer {
    this.#checkOpen()
    checkKey(key)
    checkFence(fence)
    return Buffer.from(key)
  }

  /** Makes a call on the store's own client, again where others came in between. */
  #own<T>(call: () => Promise<T>): Promise<T> {
    return this.#watched(this.#tryAgain(call))
  }

  async #tryAgain<T>(call: () => Promise<T>): Promise<T> {
    const { dialect } = this.#tables
    for (let attempt = 1; ; attempt++) {
      try {
        return await call()
      } catch (error) {
        const failure = failureOf(dialect, error)
        // Servers wait for locks themselves, for as long as they are set to.
        const mayPass = failure === 'conflict' || (failure === 'locked' && dialect === 'sqlite')
        if (!mayPass || attempt === attempts) throw this.#errorOf(error)
      }
      await pause(Math.min(2 ** attempt, 100) * (0.5 + realRuntime.random('idempotency conflict')))
    }
  }

  #errorOf(error: unknown): unknown {
    return errorOf(this.#tables.dialect, this.#tables.names.given, error)
  }

  /** For {@link SqlIdempotencyStore.close}, which waits for it. */
  async #watched<T>(call: Promise<T>): Promise<T> {
    this.#underWay.add(call)
    try {
      return await call
    } finally {
      this.#underWay.delete(call)
    }
  }
}

/** NULL is never. */
function ttlOf({ ttlMs }: { readonly ttlMs: number }): number | null {
  return ttlMs === Infinity ? null : ttlMs
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void realRuntime.timer(ms, 'idempotency conflict', resolve))
}

function later(): Promise<void> {
  return new Promise((resolve) => realRuntime.later('idempotency sweep', resolve))
}
