import {
  idempotencyLimits,
  type BeginRequest,
  type IdempotencyCapabilities,
  type MarkOptions,
  type RememberedError,
} from '../contracts/idempotency-store.ts'
import { QueueError } from '../errors.ts'
import { custom, integer, integerOrInfinity, invalid, isObject, required, resolveOptions } from '../options.ts'

const { keyBytes, nameBytes, leaseMs: maxLeaseMs, errorChars } = idempotencyLimits

const where = 'idempotency store'
const name = custom<string>(`a well-formed text of 1 to ${nameBytes} bytes`, isName)
const beginFields = {
  owner: required(name),
  leaseMs: required(integer(1, maxLeaseMs)),
  fingerprint: name,
}
const ttl = integerOrInfinity(1)
const anySafe = integer(1, Number.MAX_SAFE_INTEGER)

/** @throws `INVALID_OPTION`, `MESSAGE_TOO_LARGE` */
export function checkKey(key: unknown): asserts key is string {
  if (typeof key !== 'string' || key === '' || !key.isWellFormed()) {
    throw invalid(where, 'key', key, 'a well-formed text that is not empty')
  }
  const bytes = Buffer.byteLength(key)
  if (bytes <= keyBytes) return
  throw new QueueError('MESSAGE_TOO_LARGE', `an idempotency key has ${bytes} bytes; allowed is at most ${keyBytes}`, {
    key,
    value: bytes,
  })
}

/** @throws `INVALID_OPTION` */
export function checkBegin(request: unknown): BeginRequest {
  return resolveOptions<BeginRequest>(request, beginFields, where)
}

/** @throws `INVALID_OPTION` */
export function checkLease(leaseMs: unknown): asserts leaseMs is number {
  if (!beginFields.leaseMs.accepts(leaseMs)) throw invalid(where, 'leaseMs', leaseMs, beginFields.leaseMs.allowed)
}

/** @throws `INVALID_OPTION` */
export function checkFence(fence: unknown): asserts fence is number {
  if (!anySafe.accepts(fence)) throw invalid(where, 'fence', fence, anySafe.allowed)
}

/** @throws `INVALID_OPTION` */
export function checkLimit(limit: unknown): asserts limit is number {
  if (!anySafe.accepts(limit)) throw invalid(where, 'limit', limit, anySafe.allowed)
}

/** @throws `INVALID_OPTION`; `UNSUPPORTED` for a transaction where there are none */
export function checkMark(options: unknown, { transactional }: IdempotencyCapabilities): void {
  if (!isObject(options)) throw invalid(where, 'options', options, 'an object')
  const { ttlMs, transaction } = options as unknown as MarkOptions<unknown>
  if (!ttl.accepts(ttlMs)) throw invalid(where, 'ttlMs', ttlMs, ttl.allowed)
  if (transaction === undefined || transactional) return
  throw new QueueError('UNSUPPORTED', 'this idempotency store takes part in no transaction', { option: 'transaction' })
}

/** @throws `INVALID_OPTION`, `MESSAGE_TOO_LARGE`; `UNSUPPORTED` where no results are kept */
export function checkResult(result: unknown, maxBytes: number, { results }: IdempotencyCapabilities): void {
  if (result === undefined) return
  if (!(result instanceof Uint8Array)) throw invalid(where, 'result', result, 'a Uint8Array or undefined')
  if (!results) throw new QueueError('UNSUPPORTED', 'this idempotency store keeps no results', { option: 'result' })
  const { byteLength } = result
  if (byteLength <= maxBytes) return
  const message = `a result has ${byteLength} bytes; allowed is at most ${maxBytes} (maxResultBytes)`
  throw new QueueError('MESSAGE_TOO_LARGE', message, { option: 'result', value: byteLength })
}

/**
 * What is kept of an error: its texts, well-formed and cut to their limit.
 *
 * @throws `INVALID_OPTION`
 */
export function errorToRemember(error: unknown): RememberedError {
  const isText = (value: unknown): boolean => typeof value === 'string'
  const { name, message, code } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>
  if (!isText(name) || !isText(message) || !(code === undefined || isText(code))) {
    throw invalid(where, 'error', error, 'an object with the texts name, message and perhaps code')
  }
  const kept = { name: cut(name as string), message: cut(message as string) }
  return code === undefined ? kept : { ...kept, code: cut(code as string) }
}

function cut(text: string): string {
  const whole = text.toWellFormed()
  if (whole.length <= errorChars) return whole
  // Not through the middle of a pair.
  return whole.slice(0, errorChars - 1) + whole.slice(errorChars - 1, errorChars).replace(/[\ud800-\udbff]/, '')
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= nameBytes
}
