import type { DeadLetterFacts } from '../dead-letter-facts.ts'
import type { Headers } from '../message.ts'
import { abortSignal, custom, decimal, integer, integerOrInfinity, isObject, resolveOptions } from '../options.ts'

/** Where a dead letter is: a place in the topic of the dead letters, not the one where its message was. */
export interface DeadLetterPlace {
  readonly partition: number
  readonly offset: number
}

/** A message that its group gave up, as {@link DeadLetters} shows it. A copy: keeping it keeps nothing else alive. */
export interface DeadLetter extends DeadLetterPlace {
  readonly key: string | undefined
  /** As its sender gave them. */
  readonly headers: Headers
  /** Where it comes from, and why it is here. */
  readonly facts: DeadLetterFacts
  /** The value as it is stored, whether it can be decoded or not. */
  readonly bytes: Buffer
  /** The value, decoded when it is asked for. @throws `DECODING_FAILED`; `INVALID_OPTION` where its codec is not known */
  readonly value: unknown
}

/** Which dead letters are meant; all of what is said has to hold. */
export interface DeadLetterFilter {
  /** Those of this key. */
  readonly key?: string
  /** Those that were given up at this time or later, in milliseconds since 1970. @remarks Range: 0 to 8.64e15. */
  readonly since?: number
  /** Those whose last error has this `code`; of those that were parked, the first one. */
  readonly errorCode?: string
  /** Those of which it returns true. Called with each one that the other fields let through; what it throws ends the call. */
  readonly predicate?: (letter: DeadLetter) => boolean
}

/** Options of {@link DeadLetters.list}. */
export interface DeadLetterListOptions extends DeadLetterFilter {
  /** Goes on behind this place: `next` of the page before. @defaultValue from the beginning */
  readonly after?: DeadLetterPlace
  /**
   * How many at most.
   *
   * @defaultValue `100`
   * @remarks Range: 1 to 10_000.
   */
  readonly limit?: number
}

/** One page of {@link DeadLetters.list}. */
export interface DeadLetterPage {
  readonly letters: readonly DeadLetter[]
  /** Where the next page begins; undefined when there is none. */
  readonly next: DeadLetterPlace | undefined
}

/** Options of {@link DeadLetters.delete}. */
export interface DeadLetterDeleteOptions extends DeadLetterFilter {
  /** Ends it before the next slice, with `ABORTED`; what is deleted stays so. */
  readonly signal?: AbortSignal
}

/** Options of {@link DeadLetters.redrive}. */
export interface RedriveOptions extends DeadLetterFilter {
  /**
   * Messages a second, at most.
   *
   * @defaultValue `Infinity`: as fast as the disk takes them
   * @remarks Range: 0.001 to 1_000_000, or Infinity. Semantics: SQS `MaxNumberOfMessagesPerSecond`.
   */
  readonly rate?: number
  /** How many messages at most. @defaultValue `Infinity` @remarks Range: 1 on. */
  readonly limit?: number
  /**
   * A letter that was sent back so often is left where it is: a message that can't be handled does not go round for ever.
   *
   * @defaultValue `3`
   * @remarks Range: 1 to 1_000_000.
   */
  readonly maxRedrives?: number
  /** Ends it before the next slice, with `ABORTED`; what is sent back stays so, and another call goes on behind it. */
  readonly signal?: AbortSignal
  /** Called when a slice is on disk. What it throws ends the redrive. */
  readonly onProgress?: (progress: RedriveProgress) => void
}

/** How far a redrive is. */
export interface RedriveProgress {
  /** Messages that were sent back; all of them are on disk. */
  readonly redriven: number
  /** Letters that were left because of {@link RedriveOptions.maxRedrives}. */
  readonly exhausted: number
}

/** What a redrive did. */
export interface RedriveResult extends RedriveProgress {
  /** Whether it ended at {@link RedriveOptions.limit}, so that there may be more. */
  readonly isLimited: boolean
}

/** Checked {@link RedriveOptions}. */
export type ResolvedRedrive = DeadLetterFilter & {
  readonly rate: number
  readonly limit: number
  readonly maxRedrives: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: RedriveProgress) => void
}

const isText = (value: unknown): boolean => typeof value === 'string'
const isFunction = (value: unknown): boolean => typeof value === 'function'
const isPlace = (value: unknown): boolean =>
  isObject(value) && [value['partition'], value['offset']].every((one) => Number.isSafeInteger(one) && Number(one) >= 0)
const aFunction = 'a function'

const filterFields = {
  key: custom<string>('text', isText),
  since: decimal(0, 8.64e15),
  errorCode: custom<string>('text', isText),
  predicate: custom<(letter: DeadLetter) => boolean>(aFunction, isFunction),
}

/** @throws `INVALID_OPTION` */
export function resolveFilter(options: DeadLetterFilter | undefined, where: string): DeadLetterFilter {
  return resolveOptions<DeadLetterFilter>(options, filterFields, where)
}

/** @throws `INVALID_OPTION` */
export function resolveList(
  options: DeadLetterListOptions | undefined,
): DeadLetterListOptions & { readonly limit: number } {
  const after = custom<DeadLetterPlace>('a place: { partition, offset }', isPlace)
  const fields = { ...filterFields, after, limit: integer(1, 10_000, 100) }
  return resolveOptions<DeadLetterListOptions>(options, fields, 'list') as DeadLetterListOptions & { limit: number }
}

/** @throws `INVALID_OPTION` */
export function resolveDelete(options: DeadLetterDeleteOptions | undefined): DeadLetterDeleteOptions {
  return resolveOptions<DeadLetterDeleteOptions>(options, { ...filterFields, signal: abortSignal() }, 'delete')
}

/** @throws `INVALID_OPTION` */
export function resolveRedrive(options: RedriveOptions | undefined): ResolvedRedrive {
  const isRate = (value: unknown): boolean =>
    value === Infinity || (typeof value === 'number' && value >= 0.001 && value <= 1e6)
  const fields = {
    ...filterFields,
    rate: custom<number>('a number from 0.001 to 1000000, or Infinity', isRate, Infinity),
    limit: integerOrInfinity(1, Infinity),
    maxRedrives: integer(1, 1_000_000, 3),
    signal: abortSignal(),
    onProgress: custom<(progress: RedriveProgress) => void>(aFunction, isFunction),
  }
  return resolveOptions<RedriveOptions>(options, fields, 'redrive') as ResolvedRedrive
}
