import { realRuntime } from '../runtime/real-runtime.ts'
import {
  openMemoryIdempotencyStore as openIn,
  type MemoryIdempotencyOptions,
  type MemoryIdempotencyStore,
} from './memory-store.ts'

export {
  idempotencyLimits,
  type BeginOutcome,
  type BeginRequest,
  type ClaimOutcome,
  type IdempotencyCapabilities,
  type IdempotencyStore,
  type LocalClaim,
  type LocalMarks,
  type LocalOutcome,
  type MarkOptions,
  type PlaceMarks,
  type RememberedError,
  type SweepOutcome,
} from '../contracts/idempotency-store.ts'
export type { CommitPart } from '../contracts/commit-part.ts'
export type { EnvironmentOwner, Joinable } from '../contracts/environment.ts'
export { openLmdbIdempotencyStore, type LmdbIdempotencyOptions, type LmdbIdempotencyStore } from './lmdb-store.ts'
export type { MemoryIdempotencyOptions, MemoryIdempotencyStats, MemoryIdempotencyStore } from './memory-store.ts'
export type { IoredisClient, NodeRedisClient, NodeRedisEvalOptions, RedisClient } from './redis-client.ts'
export { openRedisIdempotencyStore, type RedisIdempotencyOptions, type RedisIdempotencyStore } from './redis-store.ts'
export type {
  MysqlCallbackClient,
  MysqlClient,
  MysqlConnection,
  MysqlLentConnection,
  MysqlPool,
  MysqlStatement,
  PostgresClient,
  SqlDialect,
  SqliteDatabase,
  SqliteStatement,
  SqlTransaction,
} from './sql-client.ts'
export type { InboxOptions, InboxOutcome, SqlInbox } from './sql-inbox.ts'
export {
  openSqlIdempotencyStore,
  type SqlIdempotencyOptions,
  type SqlIdempotencyStore,
  type SqlStoreSettings,
} from './sql-store.ts'

/**
 * Remembers in this process what was done, and forgets it with the process.
 *
 * @throws `INVALID_OPTION` for an unknown option or one out of range
 */
export function openMemoryIdempotencyStore(options?: MemoryIdempotencyOptions): MemoryIdempotencyStore {
  return openIn(realRuntime, options)
}
