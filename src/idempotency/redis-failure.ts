import { QueueError } from '../errors.ts'

/**
 * What a failed call on Redis means to who made it. Everything that Redis did not answer itself, a lost connection above
 * all, may be tried again, and may have taken effect.
 */
export function redisFailure(cause: unknown, prefix: string): QueueError {
  const text = cause instanceof Error ? cause.message : String(cause)
  const said = `Redis says: ${text}`
  if (/^OOM\b/.test(text)) {
    return new QueueError('STORE_FULL', `the Redis server has no memory for another claim. ${said}`, { cause })
  }
  if (/^WRONGTYPE\b/.test(text)) {
    const message = `a key that begins with {${prefix}} was not made by an idempotency store: choose another prefix. ${said}`
    return new QueueError('NOT_A_STORE', message, { option: 'prefix', value: prefix, cause })
  }
  if (/^(NOAUTH|NOPERM|WRONGPASS)\b/.test(text)) {
    return new QueueError('STORE_UNWRITABLE', `the Redis client may not do what the store needs. ${said}`, { cause })
  }
  if (/^ERR unknown command\b/i.test(text)) {
    return new QueueError('UNSUPPORTED', `the Redis server can't run scripts. ${said}`, { cause })
  }
  const message = `the Redis server did not do its part, which may succeed later: ${text || 'no connection'}`
  return new QueueError('STORE_UNREACHABLE', message, { cause })
}
