import type { BeginOutcome, ClaimOutcome, RememberedError } from '../contracts/idempotency-store.ts'
import type { SqlRow, SqlSession } from './sql-client.ts'
import { states, type SqlTables } from './sql-table.ts'

/** Whose claim it is. */
export interface ClaimRow {
  readonly key: Buffer
  readonly fence: number
}

/** How a claim ends. */
export interface Mark {
  readonly state: number
  readonly content: Buffer | null
  /** NULL is for ever. */
  readonly ttlMs: number | null
}

const accepted: ClaimOutcome = Object.freeze({ outcome: 'accepted' })
const fenced: ClaimOutcome = Object.freeze({ outcome: 'fenced' })

export async function findRow({ now, names, session }: SqlTables, key: Buffer): Promise<SqlRow | undefined> {
  const [row] = await session.rows(
    `SELECT owner, fingerprint, state, content,
      CASE WHEN ends_us IS NULL OR ends_us > ${now} THEN 1 ELSE 0 END AS alive,
      CASE WHEN state = ${states.claimed} THEN ends_us - ${now} ELSE 0 END AS left_us
    FROM ${names.marks} WHERE mark_key = ?`,
    [key],
  )
  return row
}

export async function renewClaim(tables: SqlTables, { key, fence }: ClaimRow, leaseMs: number): Promise<ClaimOutcome> {
  const { now, whole, names, session } = tables
  const claim = `mark_key = ? AND fence = ? AND state = ${states.claimed}`
  const { affected } = await session.run(
    `UPDATE ${names.marks} SET ends_us = ${now} + ${whole} * 1000 WHERE ${claim}`,
    [leaseMs, key, fence],
  )
  if (affected > 0) return accepted
  // MySQL may be set to count only rows that changed.
  const rows = await session.rows(`SELECT fence FROM ${names.marks} WHERE ${claim}`, [key, fence])
  return rows.length > 0 ? accepted : fenced
}

export async function releaseClaim({ names, session }: SqlTables, { key, fence }: ClaimRow): Promise<ClaimOutcome> {
  const { affected } = await session.run(
    `DELETE FROM ${names.marks} WHERE mark_key = ? AND fence = ? AND state = ${states.claimed}`,
    [key, fence],
  )
  return affected > 0 ? accepted : fenced
}

/** Marks in a transaction of the user. */
export async function markIn(
  tables: SqlTables,
  transaction: unknown,
  claim: ClaimRow,
  mark: Mark,
): Promise<ClaimOutcome> {
  const session = tables.joined(transaction)
  // A mark that commits by itself would break what it is asked for, so it is made sure that a transaction is open.
  await tables.save(transaction, session, 'lanemq_mark')
  const outcome = await markClaim(tables, session, claim, mark)
  await session.run('RELEASE SAVEPOINT lanemq_mark')
  return outcome
}

export async function markClaim(
  { now, whole, names }: SqlTables,
  session: SqlSession,
  { key, fence }: ClaimRow,
  { state, content, ttlMs }: Mark,
): Promise<ClaimOutcome> {
  const { affected } = await session.run(
    `UPDATE ${names.marks} SET state = ?, content = ?, ends_us = ${now} + ${whole} * 1000
    WHERE mark_key = ? AND fence = ? AND state = ${states.claimed}`,
    [state, content, ttlMs, key, fence],
  )
  if (affected > 0) return accepted
  // It may have been marked so already, by a call whose answer was lost.
  const rows = await session.rows(
    `SELECT fence FROM ${names.marks} WHERE mark_key = ? AND fence = ? AND state = ?
    AND (ends_us IS NULL OR ends_us > ${now})`,
    [key, fence, state],
  )
  return rows.length > 0 ? accepted : fenced
}

export function isAlive(row: SqlRow): boolean {
  return Number(row['alive']) === 1
}

export function ownerOf(row: SqlRow | undefined): string {
  return textOf(row?.['owner'])
}

/** What someone is told who asks for a key that is not free. */
export function answerFor(row: SqlRow, asked: string | undefined): BeginOutcome {
  const fingerprint = bytesOf(row['fingerprint'])
  if (fingerprint !== undefined && asked !== undefined && asked !== textOf(fingerprint)) {
    return { outcome: 'mismatch', fingerprint: textOf(fingerprint) }
  }
  const state = Number(row['state'])
  if (state === states.done) return { outcome: 'done', result: bytesOf(row['content']) }
  if (state === states.failed) {
    return { outcome: 'failed', error: JSON.parse(textOf(row['content'])) as RememberedError }
  }
  const retryAfterMs = Math.max(1, Math.ceil(Number(row['left_us']) / 1_000))
  return { outcome: 'busy', retryAfterMs, owner: ownerOf(row) }
}

/** A copy that belongs to the caller. */
export function bytesOf(value: unknown): Uint8Array | undefined {
  return value instanceof Uint8Array ? new Uint8Array(value) : undefined
}

function textOf(bytes: unknown): string {
  return bytes instanceof Uint8Array ? Buffer.from(bytes).toString() : ''
}
