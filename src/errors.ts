/**
 * Every code that an error of this package can carry, and whether the same call may succeed later without a change.
 *
 * Codes change only in a major version; messages may change at any time, so match on `code`.
 */
export const errorCodes = {
  INVALID_OPTION: { retriable: false, meaning: 'an option is unknown, missing, of the wrong type or out of range' },
  INVALID_NAME: {
    retriable: false,
    meaning: 'a topic, group, store or producer name is empty, too long or has forbidden characters',
  },
  INVALID_MESSAGE: {
    retriable: false,
    meaning: 'a message has an unknown field, or a key, value or header of the wrong type',
  },
  MESSAGE_TOO_LARGE: { retriable: false, meaning: 'a key, value, header set or batch is over its limit' },
  ENCODING_FAILED: { retriable: false, meaning: 'the codec cannot carry the value' },
  DECODING_FAILED: { retriable: false, meaning: 'stored bytes are not what the codec expects' },
  VALIDATION_FAILED: { retriable: false, meaning: 'the value does not satisfy the schema of the topic' },
  CLOSED: { retriable: false, meaning: 'the queue, topic, subscription or producer has been closed' },
  ABORTED: { retriable: false, meaning: 'the signal passed to the call was aborted' },
  CANCELLED: { retriable: false, meaning: 'the handler call was cancelled with `subscription.cancel()`' },
  TOPIC_NOT_FOUND: { retriable: false, meaning: 'no topic has that name' },
  TOPIC_CONFLICT: { retriable: false, meaning: 'the topic exists with other settings' },
  TOPIC_DELETED: { retriable: false, meaning: 'the topic was deleted while it was in use' },
  GROUP_NOT_FOUND: { retriable: false, meaning: 'no consumer group has that name' },
  GROUP_CONFLICT: { retriable: false, meaning: 'the group exists with other topics, or still has members' },
  OFFSET_OUT_OF_RANGE: { retriable: false, meaning: 'the offset or partition does not exist' },
  GAP: { retriable: false, meaning: 'retention removed messages that the group had not finished' },
  FENCED: { retriable: false, meaning: 'the partition, lane, producer name or store now belongs to someone else' },
  IDEMPOTENCY_BUSY: { retriable: true, meaning: 'someone else works on the idempotency key of a message' },
  IDEMPOTENCY_MISMATCH: {
    retriable: false,
    meaning: 'a message has the idempotency key of another one, and another payload',
  },
  HANDLER_FAILED: {
    retriable: false,
    meaning: 'a handler used up its attempts, or its error is not to be tried again',
  },
  HANDLER_TIMEOUT: { retriable: true, meaning: 'a handler was not done within `handlerTimeoutMs`' },
  SENDS_FAILED: { retriable: false, meaning: 'some of the sends that a flush waited for failed; each has its error' },
  PROCESS_ENDED: {
    retriable: false,
    meaning: 'the process ended while the handler ran alone, which counts as a failed attempt',
  },
  CONFLICT: { retriable: true, meaning: 'state that a transaction read was changed before it could commit' },
  TRANSACTION_ENDED: {
    retriable: false,
    meaning: 'a transaction, or the context of a handler, was used after its end',
  },
  PREPARED_ENDED: {
    retriable: false,
    meaning: 'a prepared message was committed, rolled back or dead-lettered before',
  },
  PREPARED_FULL: { retriable: true, meaning: 'a producer has as many messages or bytes prepared as it may' },
  TRANSACTION_NESTED: { retriable: false, meaning: 'a transaction was begun inside of another one' },
  IN_FLIGHT_FULL: { retriable: true, meaning: 'too many bytes or senders wait for the disk' },
  STORE_FULL: {
    retriable: true,
    meaning: 'free disk space is below the reserve, or an idempotency store holds as many claims as it can',
  },
  STORE_LOCKED: { retriable: true, meaning: 'another process or thread owns the store' },
  STORE_UNREACHABLE: {
    retriable: true,
    meaning: 'the server of an idempotency store did not do its part for now; what was asked may have been done',
  },
  STORE_FAILED: {
    retriable: false,
    meaning: 'a commit failed or was overdue: the store stopped, its outcome is unknown',
  },
  STORE_CORRUPT: { retriable: false, meaning: 'the data file or a record batch is damaged' },
  NOT_A_STORE: { retriable: false, meaning: 'the directory, file, table or key was not made by this package' },
  STORE_VERSION: { retriable: false, meaning: 'the store was written by a newer format version' },
  STORE_OPTIONS: { retriable: false, meaning: 'the store was written with other storage settings' },
  STORE_UNWRITABLE: {
    retriable: false,
    meaning: 'the directory or database cannot be written: permission, or it is read-only',
  },
  UNSUPPORTED: { retriable: false, meaning: 'this broker, platform or file system cannot do what was asked' },
  INTERNAL: { retriable: false, meaning: 'an invariant of the engine does not hold: please report it' },
} as const

/** The `code` of a {@link QueueError}. */
export type ErrorCode = keyof typeof errorCodes

/** The facts behind an error, each present where it applies. */
export interface ErrorFacts {
  /** The option or field that was refused. */
  readonly option?: string
  /** The value that was seen. */
  readonly value?: unknown
  /** What would have been allowed, in words. */
  readonly allowed?: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly group?: string
  readonly key?: string
  readonly path?: string
  /** The first offset of a range. */
  readonly from?: number
  /** The end of a range, exclusive. */
  readonly to?: number
  /** How many messages are concerned. */
  readonly count?: number
  /** The process that owns a locked store, where it is known. */
  readonly pid?: number
  /** The name of a store of the user's own state. */
  readonly store?: string
  /** The name of a producer. */
  readonly producer?: string
  /** What failed, of several things. */
  readonly failures?: readonly unknown[]
  /** Of a message. */
  readonly id?: string
}

/** The one error class of this package. Match on {@link QueueError.code}, since two copies of the class may be loaded. */
export class QueueError extends Error implements ErrorFacts {
  override readonly name = 'QueueError'
  /** What went wrong, for programs. */
  readonly code: ErrorCode
  /** Whether the same call may succeed later without a change. */
  readonly retriable: boolean
  declare readonly option?: string
  declare readonly value?: unknown
  declare readonly allowed?: string
  declare readonly topic?: string
  declare readonly partition?: number
  declare readonly offset?: number
  declare readonly group?: string
  declare readonly key?: string
  declare readonly path?: string
  declare readonly from?: number
  declare readonly to?: number
  declare readonly count?: number
  declare readonly pid?: number
  declare readonly store?: string
  declare readonly producer?: string
  declare readonly failures?: readonly unknown[]
  declare readonly id?: string

  constructor(code: ErrorCode, message: string, facts: ErrorFacts & { cause?: unknown } = {}) {
    const { cause, ...own } = facts
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retriable = errorCodes[code].retriable
    Object.assign(this, own)
  }
}

/** Whether `error` comes from this package (and, when given, carries `code`), whichever copy of the package threw it. */
export function isQueueError(error: unknown, code?: ErrorCode): error is QueueError {
  if (!(error instanceof Error) || error.name !== 'QueueError') return false
  const seen = (error as QueueError).code
  return code === undefined ? Object.hasOwn(errorCodes, seen) : seen === code
}

/**
 * Why a message is not tried again: it used up its attempts, its handler threw an {@link UnrecoverableError}, `retryable`
 * said no, or its stored value can't be decoded, or does not satisfy the schema.
 */
export type ExhaustedReason = 'attempts' | 'unrecoverable' | 'not-retryable' | 'undecodable' | 'invalid'

/**
 * Thrown by a handler for which another attempt is of no use: the message is not tried again, however many attempts it has
 * left, and `onExhausted` says what becomes of it. A class of your own does the same when its `name` is this one's.
 */
export class UnrecoverableError extends Error {
  override readonly name = 'UnrecoverableError'
}

const unrecoverable = Symbol.for('lanemq.unrecoverable')

/** Has an error of any other class do the same. @internal */
export function asUnrecoverable<E extends Error>(error: E): E {
  return Object.defineProperty(error, unrecoverable, { value: true })
}

/** Whether `error` says that another attempt is of no use, whichever copy of the class it is of. */
export function isUnrecoverable(error: unknown): boolean {
  return error instanceof Error && (error.name === 'UnrecoverableError' || unrecoverable in error)
}
