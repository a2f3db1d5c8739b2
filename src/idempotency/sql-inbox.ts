import type { SqlSession } from './sql-client.ts'
import { bytesOf } from './sql-marks.ts'
import type { SqlTables } from './sql-table.ts'

/** How an entry of the inbox is kept. */
export interface InboxOptions {
  /**
   * How long the entry is kept, on the clock of the database, counted from this call; from 1, or `Infinity` until it is
   * removed by hand. After that **a repeat is worked on again**.
   */
  readonly ttlMs: number
}

/**
 * The answer of {@link SqlInbox.once}.
 *
 * - `fresh`: the effect was run now, and `result` is what it returned
 * - `repeated`: it was run by an earlier transaction that committed, or earlier in this one; `result` is what that left
 */
export interface InboxOutcome {
  readonly outcome: 'fresh' | 'repeated'
  readonly result: Uint8Array | undefined
}

/**
 * The inbox form: a row for each key that was worked on, in a transaction of the user. See
 * {@link SqlIdempotencyStore.inbox}.
 */
export interface SqlInbox {
  /**
   * Runs the effect unless a transaction that committed did so under this key. The row of the key and what the effect
   * changed in this transaction commit together or not at all.
   *
   * When the effect rejects, its changes and the row are taken back to where this call began, and the error is passed on:
   * the transaction may go on or be rolled back.
   *
   * While another transaction works on the same key, this call waits until it ends; how long at most is a setting of the
   * database. Calls on one transaction come one after the other; an effect may make further ones under other keys.
   *
   * @throws `INVALID_OPTION` when no transaction is open; `MESSAGE_TOO_LARGE` for a key or result over its limit;
   * `STORE_LOCKED`, retriable, when the database gave the transaction up or waited for too long: roll back and run the
   * whole transaction again
   */
  once(key: string, effect: () => Promise<Uint8Array | undefined | void>, options: InboxOptions): Promise<InboxOutcome>
}

/** Names of savepoints differ within a process, or MySQL would take an inner one for the outer one. */
let savepoints = 0

/** What the inbox does around an effect; rejects with the errors of the driver, and with those of the effect. */
export async function runOnce(
  tables: SqlTables,
  transaction: unknown,
  key: Buffer,
  ttlMs: number | null,
  effect: () => Promise<Uint8Array | undefined>,
): Promise<InboxOutcome> {
  const session = tables.joined(transaction)
  const savepoint = `lanemq_once_${++savepoints}`
  await tables.save(transaction, session, savepoint)
  const found = await claimIn(tables, session, key, ttlMs)
  if (found !== undefined) {
    await session.run(`RELEASE SAVEPOINT ${savepoint}`)
    return { outcome: 'repeated', result: found.result }
  }
  try {
    const result = await effect()
    if (result !== undefined) {
      const bytes = Buffer.from(result)
      await session.run(`UPDATE ${tables.names.inbox} SET content = ? WHERE mark_key = ?`, [bytes, key])
    }
    await session.run(`RELEASE SAVEPOINT ${savepoint}`)
    return { outcome: 'fresh', result: bytesOf(result) }
  } catch (error) {
    // Where even this fails, the connection or the transaction is gone, and the row with it.
    await session.run(`ROLLBACK TO SAVEPOINT ${savepoint}`).catch(() => {})
    throw error
  }
}

/** Takes the key for this transaction, or finds what an earlier one left. */
async function claimIn(
  tables: SqlTables,
  session: SqlSession,
  key: Buffer,
  ttlMs: number | null,
): Promise<{ result: Uint8Array | undefined } | undefined> {
  const { now, whole, latest } = tables
  const { inbox } = tables.names
  for (;;) {
    if (await tables.insert(session, key, ttlMs)) return undefined
    const [row] = await session.rows(
      `SELECT content, CASE WHEN ends_us <= ${now} THEN 1 ELSE 0 END AS ended FROM ${inbox} WHERE mark_key = ? ${latest}`,
      [key],
    )
    // It was swept meanwhile.
    if (row === undefined) continue
    if (Number(row['ended']) === 0) return { result: bytesOf(row['content']) }
    const { affected } = await session.run(
      `UPDATE ${inbox} SET content = NULL, ends_us = ${now} + ${whole} * 1000 WHERE mark_key = ? AND ends_us <= ${now}`,
      [ttlMs, key],
    )
    if (affected > 0) return undefined
  }
}
