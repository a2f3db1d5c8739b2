/**
 * Every code that an error of this package can carry, and whether the same call may succeed later without a change.
 *
 * Codes change only in a major version; messages may change at any time, so match on `code`.
 */
export const errorCodes = {
  INVALID_OPTION: { retriable: false, meaning: 'an option is unknown, missing, of the wrong type or out of range' },
  INVALID_NAME: {
    retriable: false,
    meaning: 'a topic, group or producer name is empty, too long or has forbidden characters',
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
  TOPIC_NOT_FOUND: { retriable: false, meaning: 'no topic has that name' },
  TOPIC_CONFLICT: { retriable: false, meaning: 'the topic exists with other settings' },
  TOPIC_DELETED: { retriable: false, meaning: 'the topic was deleted while it was in use' },
  GROUP_NOT_FOUND: { retriable: false, meaning: 'no consumer group has that name' },
  GROUP_CONFLICT: { retriable: false, meaning: 'the group exists with other topics, or still has members' },
  OFFSET_OUT_OF_RANGE: { retriable: false, meaning: 'the offset or partition does not exist' },
  GAP: { retriable: false, meaning: 'retention removed messages that the group had not finished' },
  FENCED: { retriable: false, meaning: 'the partition, lane or store now belongs to someone else' },
  HANDLER_FAILED: { retriable: false, meaning: 'a handler used up its attempts and its key was stopped' },
  IN_FLIGHT_FULL: { retriable: true, meaning: 'too many bytes or senders wait for the disk' },
  STORE_FULL: {
    retriable: true,
    meaning: 'free disk space is below the reserve: sends are refused, acknowledgements go on',
  },
  STORE_LOCKED: { retriable: true, meaning: 'another process or thread owns the store' },
  STORE_FAILED: {
    retriable: false,
    meaning: 'a commit failed or was overdue: the store stopped, its outcome is unknown',
  },
  STORE_CORRUPT: { retriable: false, meaning: 'the data file or a record batch is damaged' },
  NOT_A_STORE: { retriable: false, meaning: 'the directory or file was not made by this package' },
  STORE_VERSION: { retriable: false, meaning: 'the store was written by a newer format version' },
  STORE_OPTIONS: { retriable: false, meaning: 'the store was written with other storage settings' },
  STORE_UNWRITABLE: {
    retriable: false,
    meaning: 'the directory cannot be written: permission or a read-only file system',
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
