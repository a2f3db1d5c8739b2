import type { Broker } from './broker.ts'
import type { CommitPart } from './commit-part.ts'

/**
 * Bounds that hold for every store, so that an application can change its store without a surprise. What is over them is
 * refused at the call.
 */
export const idempotencyLimits: {
  /** Longest key, in bytes of UTF-8. Group, topic and message id of the longest names fit. */
  readonly keyBytes: number
  /** Longest owner and longest fingerprint, in bytes of UTF-8. */
  readonly nameBytes: number
  /** Longest lease. A lease is renewed, not made long: it is how long a dead owner's key waits. */
  readonly leaseMs: number
  /** What every store keeps of each text of a {@link RememberedError}, in characters; the rest may be cut. */
  readonly errorChars: number
} = { keyBytes: 1_024, nameBytes: 256, leaseMs: 86_400_000, errorChars: 1_000 }

/** What a store can do beyond the contract; checked when a subscription is declared, never in mid-stream. */
export interface IdempotencyCapabilities {
  /** Whether marks, claims and fences survive the end of the process that made them. */
  readonly durable: boolean
  /**
   * Whether one process at a time has the store, so that its claims end with it, durable or not: nobody is left who could
   * go on with them.
   *
   * @defaultValue `false`
   */
  readonly exclusive?: boolean | undefined
  /** Whether results are kept. Where they are not, {@link IdempotencyStore.complete} refuses one with `UNSUPPORTED`. */
  readonly results: boolean
  /** Whether a claim can end inside a transaction of the user, see {@link MarkOptions.transaction}. */
  readonly transactional: boolean
}

/** Who asks for a key, and how. */
export interface BeginRequest {
  /**
   * Names who holds the claim, for people who look for it. It gives no rights: the same owner asking again is as busy as
   * anybody, since two deliveries of one message may well be handled by one process. Only the fence is proof.
   */
  readonly owner: string
  /** How long the claim is safe from others, on the store's clock, from 1 to {@link idempotencyLimits.leaseMs}. */
  readonly leaseMs: number
  /** Stands for the payload, a hash of it for example. Two different ones under one key are a mistake of the caller. @defaultValue not compared */
  readonly fingerprint?: string | undefined
}

/** A permanent failure as it is remembered. */
export interface RememberedError {
  readonly name: string
  readonly message: string
  readonly code?: string | undefined
}

/**
 * The answer to {@link IdempotencyStore.begin}.
 *
 * - `acquired`: the caller holds the key and does the work; the fence goes with every later call on this claim
 * - `busy`: someone else holds it; asking again is worth while in `retryAfterMs` (at least 1), when the lease ends, or
 *   earlier on the chance that the work is over
 * - `done`: the work was completed; `result` is what it left, `undefined` when it left nothing
 * - `failed`: the work failed for good; it is not to be done again
 * - `mismatch`: the key is held by, or marked for, another payload, whose fingerprint is told; nothing was changed
 */
export type BeginOutcome =
  | { readonly outcome: 'acquired'; readonly fence: number }
  | { readonly outcome: 'busy'; readonly retryAfterMs: number; readonly owner: string }
  | { readonly outcome: 'done'; readonly result: Uint8Array | undefined }
  | { readonly outcome: 'failed'; readonly error: RememberedError }
  | { readonly outcome: 'mismatch'; readonly fingerprint: string }

/**
 * The answer to a call on a claim. `fenced`: the claim is over (taken over, released, ended, forgotten, or never there),
 * and the call changed nothing. It is an answer and not an error: losing a lease is part of the game, and whoever lost
 * it must not do anything more.
 */
export interface ClaimOutcome {
  readonly outcome: 'accepted' | 'fenced'
}

/** How a mark is left. */
export interface MarkOptions<Transaction = never> {
  /**
   * How long the mark is kept, on the store's clock, counted from this call; from 1, or `Infinity` until it is removed by
   * hand. After that the key is free, and **a repeat that arrives then is worked on again**: the time has to be longer
   * than a repeat can take to arrive by retry, redrive, seek or retention.
   */
  readonly ttlMs: number
  /**
   * A transaction of the user, on a `transactional` store: the mark commits with it or not at all, so that no crash falls
   * between effect and mark. Until the commit others see the claim as it was. Other stores refuse it with `UNSUPPORTED`.
   */
  readonly transaction?: Transaction | undefined
}

/**
 * The same store without waiting: it is in the environment of the log, so its answers are at hand, and a mark can be a part
 * of the commit that acknowledges the message. Then no crash falls between the two, and no lease is needed.
 */
export interface LocalMarks {
  /** As {@link IdempotencyStore.begin}; the claim goes on until it is ended, or its process ends. */
  begin(key: string, fingerprint: string | undefined): LocalOutcome
  /**
   * The marks of messages by their places in the log, for those that need no key of their own: a message is one and the
   * same in its place. They cost a few bits each, and nothing finds them by a key.
   */
  places(group: string): PlaceMarks
}

/** The marks of one group, by the places of messages in the log. */
export interface PlaceMarks {
  /**
   * As {@link LocalMarks.begin}. A mark is kept for its time at least; it may be found longer, as long as others are that
   * were made near it.
   *
   * @param origin - names the log and the life of the process that wrote: what ids of messages begin with
   */
  begin(origin: string, offset: number): LocalOutcome
}

/** The answer to {@link LocalMarks.begin}: as {@link BeginOutcome}, with the claim itself. */
export type LocalOutcome = Exclude<BeginOutcome, { outcome: 'acquired' }> | LocalClaim

/**
 * A claim on work. It ends once: by the commit of a part that it gave, or by its release. A part that has ended without
 * taking effect releases it, too.
 */
export interface LocalClaim {
  readonly outcome: 'acquired'
  /** The end of the claim as a part of a commit, where its work is done. */
  completion(result: Uint8Array | undefined, ttlMs: number): CommitPart
  /** As {@link LocalClaim.completion}, for what failed for good. */
  failure(error: RememberedError, ttlMs: number): CommitPart
  /** Ends the claim without a mark. Idempotent. */
  release(): void
}

/** What one {@link IdempotencyStore.sweep} did. */
export interface SweepOutcome {
  readonly removed: number
  /** Whether the limit was reached, so that another sweep is worth while. */
  readonly more: boolean
}

/**
 * Remembers by key what was done, so that a second delivery of a message is not worked on twice. One suite,
 * `idempotencySuite`, holds for every implementation.
 *
 * **A key's life.** A key is free until `begin` acquires it: that makes a *claim* with a lease. `renew` lengthens the
 * lease. The claim ends by `complete` or `fail`, which leave a *mark* for its time; by `release`, which frees the key at
 * once; or it *lapses* when its lease ends. A lapsed key may be taken over by the next `begin`. As long as nobody took it
 * over, swept it, or needed its room, the late owner may still renew or end its claim: refusing would only do its work
 * twice.
 *
 * **Fences.** Each acquisition gets a fence: a safe integer from 1, greater than that of every acquisition of this key
 * before it, also when everything about the key expired, was released, swept or evicted in between. (One counter for the
 * whole store is the simplest way: fences need not be dense.) A store that is not `durable` forgets them with its process,
 * so that only the fences of a `durable` one may guard something outside.
 *
 * **Time** is the store's: leases and marks end on one clock, the server's, or the monotonic one of the process that holds
 * a store in memory. Only durations cross this interface, so it doesn't matter what the callers' clocks say. A lease or
 * mark of n milliseconds holds before n have passed and does not any more when they have.
 *
 * **Atomic.** Each call takes effect whole or not at all, at one instant, whatever else runs on the key. When the answer
 * was lost on its way the call can be made again: repeating the `complete` or `fail` that took effect is `accepted` and
 * changes nothing; repeating a `begin` finds its own claim `busy` and has to wait that lease out.
 *
 * **Keys** are compared byte by byte: no folding of case, no normalising, no trimming; any character, U+0000 too. What a
 * fingerprint binds ends with the claim or mark that carried it.
 *
 * What was handed over is copied before the call returns, and what is returned belongs to the caller.
 *
 * Every call rejects with
 * - `INVALID_OPTION` for an argument of the wrong type or range (an empty key, a text with lone surrogates, a lease of 0)
 * - `MESSAGE_TOO_LARGE` for a key or result over its limit
 * - `CLOSED` after {@link IdempotencyStore.close}
 *
 * and changes nothing then.
 */
export interface IdempotencyStore<Transaction = never> {
  readonly capabilities: IdempotencyCapabilities
  /** The marks as {@link LocalMarks}, where the store is in the environment of this broker; undefined where it is not. */
  marksIn?(broker: Broker): LocalMarks | undefined
  /** Longest result that is taken, in bytes; a setting of the store. */
  readonly maxResultBytes: number
  /**
   * Asks for a key.
   *
   * @throws `STORE_FULL` when a bounded store holds as many claims as it may, and no mark to let go of. Retriable.
   */
  begin(key: string, request: BeginRequest): Promise<BeginOutcome>
  /** Sets the end of the lease to `leaseMs` from now, also when that is sooner than before. */
  renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome>
  /** Ends the claim and marks the key done. An empty result is not the same as none. Never refused because the store is full. */
  complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    options: MarkOptions<Transaction>,
  ): Promise<ClaimOutcome>
  /** Ends the claim and marks the key failed for good; texts that are too long are cut, never refused. */
  fail(key: string, fence: number, error: RememberedError, options: MarkOptions<Transaction>): Promise<ClaimOutcome>
  /** Ends the claim without a mark: another may try at once. */
  release(key: string, fence: number): Promise<ClaimOutcome>
  /**
   * Removes at most `limit` marks and claims whose time is over. Nothing depends on when it is called but the room they
   * take and the late owners of lapsed claims; a caller does it in small slices between its work.
   */
  sweep(limit: number): Promise<SweepOutcome>
  /** Waits for calls under way, then lets go of what belongs to the store. Claims stay until their leases end. Idempotent. */
  close(): Promise<void>
}
