/** When a message that failed is to be handed out again, instead of the back-off: at a time of the wall clock, or after a wait. */
export type AskedWait = { readonly at: number } | { readonly delayMs: number }

/** Longest wait that may be asked for, in milliseconds. */
export const longestAskedDelayMs = 86_400_000

/** Latest time that may be asked for: the last one that a date can hold. */
export const latestTime = 8.64e15

/** A wait as it is stored with the failure: what was asked for is kept whatever the back-off allows. */
export type WaitKind = 'at' | 'delay' | undefined

/**
 * What a message fails with whose handler asked for another attempt and then returned; it is never asked whether it is
 * retryable. Where the handler throws, its own error stays.
 */
export class AskedRetry extends Error {
  override readonly name = 'AskedRetry'
  readonly wait: AskedWait

  constructor(wait: AskedWait) {
    super('another attempt was asked for')
    this.wait = wait
  }
}

/** How long a message waits that was asked to, in milliseconds. */
export function delayOf(wait: AskedWait, now: number): number {
  return 'at' in wait ? Math.max(0, wait.at - now) : wait.delayMs
}
