import { resolveCodec, type Codec } from '../codec.ts'
import type { RetentionSettings, StartPosition } from '../contracts/broker.ts'
import type { DispatcherSettings } from '../dispatch/dispatcher.ts'
import {
  abortSignal,
  checkGroupName,
  custom,
  decimal,
  integer,
  integerOrInfinity,
  invalid,
  isObject,
  oneOf,
  required,
  resolveOptions,
  type Field,
} from '../options.ts'
import type {
  BackoffOptions,
  BatchOptions,
  QueueOptions,
  RetentionOptions,
  SubscribeOptions,
  TopicOptions,
} from './options.ts'

const dayMs = 86_400_000

/** The fields of {@link QueueOptions}, for those who add their own. */
export const queueFields: { readonly [N in keyof QueueOptions]-?: Field<QueueOptions[N]> } = {
  maxInFlightBytes: integer(1024, 2 ** 31, 64 * 2 ** 20),
  onFull: oneOf(['wait', 'reject'] as const, 'wait'),
  maxWaitingSends: integer(1, 10_000_000, 100_000),
  tailBytes: integer(65_536, 2 ** 32, 16 * 2 ** 20),
  retentionCheckMs: integer(10, dayMs, 10_000),
  closeTimeoutMs: integer(0, dayMs, 30_000),
}

export type ResolvedQueueOptions = Required<QueueOptions>

export interface ResolvedTopicOptions<V> {
  readonly partitions: number | undefined
  readonly codec: Codec<unknown> | undefined
  readonly retention: Partial<RetentionSettings> | undefined
  readonly maxValueBytes: number
  readonly maxKeyBytes: number
  readonly maxHeadersBytes: number
  readonly maxBatchBytes: number
  readonly schema: TopicOptions<V>['schema']
  readonly validate: 'send' | 'send-and-receive'
}

const isSchema = (value: unknown): boolean =>
  // A schema may be a function with properties, as some libraries have it.
  (typeof value === 'object' || typeof value === 'function') &&
  value !== null &&
  typeof (value as { '~standard'?: { validate?: unknown } })['~standard']?.validate === 'function'

const topicFields = {
  partitions: integer(1, 4096),
  codec: custom<never>("'json', 'bytes', 'msgpack' or a codec", () => true),
  retention: custom<RetentionOptions>('an object', isObject),
  maxValueBytes: integer(1, 64 * 2 ** 20, 2 ** 20),
  maxKeyBytes: integer(1, 65_536, 1024),
  maxHeadersBytes: integer(2, 2 ** 20, 16_384),
  maxBatchBytes: integer(1024, 256 * 2 ** 20, 16 * 2 ** 20),
  schema: custom<never>('a Standard Schema', isSchema),
  validate: oneOf(['send', 'send-and-receive'] as const, 'send'),
}

export async function resolveTopicOptions<V>(given: TopicOptions<V> | undefined): Promise<ResolvedTopicOptions<V>> {
  const where = 'topic'
  const resolved = resolveOptions<TopicOptions<V>>(given, topicFields, where) as Required<TopicOptions<V>>
  return {
    ...resolved,
    partitions: resolved.partitions,
    codec: given?.codec === undefined ? undefined : await resolveCodec(given.codec as Codec<never>),
    retention: resolved.retention && resolveRetention(resolved.retention),
  }
}

export function resolveRetention(given: RetentionOptions): Partial<RetentionSettings> {
  const where = 'retention'
  const names = 'an array of at most 100 group names'
  const resolved = resolveOptions<RetentionOptions>(
    given,
    {
      maxAgeMs: integerOrInfinity(1),
      maxBytes: integerOrInfinity(1),
      consumedBy: custom<readonly string[]>(names, (value) => Array.isArray(value) && value.length <= 100),
      hardMaxBytes: integerOrInfinity(1),
    },
    where,
  )
  for (const name of resolved.consumedBy ?? []) checkGroupName(name)
  const { consumedBy, hardMaxBytes, maxBytes } = resolved
  if (hardMaxBytes !== undefined && !consumedBy?.length) {
    throw invalid(where, 'hardMaxBytes', hardMaxBytes, 'only set together with consumedBy (use maxBytes)')
  }
  if (hardMaxBytes !== undefined && maxBytes !== undefined && hardMaxBytes < maxBytes) {
    throw invalid(where, 'hardMaxBytes', hardMaxBytes, `at least maxBytes (${maxBytes})`)
  }
  return { ...resolved, ...(consumedBy ? { consumedBy: [...consumedBy] } : {}) } as Partial<RetentionSettings>
}

const isOffset = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

const positionText = `'earliest', 'latest', { offset } or { timestamp }`

export function isStartPosition(value: unknown): value is StartPosition {
  if (value === 'earliest' || value === 'latest') return true
  if (!isObject(value) || Object.keys(value).length !== 1) return false
  if ('timestamp' in value) return isOffset(value['timestamp'])
  const offset = value['offset']
  return isOffset(offset) || (Array.isArray(offset) && offset.length > 0 && offset.every(isOffset))
}

/** @throws `INVALID_OPTION` */
export function checkStartPosition(value: unknown, where: string, option: string): asserts value is StartPosition {
  if (!isStartPosition(value)) throw invalid(where, option, value, positionText)
}

export interface ResolvedSubscribeOptions {
  readonly from: StartPosition | undefined
  readonly signal: AbortSignal | undefined
  readonly dispatch: DispatcherSettings
}

const subscribeFields = {
  from: custom<StartPosition>(positionText, isStartPosition),
  ordering: oneOf(['key', 'partition', 'unordered'] as const, 'key'),
  concurrency: integer(1, 100_000, 16),
  attempts: integerOrInfinity(1, 10),
  backoff: custom<BackoffOptions>('an object', isObject),
  batch: custom<BatchOptions>('an object', isObject),
  onGap: oneOf(['error', 'skip'] as const, 'error'),
  maxBufferedMessages: integer(1, 10_000_000, 10_000),
  maxBufferedBytes: integer(65_536, 2 ** 32, 32 * 2 ** 20),
  maxDeferredMessages: integer(0, 100_000_000, 4_000_000),
  signal: abortSignal(),
}

export function resolveSubscribeOptions(group: string, given: SubscribeOptions | undefined): ResolvedSubscribeOptions {
  const where = 'subscribe'
  const resolved = resolveOptions<SubscribeOptions>(given, subscribeFields, where) as Required<SubscribeOptions>
  const { from, signal, attempts, backoff, batch, ...rest } = resolved
  return {
    from,
    signal,
    dispatch: {
      ...rest,
      group,
      retry: { attempts, ...resolveBackoff(backoff) },
      batch: batch && resolveBatch(batch),
    },
  }
}

const backoffFields = {
  type: oneOf(['fixed', 'exponential'] as const, 'exponential'),
  delayMs: decimal(0, dayMs, 100),
  maxDelayMs: decimal(0, dayMs),
  jitter: decimal(0, 1, 0.2),
}

function resolveBackoff(given: BackoffOptions | undefined): Required<BackoffOptions> {
  const where = 'subscribe.backoff'
  const resolved = resolveOptions<BackoffOptions>(given, backoffFields, where) as Required<BackoffOptions>
  const maxDelayMs = resolved.maxDelayMs ?? Math.max(30_000, resolved.delayMs)
  if (maxDelayMs < resolved.delayMs)
    throw invalid(where, 'maxDelayMs', maxDelayMs, `at least delayMs (${resolved.delayMs})`)
  return { ...resolved, maxDelayMs }
}

function resolveBatch(given: BatchOptions): Required<BatchOptions> {
  const fields = { max: required(integer(1, 100_000)), maxWaitMs: integer(0, 3_600_000, 0) }
  return resolveOptions<BatchOptions>(given, fields, 'subscribe.batch') as Required<BatchOptions>
}
