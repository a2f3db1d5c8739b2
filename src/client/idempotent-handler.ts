import type { BeginOutcome, ClaimOutcome, IdempotencyStore } from '../contracts/idempotency-store.ts'
import { Deferral } from '../dispatch/deferral.ts'
import type { DispatchHandler } from '../dispatch/deliveries.ts'
import type { CallContext, HandlerContext } from '../dispatch/handed-message.ts'
import type { ConsumedTopic } from '../dispatch/partition-intake.ts'
import type { RetryPolicy } from '../dispatch/retry-policy.ts'
import { asUnrecoverable, isQueueError, QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Message } from '../message.ts'
import type { Runtime } from '../runtime/runtime.ts'
import {
  busy,
  checkFingerprint,
  decodeResult,
  defaultKey,
  encodeResult,
  hashOf,
  isOver,
  isForGood,
  keyInStore,
  keyOfRedrive,
  leaseLost,
  mismatch,
  remembered,
  toRemember,
  waitForKey,
  type IdempotencyPlace,
} from './idempotency-policy.ts'
import { LeaseKeeper, type Claim } from './lease-keeper.ts'
import type { IdempotencyOptions } from './options.ts'
import { StoreOutage } from './store-outage.ts'
import { StoreSweeper } from './store-sweeper.ts'

/** {@link IdempotencyOptions} with everything set that has a default. */
export type IdempotencySettings = IdempotencyOptions<never> & {
  readonly store: IdempotencyStore
  readonly ttlMs: number
  readonly leaseMs: number
}

/** What the handler of a subscription with an idempotency store needs of it. */
export interface IdempotentHost {
  readonly group: string
  readonly settings: IdempotencySettings
  readonly consumed: readonly ConsumedTopic[]
  readonly runtime: Runtime
  readonly events: EventHub
  /** The user's. */
  readonly handler: DispatchHandler
  readonly retry: RetryPolicy
}

/** A claim, and the message that it is for. */
interface HeldClaim extends Claim {
  fence: number
  readonly fingerprint: string | undefined
  readonly context: CallContext
  /** The handler has returned: who else has the key shows when the work is marked. */
  isOver: boolean
  isLost: boolean
}

type Delivered = Message<never>
/**
 * Stands between the dispatcher and the handler of a subscription, and asks an idempotency store whether a message was worked
 * on. What is busy, or can't be asked for, is put back without having held anything up; what was done is not done again.
 */
export class IdempotentHandler {
  readonly #host: IdempotentHost
  readonly #store: IdempotencyStore
  readonly #owner: string
  readonly #leases: LeaseKeeper
  readonly #outage: StoreOutage
  #sweeper: StoreSweeper | undefined

  constructor(host: IdempotentHost) {
    const { settings, runtime, events, group } = host
    this.#host = host
    this.#store = settings.store
    this.#owner = `lanemq ${runtime.random('idempotency owner').toString(36).slice(2)}`
    this.#leases = new LeaseKeeper(settings.store, settings.leaseMs, runtime)
    this.#outage = new StoreOutage(group, runtime, events)
  }

  /** What the dispatcher calls. */
  readonly handle: DispatchHandler = (message, context) => this.#handle(message, context as CallContext)

  /** Begins what goes on in the background. `hold` stops and starts handing out, while the store is away. */
  start(hold: (isHeld: boolean) => void): void {
    this.#outage.hold = hold
    this.#sweeper = new StoreSweeper(this.#store, this.#host.runtime)
  }

  close(): void {
    this.#leases.close()
    this.#outage.close()
    this.#sweeper?.close()
  }

  async #handle(message: Delivered, context: CallContext): Promise<void> {
    const { group, settings, consumed, events, runtime } = this.#host
    const firstKey = keyInStore(group, settings.key === undefined ? defaultKey(message) : settings.key(message))
    const fingerprint = settings.fingerprint
      ? checkFingerprint(settings.fingerprint(message))
      : hashOf(message, consumed.find(({ topic }) => topic.name === message.topic)!.codec)
    // The time limit is the handler's: neither asking nor marking counts.
    context.extend(Infinity)
    const { found, idempotencyKey } = await this.#beginAny(message, firstKey, fingerprint).catch((error: unknown) => {
      if (isOfMessage(error)) throw error
      this.#outage.failed(error)
      // Nothing is handed out until the store is asked again; then this comes first.
      throw new Deferral(0, error)
    })
    const { topic, partition, offset, key } = message
    const place: IdempotencyPlace = { group, topic, partition, offset, key, idempotencyKey }
    switch (found.outcome) {
      case 'acquired':
        return this.#work(message, this.#hold(idempotencyKey, found.fence, fingerprint, context))
      case 'busy':
        throw new Deferral(waitForKey(found.retryAfterMs, runtime.random('jitter')), busy(place, found.owner))
      case 'done':
        return events.emit('message:duplicate', { ...place, result: decodeResult(found.result) })
      case 'failed':
        throw asUnrecoverable(remembered(found.error))
      case 'mismatch':
        throw asUnrecoverable(mismatch(place))
    }
  }

  /** Of a message that was sent back, a failure before that is not its last word. */
  async #beginAny(
    message: Message<unknown>,
    firstKey: string,
    fingerprint: string | undefined,
  ): Promise<{ found: BeginOutcome; idempotencyKey: string }> {
    let idempotencyKey = firstKey
    let found = await this.#begin(firstKey, fingerprint)
    const redrives = found.outcome === 'failed' ? (message.redriveFacts?.count ?? 0) : 0
    for (let redrive = 1; found.outcome === 'failed' && redrive <= redrives; redrive++) {
      idempotencyKey = keyOfRedrive(firstKey, redrive)
      found = await this.#begin(idempotencyKey, fingerprint)
    }
    return { found, idempotencyKey }
  }

  async #begin(key: string, fingerprint: string | undefined): Promise<BeginOutcome> {
    const { leaseMs } = this.#host.settings
    const found = await this.#store.begin(key, { owner: this.#owner, leaseMs, fingerprint })
    this.#outage.answered()
    return found
  }

  #hold(key: string, fence: number, fingerprint: string | undefined, context: CallContext): HeldClaim {
    const claim: HeldClaim = {
      key,
      fence,
      fingerprint,
      context,
      isOver: false,
      isLost: false,
      isAbandoned: () => isOver(context.signal),
      lost: () => {
        if (claim.isOver) return
        claim.isLost = true
        context.abort(leaseLost(key))
      },
    }
    this.#leases.hold(claim)
    return claim
  }

  async #work(message: Delivered, claim: HeldClaim): Promise<void> {
    try {
      const call = this.#host.handler as (message: never, context: HandlerContext) => unknown
      let result: Uint8Array | undefined
      try {
        claim.context.extend()
        const returned = await call(message as never, claim.context)
        claim.isOver = true
        this.#refuseEffects(claim)
        result = this.#store.capabilities.results ? this.#encoded(returned) : undefined
      } catch (error) {
        claim.isOver = true
        if (!claim.isLost) await this.#failed(claim, error)
        throw error
      }
      if (claim.isLost) throw leaseLost(claim.key)
      await this.#done(claim, result)
    } finally {
      this.#leases.drop(claim)
    }
  }

  /** The mark comes before the acknowledgement: a crash between them would lose what commits with the latter. */
  #refuseEffects({ context }: HeldClaim): void {
    if (context.effects === undefined) return
    // The work is not done.
    if (context.effects.retry) throw context.effects.retry
    const text =
      'context.send and context.store commit with the acknowledgement, which comes after the mark in the idempotency store: a crash between them would lose what was collected. Leave out the idempotency store, or send by topic.send'
    throw asUnrecoverable(new QueueError('UNSUPPORTED', text, { option: 'idempotency' }))
  }

  /** What can't be kept will be no better after another call, whose effect would be one too many. */
  #encoded(returned: unknown): Uint8Array | undefined {
    try {
      return encodeResult(returned, this.#store.maxResultBytes)
    } catch (error) {
      throw asUnrecoverable(error as QueueError)
    }
  }

  /** Marks the work as done, however long the store is away: the effect is there, and only this process knows of it. */
  async #done(claim: HeldClaim, result: Uint8Array | undefined): Promise<void> {
    const { ttlMs } = this.#host.settings
    // Where its time was over before, the effect is there all the same.
    if (!claim.context.isEnded) claim.context.extend(Infinity)
    const complete = (): Promise<ClaimOutcome> =>
      this.#untilAnswered(claim, () => this.#store.complete(claim.key, claim.fence, result, { ttlMs }))
    if ((await complete()).outcome === 'accepted') return
    // Nobody is known to have taken it: a store that lost its memory has forgotten the claim, not the work.
    if (isOver(claim.context.signal)) throw leaseLost(claim.key)
    const found = await this.#untilAnswered(claim, () => this.#begin(claim.key, claim.fingerprint))
    if (found.outcome === 'done') return
    if (found.outcome !== 'acquired') throw leaseLost(claim.key)
    claim.fence = found.fence
    if ((await complete()).outcome === 'fenced') throw leaseLost(claim.key)
  }

  async #failed(claim: HeldClaim, error: unknown): Promise<void> {
    const { settings, retry } = this.#host
    const { key, fence, context } = claim
    // Who was told to stop has failed for a reason that is not the message's.
    const isToldToStop = isOver(context.signal) || isQueueError(error, 'CLOSED')
    if (!isToldToStop && isForGood(retry, context.attempt, error)) {
      const { ttlMs } = settings
      const fail = (): Promise<ClaimOutcome> => this.#store.fail(key, fence, toRemember(error), { ttlMs })
      await this.#untilAnswered(claim, fail).catch(() => {})
      // What can't be released has its lease to wait for.
    } else await this.#store.release(key, fence).catch(() => {})
  }

  /** Calls the store until it answers, or nobody waits for the message any more. */
  async #untilAnswered<T>(claim: HeldClaim, call: () => Promise<T>): Promise<T> {
    const { signal } = claim.context
    for (;;) {
      try {
        const answer = await call()
        this.#outage.answered()
        return answer
      } catch (error) {
        if (isOfMessage(error)) throw error
        if (!isOver(signal)) await this.#outage.wait(error, signal)
        if (isOver(signal)) throw signal.reason as QueueError
      }
    }
  }
}

/** Whether a store refused what it was given, which it will do again. All else may pass: it says nothing of the message. */
function isOfMessage(error: unknown): boolean {
  return isQueueError(error, 'INVALID_OPTION') || isQueueError(error, 'MESSAGE_TOO_LARGE')
}
