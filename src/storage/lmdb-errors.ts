import os from 'node:os'

/** A commit that fails in lmdb rejects without a reason; the reason arrives in a promise on the error. */
interface CommitError extends Error {
  readonly commitError?: Promise<unknown>
}

/**
 * The reason behind a failed commit, with the system's name of it as `code`.
 *
 * A short write, which is how a full disk or a file size limit shows, arrives as EIO: `roomLeft` tells them apart.
 */
export async function reasonOf(error: unknown, roomLeft: () => boolean): Promise<unknown> {
  const later = (error as CommitError | undefined)?.commitError
  const reason = later === undefined ? error : await later.catch((cause: unknown) => cause)
  const name = errorName(reason)
  if (name === undefined) return reason
  const code = name === 'EIO' && !roomLeft() ? 'ENOSPC' : name
  const message = reason instanceof Error ? reason.message : String(reason)
  return Object.assign(new Error(`${message} (${code})`, { cause: reason }), { code })
}

/** lmdb reports the system's errors as numbers. */
function errorName(reason: unknown): string | undefined {
  const code = (reason as { code?: unknown } | undefined)?.code
  if (typeof code !== 'number' || code <= 0) return undefined
  return Object.entries(os.constants.errno).find(([, number]) => number === code)?.[0]
}
