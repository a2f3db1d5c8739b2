import { QueueError } from '../errors.ts'
import { isFullDisk, systemCode } from './fs-errors.ts'

/**
 * The error of a store that stopped itself. `commits` is the number of those that it could not settle. Unless nothing of
 * them was `handed` to the system their outcome is unknown: a failed write may have reached the disk.
 */
export function storeFailed(path: string, cause: unknown, commits: number, handed: boolean): QueueError {
  const reason = isFullDisk(cause) ? `there is no room on the disk (${systemCode(cause)})` : words(cause)
  const outcome = handed
    ? `the outcome of ${commits} commit(s) is unknown, each is stored wholly or not at all`
    : `${commits} commit(s) were not written`
  // After a failed write the native library is in no state to be trusted, see docs/decisions/0003.
  const advice = handed
    ? 'restart the process and open it again'
    : 'free some space, then close this queue and open it again'
  return new QueueError('STORE_FAILED', `the store at ${path} stopped: ${reason}; ${outcome}; ${advice}`, {
    path,
    count: commits,
    cause,
  })
}

function words(cause: unknown): string {
  return cause instanceof Error ? cause.message.replace(/\.$/, '') : String(cause)
}

/** The error of a call on a store that was closed. */
export function storeClosed(path: string): QueueError {
  return new QueueError('CLOSED', `the store at ${path} has been closed`, { path })
}
