/** How failed messages are tried again; every field is set. */
export interface RetryPolicy {
  readonly attempts: number
  readonly type: 'fixed' | 'exponential'
  readonly delayMs: number
  readonly maxDelayMs: number
  readonly jitter: number
}

/** What becomes of a message whose handler failed. Later outcomes (dead letter, park, skip) join here. */
export type RetryDecision = { readonly outcome: 'retry'; readonly delayMs: number } | { readonly outcome: 'stop' }

/**
 * Decides after a failed attempt.
 *
 * @param attempt - the attempt that failed, from 1
 * @param random - a number in [0, 1); 0.5 means no jitter
 */
export function decideRetry(policy: RetryPolicy, attempt: number, random: number): RetryDecision {
  if (attempt >= policy.attempts) return { outcome: 'stop' }
  // Doubling ends long before 2 ** 1024, which is Infinity: 0 times that would be no number.
  const grown = policy.type === 'fixed' ? policy.delayMs : policy.delayMs * 2 ** Math.min(attempt - 1, 64)
  const delayMs = Math.min(policy.maxDelayMs, grown)
  return { outcome: 'retry', delayMs: Math.min(policy.maxDelayMs, delayMs * (1 + policy.jitter * (2 * random - 1))) }
}
