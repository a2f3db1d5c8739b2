import { isQueueError } from '../errors.ts'

/** How long a message waits whose effects were refused because the store is full, in milliseconds. */
const fullDelayMs = 1_000
/** As long as this, drawn at random, after a conflict: so that those who met once don't meet for ever. */
const conflictDelayMs = 5

/**
 * Thrown in place of a handler's error: the message is handed out again after a while, and the attempt does not count. Its
 * handler did not fail; something that it needs was not to be had.
 */
export class Deferral extends Error {
  override readonly name = 'Deferral'
  /** How long the message waits at least, in milliseconds. */
  readonly delayMs: number

  constructor(delayMs: number, cause: unknown) {
    super('the message is handed out again later', { cause })
    this.delayMs = delayMs
  }
}

/**
 * What a message fails with whose effects were refused. A conflict, or a store that is full, is no fault of its handler.
 *
 * @param random - a number in [0, 1)
 */
export function deferred(error: unknown, random: number): unknown {
  if (isQueueError(error, 'CONFLICT')) return new Deferral(random * conflictDelayMs, error)
  if (isQueueError(error, 'STORE_FULL')) return new Deferral(fullDelayMs, error)
  return error
}
