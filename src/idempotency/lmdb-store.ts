import type { Broker } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { Environment, EnvironmentOwner, Joinable } from '../contracts/environment.ts'
import type {
  BeginOutcome,
  BeginRequest,
  ClaimOutcome,
  IdempotencyCapabilities,
  IdempotencyStore,
  LocalMarks,
  MarkOptions,
  RememberedError,
  SweepOutcome,
} from '../contracts/idempotency-store.ts'
import { isQueueError, QueueError } from '../errors.ts'
import { integer, invalid, resolveOptions } from '../options.ts'
import {
  checkBegin,
  checkFence,
  checkKey,
  checkLease,
  checkLimit,
  checkMark,
  checkResult,
  errorToRemember,
} from './claim-arguments.ts'
import { StateMarks, type KeyedWork } from './local-marks.ts'

/** Limits of an idempotency store in the environment of a queue. */
export interface LmdbIdempotencyOptions {
  /** Claims that may run at once, from 1. @defaultValue `100_000` */
  readonly maxClaims?: number
  /** Longest result, in bytes, from 0 to 16777216. @defaultValue `65_536` (64 KiB) */
  readonly maxResultBytes?: number
}

const accepted: ClaimOutcome = Object.freeze({ outcome: 'accepted' })
const fenced: ClaimOutcome = Object.freeze({ outcome: 'fenced' })

/**
 * An {@link IdempotencyStore} in the environment of a queue. Marks are rows of the queue's own store, so in a subscription of
 * that queue a mark commits with the acknowledgement, the outputs and the state of its message: all of it is there, or
 * nothing. Claims are in memory, since one process owns the store: they end with it.
 *
 * A subscription that names no keys marks messages by their places in the log, with two bits each where the handler returns
 * nothing. Such marks are kept for their time at least, and forgotten 512 neighbours at once.
 *
 * Marks end by the wall clock, leases by the monotonic one.
 */
export class LmdbIdempotencyStore implements IdempotencyStore<Joinable> {
  readonly capabilities: IdempotencyCapabilities
  readonly maxResultBytes: number
  readonly #environment: Environment
  readonly #marks: StateMarks
  /** Commits that are not on disk yet. */
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  /** @internal Use {@link openLmdbIdempotencyStore}. */
  constructor(environment: Environment, options?: LmdbIdempotencyOptions) {
    const { maxClaims, maxResultBytes } = resolveOptions<Required<LmdbIdempotencyOptions>>(
      options,
      { maxClaims: integer(1, 2 ** 24, 100_000), maxResultBytes: integer(0, 16 << 20, 64 << 10) },
      'idempotency store in a queue',
    )
    const { state, capabilities } = environment.broker
    if (state === undefined)
      throw new QueueError('UNSUPPORTED', 'the broker of this queue keeps no state beside the log')
    this.#environment = environment
    this.maxResultBytes = maxResultBytes
    this.#marks = new StateMarks(state, environment.runtime, maxClaims)
    const { durable } = capabilities
    this.capabilities = Object.freeze({ durable, exclusive: true, results: true, transactional: true })
  }

  /** What a subscription of the same queue uses instead: no waiting, and the mark commits with the acknowledgement. */
  marksIn(broker: Broker): LocalMarks | undefined {
    return broker === this.#environment.broker ? this.#marks : undefined
  }

  async begin(key: string, request: BeginRequest): Promise<BeginOutcome> {
    this.#checkOpen()
    checkKey(key)
    const { owner, leaseMs, fingerprint } = checkBegin(request)
    return this.#marks.claim(key, owner, leaseMs, fingerprint)
  }

  async renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome> {
    const claim = this.#find(key, fence)
    checkLease(leaseMs)
    if (claim === undefined) return fenced
    this.#marks.renew(claim, leaseMs)
    return accepted
  }

  async complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    options: MarkOptions<Joinable>,
  ): Promise<ClaimOutcome> {
    const claim = this.#find(key, fence)
    checkMark(options, this.capabilities)
    checkResult(result, this.maxResultBytes, this.capabilities)
    if (claim === undefined) return this.#repeated(key, fence, 'done')
    const kept = result === undefined ? undefined : new Uint8Array(result)
    return this.#end(this.#marks.completion(key, fence, kept, options.ttlMs), options)
  }

  async fail(
    key: string,
    fence: number,
    error: RememberedError,
    options: MarkOptions<Joinable>,
  ): Promise<ClaimOutcome> {
    const claim = this.#find(key, fence)
    checkMark(options, this.capabilities)
    const kept = errorToRemember(error)
    if (claim === undefined) return this.#repeated(key, fence, 'failed')
    return this.#end(this.#marks.failure(key, fence, kept, options.ttlMs), options)
  }

  async release(key: string, fence: number): Promise<ClaimOutcome> {
    const claim = this.#find(key, fence)
    if (claim === undefined) return fenced
    this.#marks.release(key, fence)
    return accepted
  }

  async sweep(limit: number): Promise<SweepOutcome> {
    this.#checkOpen()
    checkLimit(limit)
    const claims = this.#marks.forgetLapsed(limit)
    const ended = this.#marks.ended(limit - claims)
    if (ended.count > 0) await this.#commit(this.#marks.removal(ended))
    const removed = claims + ended.count
    return { removed, more: removed === limit && this.#marks.ended(1).count > 0 }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
    this.#marks.clear()
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new QueueError('CLOSED', 'the idempotency store is closed')
  }

  #find(key: string, fence: number): KeyedWork | undefined {
    this.#checkOpen()
    checkKey(key)
    checkFence(fence)
    return this.#marks.find(key, fence)
  }

  /** The answer to an end of a claim that has ended: its caller may not have heard of it. */
  #repeated(key: string, fence: number, outcome: 'done' | 'failed'): ClaimOutcome {
    const found = this.#marks.mark(key)
    return found?.fence === fence && found.mark.outcome === outcome ? accepted : fenced
  }

  async #end(part: CommitPart, { transaction }: MarkOptions<Joinable>): Promise<ClaimOutcome> {
    if (transaction !== undefined) {
      checkJoinable(transaction).join(part)
      return accepted
    }
    try {
      await this.#commit(part)
      return accepted
    } catch (error) {
      if (isQueueError(error, 'FENCED')) return fenced
      throw error
    }
  }

  async #commit(part: CommitPart): Promise<void> {
    const commit = this.#environment.broker.transact({ outputs: [], parts: [part] }, [], { acks: 'flushed' })
    this.#underWay.add(commit)
    await commit.finally(() => this.#underWay.delete(commit))
  }
}

function checkJoinable(transaction: Joinable): Joinable {
  if (typeof transaction === 'object' && typeof transaction.join === 'function') return transaction
  const allowed = 'the context of a handler, or a transaction of the same queue'
  throw invalid('idempotency store', 'transaction', transaction, allowed)
}

/**
 * Opens the idempotency store that is in the environment of a queue: effects that are kept there too happen exactly once.
 *
 * @throws `INVALID_OPTION` for an unknown option, one out of range, or something that is no queue; `UNSUPPORTED` where the
 * broker keeps no state
 */
export function openLmdbIdempotencyStore(
  queue: EnvironmentOwner,
  options?: LmdbIdempotencyOptions,
): LmdbIdempotencyStore {
  const isQueue = typeof queue === 'object' && queue !== null && typeof queue.environment === 'object'
  if (!isQueue) throw invalid('idempotency store in a queue', 'queue', queue, 'an open queue')
  return new LmdbIdempotencyStore(queue.environment, options)
}
