import { QueueError } from '../errors.ts'

const refusals: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS'])
const placeErrors: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENAMETOOLONG'])
const fullDisk: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** The system's code of an error, such as `ENOSPC`. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : undefined
}

/** Whether the file system, a quota or a file size limit had no room left. */
export function isFullDisk(error: unknown): boolean {
  return fullDisk.has(systemCode(error) ?? '')
}

/** The typed form of an error that the file system gave while we tried to `doing` at `path`. */
export function unwritable(error: unknown, path: string, doing: string): QueueError {
  if (error instanceof QueueError) return error
  const code = systemCode(error) ?? 'unknown error'
  const facts = { path, cause: error }
  if (isFullDisk(error)) {
    return new QueueError('STORE_FULL', `no room to ${doing} at ${path} (${code}): free some disk space`, facts)
  }
  if (refusals.has(code)) {
    const advice = code === 'EROFS' ? 'the file system is read-only' : 'this user may not write there'
    return new QueueError('STORE_UNWRITABLE', `could not ${doing} at ${path} (${code}): ${advice}`, facts)
  }
  const advice = placeErrors.has(code) ? 'it must be a directory whose parent exists' : 'see cause'
  return new QueueError('STORE_UNWRITABLE', `could not ${doing} at ${path} (${code}): ${advice}`, facts)
}
