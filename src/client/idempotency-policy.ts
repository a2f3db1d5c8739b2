import { hash } from 'node:crypto'
import type { Codec } from '../codec.ts'
import { idempotencyLimits, type RememberedError } from '../contracts/idempotency-store.ts'
import { exhaustedBy, type RetryPolicy } from '../dispatch/retry-policy.ts'
import { isQueueError, QueueError, type ErrorCode } from '../errors.ts'
import type { QueueEvents } from '../events.ts'
import type { Message } from '../message.ts'
import { show } from '../options.ts'

/** A message and its key. */
export type IdempotencyPlace = Pick<
  QueueEvents['message:duplicate'],
  'group' | 'topic' | 'partition' | 'offset' | 'key' | 'idempotencyKey'
>

/** A store that is away is asked again after this part of the time that it has been away so far. */
const shareOfOutage = 0.5
const shortestWaitMs = 100
const longestWaitMs = 10_000
/** A busy key is looked at this often at least: its work is mostly over long before its lease. */
const longestBusyMs = 1_000
const jitter = 0.2
/** Longest name of a group in a key; of a longer one its hash. */
const groupBytes = 512
/** Longest key that a user may give. */
const keyBytes = 500

/** How long to wait before a store that has been away for so long is asked again. */
export function waitForStore(awayMs: number, random: number): number {
  return spread(Math.min(longestWaitMs, Math.max(shortestWaitMs, awayMs * shareOfOutage)), random)
}

/** How long to wait before a key is asked for again that someone else has; never before the store said, where that is soon. */
export function waitForKey(retryAfterMs: number, random: number): number {
  return spread(Math.min(longestBusyMs, retryAfterMs), random)
}

/** Later only: who waited too short would have waited for nothing. */
function spread(ms: number, random: number): number {
  return ms * (1 + jitter * random)
}

/** The key that names a delivery of a group. Ids are unique in one store only, and stores are wiped: hence the timestamp. */
export function defaultKey({ topic, id, timestamp }: Message<unknown>): string {
  return `${topic}/${id}.${timestamp.toString(36)}`
}

/**
 * What the store is asked for.
 *
 * @throws `INVALID_OPTION` for a key that no store takes
 */
export function keyInStore(group: string, key: unknown): string {
  if (typeof key === 'string' && key !== '' && key.isWellFormed() && Buffer.byteLength(key) <= keyBytes)
    return `${groupInStore(group)}/${key}`
  throw answered('key', key, `a well-formed text of 1 to ${keyBytes} bytes`)
}

/**
 * What the store is asked for in turn, where it says that the work failed for good, and the message was sent back so often
 * since: each redrive may fail once more, and whoever succeeds under one of these keys is found by all who come later.
 */
export function keyOfRedrive(keyInStore: string, redrive: number): string {
  return `${keyInStore}\0${redrive}`
}

/** What a group is called in a store. */
export function groupInStore(group: string): string {
  return Buffer.byteLength(group) <= groupBytes ? group : hash('sha256', group, 'base64url')
}

/** @throws `INVALID_OPTION` for a fingerprint that no store takes */
export function checkFingerprint(fingerprint: unknown): string | undefined {
  if (fingerprint === undefined) return undefined
  const { nameBytes } = idempotencyLimits
  if (typeof fingerprint === 'string' && fingerprint !== '' && fingerprint.isWellFormed())
    if (Buffer.byteLength(fingerprint) <= nameBytes) return fingerprint
  throw answered('fingerprint', fingerprint, `a well-formed text of 1 to ${nameBytes} bytes, or undefined`)
}

function answered(option: string, value: unknown, allowed: string): QueueError {
  const text = `subscribe.idempotency: the function ${option} returned ${show(value)}; allowed is ${allowed}`
  return new QueueError('INVALID_OPTION', text, { option, value, allowed })
}

/** A hash of the encoded value. @throws `ENCODING_FAILED` */
export function hashOf({ topic, value }: Message<unknown>, codec: Codec<unknown>): string {
  try {
    return hash('sha256', codec.encode(value), 'base64url')
  } catch (cause) {
    const text = `the codec of topic ${topic} can't encode what it decoded: give idempotency.fingerprint`
    throw new QueueError('ENCODING_FAILED', text, { topic, cause })
  }
}

/**
 * What a handler returned, for the store; `undefined` is nothing.
 *
 * @throws `ENCODING_FAILED` for what JSON can't carry; `MESSAGE_TOO_LARGE`
 */
export function encodeResult(result: unknown, maxBytes: number): Uint8Array | undefined {
  if (result === undefined) return undefined
  const stored = Buffer.from(textOf(result))
  if (stored.byteLength <= maxBytes) return stored
  const text = `the handler returned ${stored.byteLength} bytes of JSON, and the idempotency store keeps ${maxBytes} (maxResultBytes): return less, or nothing`
  throw new QueueError('MESSAGE_TOO_LARGE', text, { option: 'result', value: stored.byteLength })
}

function textOf(result: unknown): string {
  let cause: unknown
  try {
    const text = JSON.stringify(result) as string | undefined
    if (text !== undefined) return text
  } catch (error) {
    cause = error
  }
  const text = `the handler returned ${show(result)}, which JSON can't carry to the idempotency store: return a plain value, or nothing`
  throw new QueueError('ENCODING_FAILED', text, { option: 'result', ...(cause === undefined ? {} : { cause }) })
}

/** What the handler returned then; the bytes, where others left something that is not JSON. */
export function decodeResult(stored: Uint8Array | undefined): unknown {
  if (stored === undefined) return undefined
  try {
    return JSON.parse(Buffer.from(stored).toString())
  } catch {
    return stored
  }
}

/**
 * Whether a failure is remembered: when the error says so, or when it was the last attempt of a message that is finished
 * then. One that stays unfinished (parked, or because the subscription ends) is tried again when somebody wants it.
 */
export function isForGood(policy: RetryPolicy, attempt: number, error: unknown): boolean {
  const reason = exhaustedBy(policy, attempt, error)
  if (reason !== 'attempts') return reason !== undefined
  return policy.onExhausted !== 'park-key' && policy.onExhausted !== 'stop'
}

/** What is kept of an error that a handler threw. */
export function toRemember(error: unknown): RememberedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, code } = error as unknown as Record<string, unknown>
  return { name: String(name), message: String(message), ...(typeof code === 'string' ? { code } : {}) }
}

/** The error again, as far as it was kept. */
export function remembered({ name, message, code }: RememberedError): Error {
  const error = new Error(message)
  error.name = name
  return code === undefined ? error : Object.assign(error, { code })
}

/** Someone else works on the key. */
export function busy(place: IdempotencyPlace, owner: string): QueueError {
  return aboutKey('IDEMPOTENCY_BUSY', place, `is held by ${owner}`)
}

/** The key stands for another payload. */
export function mismatch(place: IdempotencyPlace): QueueError {
  return aboutKey('IDEMPOTENCY_MISMATCH', place, 'is that of a message with another payload')
}

function aboutKey(code: ErrorCode, { idempotencyKey, key, ...place }: IdempotencyPlace, what: string): QueueError {
  const text = `the idempotency key ${idempotencyKey} of offset ${place.offset} of ${place.topic}/${place.partition} ${what}`
  const facts = { ...place, value: idempotencyKey }
  return new QueueError(code, text, key === undefined ? facts : { ...facts, key })
}

/** Someone else has taken the claim. */
export function leaseLost(key: string): QueueError {
  return new QueueError('FENCED', `the lease of the idempotency key ${key} ended, and someone else has taken it`, {
    value: key,
  })
}

/** Whether nobody waits for the outcome any more. One that was only cancelled still decides it. */
export function isOver({ aborted, reason }: AbortSignal): boolean {
  return aborted && !isQueueError(reason, 'CANCELLED')
}
