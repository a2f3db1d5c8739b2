import type { Headers } from '../message.ts'
import { custom, integer, invalid, isObject, resolveOptions, type Field } from '../options.ts'

/** A prepared message, as those see it who decide about it. */
export interface PreparedContent<V = unknown> {
  /** Names it among those of its producer. */
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  /** @throws `DECODING_FAILED`, or `INVALID_OPTION` where its codec is not known: open its topic with that first */
  readonly value: V
  readonly headers: Headers
  /** In milliseconds since 1970. */
  readonly preparedAt: number
  /** How often the checker has been asked about it. */
  readonly checks: number
}

/** What becomes of a prepared message; `'unknown'` has the checker asked again later. */
export type CheckAnswer = 'commit' | 'rollback' | 'unknown'

/** What a checker gets beside the message. */
export interface CheckContext {
  /** Aborted when the answer is not waited for any more: it took too long, or the producer was closed. */
  readonly signal: AbortSignal
}

/** Tells what became of the work that a prepared message belongs to. Throwing counts as `'unknown'`. */
export type Checker = (message: PreparedContent, context: CheckContext) => CheckAnswer | PromiseLike<CheckAnswer>

/** When a checker is asked. */
export interface CheckOptions {
  /**
   * How long a prepared message may wait for its decision before the checker is asked, in milliseconds.
   *
   * @defaultValue `60_000`
   * @remarks Range: 1 to 604_800_000 (7 days). Semantics: RocketMQ `transactionTimeOut`.
   */
  readonly timeoutMs?: number
  /**
   * How often the checker is asked at most; then the message goes to the dead letters. Counted when it is asked, so that a
   * process that dies over it does not go on for ever.
   *
   * @defaultValue `15`
   * @remarks Range: 1 to 1_000_000. Semantics: RocketMQ `transactionCheckMax`; differs: dead letters instead of a system topic.
   */
  readonly attempts?: number
  /**
   * Wait after the first answer `'unknown'`, in milliseconds; doubles with each up to `maxDelayMs`.
   *
   * @defaultValue `30_000`
   * @remarks Range: 1 to 604_800_000.
   */
  readonly delayMs?: number
  /** Longest wait between two questions, in milliseconds. @defaultValue `600_000`, or `delayMs` if that is longer */
  readonly maxDelayMs?: number
  /**
   * How long an answer is waited for, in milliseconds; then it counts as `'unknown'`.
   *
   * @defaultValue `30_000`
   * @remarks Range: 1 to 604_800_000.
   */
  readonly answerTimeoutMs?: number
  /** How many messages are asked about at once. @defaultValue `16` @remarks Range: 1 to 1_000. */
  readonly concurrency?: number
}

/** What of a producer's options is about prepared messages. */
export interface PrepareOptions {
  /**
   * Asked about messages that were prepared and neither committed nor rolled back: after `check.timeoutMs`, and at once
   * about those of an earlier opening of the name, since nobody else is left who would decide.
   *
   * @defaultValue none: they wait until someone decides, see {@link Producer.prepared}
   */
  readonly checker?: Checker
  /** When the checker is asked. */
  readonly check?: CheckOptions
  /**
   * Most messages that may be prepared and not decided about; more are refused with `PREPARED_FULL`.
   *
   * @defaultValue `1_000_000`
   * @remarks Range: 1 to 100_000_000.
   */
  readonly maxPrepared?: number
  /**
   * Most bytes of them, as they are stored.
   *
   * @defaultValue `1_073_741_824` (1 GiB)
   * @remarks Range: 1_024 to 1_099_511_627_776.
   */
  readonly maxPreparedBytes?: number
}

export interface ResolvedPrepareOptions {
  readonly checker: Checker | undefined
  readonly check: Required<CheckOptions>
  readonly limits: { readonly maxCount: number; readonly maxBytes: number }
}

const weekMs = 604_800_000

/** The fields of {@link PrepareOptions}, for those who have more. */
export const prepareFields: { readonly [N in keyof PrepareOptions]-?: Field<PrepareOptions[N]> } = {
  checker: custom<Checker>('a function', (value) => typeof value === 'function'),
  check: custom<CheckOptions>('an object', isObject),
  maxPrepared: integer(1, 100_000_000, 1_000_000),
  maxPreparedBytes: integer(1_024, 2 ** 40, 2 ** 30),
}

const checkFields = {
  timeoutMs: integer(1, weekMs, 60_000),
  attempts: integer(1, 1_000_000, 15),
  delayMs: integer(1, weekMs, 30_000),
  maxDelayMs: integer(1, weekMs),
  answerTimeoutMs: integer(1, weekMs, 30_000),
  concurrency: integer(1, 1_000, 16),
}

/** `given` has passed {@link prepareFields}. */
export function resolvePrepareOptions(given: PrepareOptions): ResolvedPrepareOptions {
  const where = 'producer.check'
  const resolved = resolveOptions<CheckOptions>(given.check, checkFields, where) as Required<CheckOptions>
  const { delayMs } = resolved
  const maxDelayMs = resolved.maxDelayMs ?? Math.max(600_000, delayMs)
  if (maxDelayMs < delayMs) throw invalid(where, 'maxDelayMs', maxDelayMs, `at least delayMs (${delayMs})`)
  return {
    checker: given.checker,
    check: { ...resolved, maxDelayMs },
    limits: { maxCount: given.maxPrepared!, maxBytes: given.maxPreparedBytes! },
  }
}
