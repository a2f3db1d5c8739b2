import { QueueError } from '../errors.ts'
import { isFullDisk, systemCode } from './fs-errors.ts'

/**
 * The error of a store that stopped itself. `unknown` is the number of commits whose outcome nobody can tell: the system
 * may report a failed write after the data reached the disk.
 */
export function storeFailed(path: string, cause: unknown, unknown: number): QueueError {
  const full = isFullDisk(cause)
  const reason = full
    ? `there is no room on the disk (${systemCode(cause)})`
    : cause instanceof Error
      ? cause.message.replace(/\.$/, '')
      : String(cause)
  const outcome =
    unknown === 0 ? '' : `; the outcome of ${unknown} commit(s) is unknown: each is stored wholly or not at all`
  const advice = full
    ? 'free some space, then close this queue and open it again'
    : 'restart the process and open it again'
  return new QueueError('STORE_FAILED', `the store at ${path} stopped: ${reason}${outcome}; ${advice}`, {
    path,
    count: unknown,
    cause,
  })
}

/** The error of a call on a store that was closed. */
export function storeClosed(path: string): QueueError {
  return new QueueError('CLOSED', `the store at ${path} has been closed`, { path })
}
