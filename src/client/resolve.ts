import { resolveCodec, type Codec } from '../codec.ts'
import type { DedupeSettings, RetentionSettings, StartPosition } from '../contracts/broker.ts'
import type { IdempotencyStore } from '../contracts/idempotency-store.ts'
import { defaultBackoff, type Backoff, type OnExhausted } from '../dispatch/retry-policy.ts'
import type { DispatcherSettings } from '../dispatch/settings.ts'
import { QueueError } from '../errors.ts'
import type { TimeLimitSettings } from '../dispatch/time-limit.ts'
import {
  abortSignal,
  checkGroupName,
  custom,
  decimal,
  flagged,
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
  DedupeOptions,
  IdempotencyOptions,
  RetentionOptions,
  SubscribeOptions,
  TopicOptions,
} from './options.ts'
import type { QueueOptions } from './queue-options.ts'
import type { IdempotencySettings } from './idempotent-handler.ts'

const dayMs = 86_400_000

/** The fields of {@link QueueOptions}, for those who add their own. */
export const queueFields: { readonly [N in keyof QueueOptions]-?: Field<QueueOptions[N]> } = {
  maxInFlightBytes: integer(1024, 2 ** 31, 64 * 2 ** 20),
  onFull: oneOf(['wait', 'reject'] as const, 'wait'),
  maxWaitingSends: integer(1, 10_000_000, 100_000),
  tailBytes: integer(65_536, 2 ** 32, 16 * 2 ** 20),
  retentionCheckMs: integer(10, dayMs, 10_000),
  closeTimeoutMs: integer(0, dayMs, 30_000),
  countCrashes: flagged(true),
}

export type ResolvedQueueOptions = Required<QueueOptions>

export interface ResolvedTopicOptions<V> {
  readonly partitions: number | undefined
  readonly codec: Codec<unknown> | undefined
  readonly retention: Partial<RetentionSettings> | undefined
  readonly dedupe: DedupeSettings | false | undefined
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
  dedupe: custom<DedupeOptions | false>('an object, or false', (value) => value === false || isObject(value)),
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
    dedupe: resolved.dedupe && resolveDedupe(resolved.dedupe),
  }
}

export function resolveDedupe(given: DedupeOptions): DedupeSettings {
  const fields = { maxCount: integer(1, 10_000_000, 100_000), maxAgeMs: integerOrInfinity(1, 120_000) }
  return resolveOptions<DedupeOptions>(given, fields, 'dedupe') as DedupeSettings
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
  readonly idempotency: IdempotencySettings | undefined
}

const subscribeFields = {
  from: custom<StartPosition>(positionText, isStartPosition),
  ordering: oneOf(['key', 'partition', 'unordered'] as const, 'key'),
  concurrency: integer(1, 100_000, 16),
  attempts: integerOrInfinity(1, 10),
  onExhausted: oneOf(['dead-letter', 'park-key', 'stop', 'skip'] as const),
  backoff: custom<NonNullable<SubscribeOptions['backoff']>>(
    'an object, an array of delays or a function',
    (value) => isObject(value) || Array.isArray(value) || typeof value === 'function',
  ),
  retryable: custom<(error: unknown) => boolean>('a function', (value) => typeof value === 'function'),
  handlerTimeoutMs: integer(1, dayMs),
  onTimeout: oneOf(['wait', 'abandon'] as const),
  ackMode: oneOf(['after', 'before'] as const, 'after'),
  batch: custom<BatchOptions>('an object', isObject),
  idempotency: custom<IdempotencyOptions>('an object', isObject),
  onGap: oneOf(['error', 'skip'] as const, 'error'),
  maxBufferedMessages: integer(1, 10_000_000, 10_000),
  maxBufferedBytes: integer(65_536, 2 ** 32, 32 * 2 ** 20),
  maxDeferredMessages: integer(0, 100_000_000, 4_000_000),
  signal: abortSignal(),
}

/** `canMove` says whether the broker can have messages moved to dead letters. */
export function resolveSubscribeOptions(
  group: string,
  given: SubscribeOptions | undefined,
  canMove = true,
): ResolvedSubscribeOptions {
  const where = 'subscribe'
  const resolved = resolveOptions<SubscribeOptions>(given, subscribeFields, where) as Required<SubscribeOptions>
  const {
    from,
    signal,
    attempts,
    onExhausted: chosen,
    backoff,
    retryable,
    handlerTimeoutMs,
    onTimeout,
    batch,
    idempotency,
    ...rest
  } = resolved
  if (rest.ackMode === 'before') checkAtMostOnce(where, given!)
  if (batch !== undefined && idempotency !== undefined)
    throw invalid(where, 'idempotency', idempotency, 'only set without batch')
  // What is finished before is never tried again; what failed under another mode still is.
  const retry =
    rest.ackMode === 'before'
      ? { attempts: Infinity, onExhausted: 'skip' as const, backoff: defaultBackoff, retryable: undefined }
      : {
          attempts,
          onExhausted: resolveOnExhausted(chosen, canMove, group),
          backoff: resolveBackoff(backoff),
          retryable,
        }
  return {
    from,
    signal,
    idempotency: idempotency && resolveIdempotency(idempotency),
    dispatch: {
      ...rest,
      group,
      retry,
      timeLimit: resolveTimeLimit(handlerTimeoutMs, onTimeout),
      batch: batch && resolveBatch(batch),
    },
  }
}

/** What says what becomes of a message that is not finished: with `ackMode: 'before'` there is none. */
const onlyAfter = ['attempts', 'backoff', 'onExhausted', 'retryable', 'idempotency', 'batch'] as const

/** @throws `INVALID_OPTION` */
function checkAtMostOnce(where: string, given: SubscribeOptions): void {
  for (const name of onlyAfter) {
    if (given[name] !== undefined) throw invalid(where, name, given[name], "only set without ackMode: 'before'")
  }
}

function resolveOnExhausted(chosen: OnExhausted | undefined, canMove: boolean, group: string): OnExhausted {
  if (chosen === 'dead-letter' && !canMove)
    throw new QueueError('UNSUPPORTED', 'subscribe: this broker moves no messages to dead letters', { group })
  return chosen ?? (canMove ? 'dead-letter' : 'park-key')
}

const delays = `a number from 0 to ${dayMs}, a non-empty array of at most 1000 of them, or a function`

const backoffFields = {
  type: oneOf(['fixed', 'exponential'] as const),
  delayMs: custom<Backoff['delayMs']>(delays, isDelay, defaultBackoff.delayMs),
  maxDelayMs: decimal(0, dayMs),
  jitter: decimal(0, 1, defaultBackoff.jitter),
}

function isDelay(value: unknown): boolean {
  if (typeof value === 'function') return true
  const isWait = (one: unknown): boolean => typeof one === 'number' && one >= 0 && one <= dayMs
  // Holes of an array are seen by `from` only.
  return Array.isArray(value)
    ? value.length > 0 && value.length <= 1_000 && Array.from(value).every(isWait)
    : isWait(value)
}

/** Never holds an array of the caller's, who may change it. */
function resolveBackoff(given: SubscribeOptions['backoff']): Backoff {
  const where = 'subscribe.backoff'
  // What is given alone is exact.
  const options = Array.isArray(given) || typeof given === 'function' ? { delayMs: given, jitter: 0 } : given
  const resolved = resolveOptions<BackoffOptions>(options, backoffFields, where) as Omit<Backoff, 'type'> & {
    readonly type?: Backoff['type']
    readonly maxDelayMs?: number
  }
  const { delayMs, jitter, type } = resolved
  if (type !== undefined && typeof delayMs !== 'number')
    throw invalid(where, 'type', type, 'only set where delayMs is a number')
  const longest = typeof delayMs === 'function' ? 0 : Math.max(...[delayMs].flat())
  const maxDelayMs = resolved.maxDelayMs ?? (typeof delayMs === 'function' ? dayMs : Math.max(30_000, longest))
  if (maxDelayMs < longest) throw invalid(where, 'maxDelayMs', maxDelayMs, `at least delayMs (${longest})`)
  return {
    type: type ?? defaultBackoff.type,
    delayMs: Array.isArray(delayMs) ? [...delayMs] : delayMs,
    maxDelayMs,
    jitter,
  }
}

function resolveTimeLimit(
  limitMs: number | undefined,
  onTimeout: 'wait' | 'abandon' | undefined,
): TimeLimitSettings | undefined {
  if (limitMs !== undefined) return { limitMs, onTimeout: onTimeout ?? 'wait' }
  if (onTimeout === undefined) return undefined
  throw invalid('subscribe', 'onTimeout', onTimeout, 'only set together with handlerTimeoutMs')
}

function resolveBatch(given: BatchOptions): Required<BatchOptions> {
  const fields = { max: required(integer(1, 100_000)), maxWaitMs: integer(0, 3_600_000, 0) }
  return resolveOptions<BatchOptions>(given, fields, 'subscribe.batch') as Required<BatchOptions>
}

const storeCalls = ['begin', 'renew', 'complete', 'fail', 'release', 'sweep', 'close']

function isIdempotencyStore(value: unknown): boolean {
  if (!isObject(value) || !isObject(value['capabilities']) || typeof value['maxResultBytes'] !== 'number') return false
  return storeCalls.every((name) => typeof value[name] === 'function')
}

const isFunction = (value: unknown): boolean => typeof value === 'function'

const idempotencyFields = {
  store: required(
    custom<IdempotencyStore>('an idempotency store, as lanemq/idempotency opens them', isIdempotencyStore),
  ),
  key: custom<never>('a function', isFunction),
  ttlMs: integerOrInfinity(1, 7 * dayMs),
  leaseMs: integer(100, dayMs, 30_000),
  fingerprint: custom<never>('a function', isFunction),
}

function resolveIdempotency(given: IdempotencyOptions): IdempotencySettings {
  return resolveOptions<IdempotencyOptions>(given, idempotencyFields, 'subscribe.idempotency') as IdempotencySettings
}
