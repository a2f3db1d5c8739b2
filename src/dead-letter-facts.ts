import type { ExhaustedReason } from './errors.ts'

/** An error in a few words: what is kept of it, beside a message that it ended. */
export interface ErrorSummary {
  /** At most 128 characters. */
  readonly name: string
  /** At most 1,024 characters. */
  readonly message: string
  /** The `code` of the error, if it has one. At most 64 characters. */
  readonly code?: string
  /** At most 4,096 characters. */
  readonly stack?: string
}

/** Why a message went to the dead letters; text of the user's where a handler asked for it. */
export type DeadLetterReason = ExhaustedReason | (string & {})

/** Where a message was first that was sent back since, perhaps more than once. */
export interface MessageOrigin {
  readonly partition: number
  readonly offset: number
  readonly id: string
}

/** What a dead letter carries beside its message: where it comes from, and why it is one. */
export interface DeadLetterFacts {
  /** The group that gave it up. */
  readonly group: string
  /** Where it was. */
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** When it was appended there, in milliseconds since 1970. */
  readonly timestamp: number
  /** What {@link Message.id} was there. */
  readonly id: string
  /** How often it was handed out. */
  readonly attempts: number
  /** Why it is no longer tried; text of the user's where a handler asked for it. */
  readonly reason: DeadLetterReason
  /** What the first failed attempt threw, and when; times are milliseconds since 1970. */
  readonly firstError: ErrorSummary | undefined
  readonly firstFailedAt: number | undefined
  /** What the last one threw; undefined where a handler asked for it. */
  readonly lastError: ErrorSummary | undefined
  readonly failedAt: number
  /** How often it was sent back before. */
  readonly redrives: number
  /** Set where it was sent back before. */
  readonly origin: MessageOrigin | undefined
}

/** What a message carries that was sent back. */
export interface RedriveFacts {
  /** The group that it is for; the others never see it. */
  readonly group: string
  /** How often it was sent back, from 1. */
  readonly count: number
  /** Where it was at first. */
  readonly origin: MessageOrigin
}
