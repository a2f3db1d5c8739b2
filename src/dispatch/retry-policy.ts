import { isQueueError, isUnrecoverable, QueueError, type ExhaustedReason } from '../errors.ts'
import { show } from '../options.ts'
import { AskedRetry, delayOf, type AskedWait } from './asked-retry.ts'
import type { LeftRunning } from './delivered-entry.ts'
import { isThenable } from './deliveries.ts'

/** What becomes of a message that is not tried again. */
export type OnExhausted = 'dead-letter' | 'park-key' | 'stop' | 'skip'

/** Where a message that failed is. */
export interface FailedMessage extends LeftRunning {
  readonly group: string
}

/**
 * Chooses the wait before the next attempt, in milliseconds.
 *
 * @param error - what the handler threw
 * @param attempt - the attempt that failed, from 1
 */
export type BackoffFunction = (error: unknown, attempt: number, message: FailedMessage) => number

/** How long to wait between attempts; every field is set. */
export interface Backoff {
  /** How a single `delayMs` grows. */
  readonly type: 'fixed' | 'exponential'
  readonly delayMs: number | readonly number[] | BackoffFunction
  readonly maxDelayMs: number
  readonly jitter: number
}

/** The wait where nothing else was said. */
export const defaultBackoff: Backoff = { type: 'exponential', delayMs: 100, maxDelayMs: 30_000, jitter: 0.2 }

/** How failed messages are tried again. */
export interface RetryPolicy {
  readonly attempts: number
  readonly onExhausted: OnExhausted
  readonly backoff: Backoff
  readonly retryable: ((error: unknown) => boolean) | undefined
}

/** One failed attempt. */
export interface FailedAttempt {
  readonly attempt: number
  readonly error: unknown
  readonly message: FailedMessage
  /** Whether the handler was not called, since the stored value can't be decoded or does not satisfy the schema. */
  readonly isUnread?: boolean | undefined
  /** What the handler asked for in place of the back-off, and the time of the wall clock for it. */
  readonly asked?: { readonly wait: AskedWait; readonly now: number } | undefined
}

/** What becomes of a message whose handler failed. `fault` is what was wrong with the back-off, reported instead of the error. */
export type RetryDecision =
  | { readonly outcome: 'retry'; readonly delayMs: number; readonly fault?: QueueError }
  | { readonly outcome: 'exhausted'; readonly reason: ExhaustedReason }

/**
 * Decides after a failed attempt.
 *
 * @param random - a number in [0, 1); 0.5 means no jitter
 */
export function decideRetry(policy: RetryPolicy, failed: FailedAttempt, random: number): RetryDecision {
  const { attempt, error, isUnread, asked } = failed
  // Nothing is lost by moving it, and the next attempt would read the same bytes.
  if (isUnread && policy.onExhausted === 'dead-letter')
    return { outcome: 'exhausted', reason: isQueueError(error, 'VALIDATION_FAILED') ? 'invalid' : 'undecodable' }
  const reason = exhaustedBy(policy, attempt, error)
  if (reason !== undefined) return { outcome: 'exhausted', reason }
  if (asked !== undefined) return { outcome: 'retry', delayMs: delayOf(asked.wait, asked.now) }
  const { backoff } = policy
  if (typeof backoff.delayMs !== 'function') return { outcome: 'retry', delayMs: waitAfter(backoff, attempt, random) }
  const chosen = ask(backoff.delayMs, failed)
  if (typeof chosen === 'number') return { outcome: 'retry', delayMs: spread(backoff, chosen, random) }
  return { outcome: 'retry', delayMs: waitAfter(defaultBackoff, attempt, random), fault: chosen }
}

/** Why a message is not tried again after this attempt; undefined when it is. */
export function exhaustedBy(policy: RetryPolicy, attempt: number, error: unknown): ExhaustedReason | undefined {
  if (isUnrecoverable(error)) return 'unrecoverable'
  if (attempt >= policy.attempts) return 'attempts'
  return isRetryable(policy.retryable, error) ? undefined : 'not-retryable'
}

/** Only `false` says no: what throws, or answers later, has not said so. */
function isRetryable(retryable: RetryPolicy['retryable'], error: unknown): boolean {
  if (retryable === undefined || error instanceof AskedRetry) return true
  try {
    return silenced(retryable(error)) !== false
  } catch {
    return true
  }
}

function ask(choose: BackoffFunction, { error, attempt, message }: FailedAttempt): number | QueueError {
  let seen: string
  try {
    const delayMs = silenced(choose(error, attempt, message))
    if (typeof delayMs === 'number' && Number.isFinite(delayMs) && delayMs >= 0) return delayMs
    seen = `returned ${show(delayMs)}`
  } catch (thrown) {
    seen = `threw ${thrown instanceof Error ? thrown.message : show(thrown)}`
  }
  const allowed = 'a finite number from 0'
  const text = `subscribe.backoff: the function ${seen} after attempt ${attempt}; allowed is ${allowed}`
  return new QueueError('INVALID_OPTION', text, { ...placeOf(message), option: 'backoff', allowed, cause: error })
}

/** An answer that comes later is none, and its rejection must not end the process. */
function silenced(answer: unknown): unknown {
  if (isThenable(answer)) void Promise.resolve(answer).catch(() => {})
  return answer
}

function waitAfter(backoff: Backoff, attempt: number, random: number): number {
  const { type, maxDelayMs } = backoff
  const delayMs = backoff.delayMs as number | readonly number[]
  if (typeof delayMs !== 'number') return spread(backoff, delayMs[Math.min(attempt, delayMs.length) - 1]!, random)
  // Doubling ends long before 2 ** 1024, which is Infinity: 0 times that would be no number.
  const grown = type === 'fixed' ? delayMs : delayMs * 2 ** Math.min(attempt - 1, 64)
  return spread(backoff, Math.min(maxDelayMs, grown), random)
}

function spread({ maxDelayMs, jitter }: Backoff, delayMs: number, random: number): number {
  return Math.min(maxDelayMs, Math.min(maxDelayMs, delayMs) * (1 + jitter * (2 * random - 1)))
}

/** The facts of an error about a message. */
export function placeOf({ key, ...facts }: FailedMessage): Omit<FailedMessage, 'key'> & { key?: string } {
  return key === undefined ? facts : { ...facts, key }
}

const because = {
  attempts: '',
  unrecoverable: ', as it threw an UnrecoverableError',
  'not-retryable': ', as its error is not retryable',
  undecodable: ', as it can not be decoded',
  invalid: ', as it does not satisfy the schema',
} as const satisfies Record<ExhaustedReason, string>

/** What is told of a message that is not tried again. */
export function handlerFailed(
  message: FailedMessage,
  attempts: number,
  reason: ExhaustedReason,
  cause: unknown,
): QueueError {
  const { group, offset, topic, partition } = message
  const what = cause === undefined ? '' : `: ${cause instanceof Error ? String(cause) : show(cause)}`
  const text = `group ${group} gave up offset ${offset} of ${topic}/${partition} after ${attempts} attempts${because[reason]}${what}`
  return new QueueError('HANDLER_FAILED', text, { ...placeOf(message), ...(cause === undefined ? {} : { cause }) })
}
