import type { CommitPart } from '../contracts/commit-part.ts'
import type { LocalClaim, LocalMarks, LocalOutcome, PlaceMarks } from '../contracts/idempotency-store.ts'
import { Deferral } from '../dispatch/deferral.ts'
import { isThenable, promised, type DispatchHandler } from '../dispatch/deliveries.ts'
import type { CallContext, HandedMessage, HandlerContext } from '../dispatch/handed-message.ts'
import { asUnrecoverable, isQueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import {
  busy,
  checkFingerprint,
  decodeResult,
  defaultKey,
  encodeResult,
  groupInStore,
  hashOf,
  isForGood,
  isOver,
  keyInStore,
  keyOfRedrive,
  mismatch,
  remembered,
  toRemember,
  waitForKey,
  type IdempotencyPlace,
} from './idempotency-policy.ts'
import type { IdempotentHost } from './idempotent-handler.ts'
import { StoreSweeper } from './store-sweeper.ts'

/** What a handler with marks in its own environment needs beside. */
export interface LocalIdempotentHost extends IdempotentHost {
  readonly marks: LocalMarks
  /** Commits a mark that no acknowledgement goes with. */
  readonly commit: (part: CommitPart) => void
}

type Delivered = Message<never>

/**
 * Stands between the dispatcher and the handler, as `IdempotentHandler` does, where the marks are in the environment of the
 * queue: a mark is a part of the commit that acknowledges its message, so there is no moment between the two. Nothing waits
 * for an answer; a synchronous handler stays one.
 */
export class LocalIdempotentHandler {
  readonly #host: LocalIdempotentHost
  readonly #handler: (message: Delivered, context: HandlerContext) => unknown

  /** Set where the application names no keys: then a message is known by its place in the log. */
  readonly #places: PlaceMarks | undefined
  #sweeper: StoreSweeper | undefined

  constructor(host: LocalIdempotentHost) {
    this.#host = host
    this.#handler = host.handler as (message: Delivered, context: HandlerContext) => unknown
    if (host.settings.key === undefined) this.#places = host.marks.places(groupInStore(host.group))
  }

  /** What the dispatcher calls. */
  readonly handle: DispatchHandler = (message: Delivered, context: HandlerContext): unknown => {
    if (this.#places !== undefined) {
      const { origin, offset } = message as unknown as HandedMessage
      return this.#handle(message, context, this.#places.begin(origin, offset), undefined)
    }
    const { group, settings, consumed } = this.#host
    const firstKey = keyInStore(group, settings.key!(message))
    const fingerprint = settings.fingerprint
      ? checkFingerprint(settings.fingerprint(message))
      : hashOf(message, consumed.find(({ topic }) => topic.name === message.topic)!.codec)
    const { found, key } = this.#begin(message, firstKey, fingerprint)
    return this.#handle(message, context, found, key)
  }

  /** Begins what goes on in the background. */
  start(): void {
    this.#sweeper = new StoreSweeper(this.#host.settings.store, this.#host.runtime)
  }

  close(): void {
    this.#sweeper?.close()
  }

  /** Of a message that was sent back, a failure before that is not its last word. */
  #begin(
    message: Message<unknown>,
    firstKey: string,
    fingerprint: string | undefined,
  ): { found: LocalOutcome; key: string } {
    const { marks } = this.#host
    let key = firstKey
    let found = marks.begin(key, fingerprint)
    const redrives = found.outcome === 'failed' ? (message.redriveFacts?.count ?? 0) : 0
    for (let redrive = 1; found.outcome === 'failed' && redrive <= redrives; redrive++) {
      key = keyOfRedrive(firstKey, redrive)
      found = marks.begin(key, fingerprint)
    }
    return { found, key }
  }

  #handle(message: Delivered, context: HandlerContext, found: LocalOutcome, key: string | undefined): unknown {
    if (found.outcome === 'acquired') return this.#work(message, context as CallContext, found)
    const place = this.#placeOf(message, key ?? keyInStore(this.#host.group, defaultKey(message)))
    if (found.outcome === 'busy') {
      const retryInMs = waitForKey(found.retryAfterMs, this.#host.runtime.random('jitter'))
      throw new Deferral(retryInMs, busy(place, found.owner))
    }
    if (found.outcome === 'failed') throw asUnrecoverable(remembered(found.error))
    if (found.outcome === 'mismatch') throw asUnrecoverable(mismatch(place))
    return this.#host.events.emit('message:duplicate', { ...place, result: decodeResult(found.result) })
  }

  #work(message: Delivered, context: CallContext, claim: LocalClaim): unknown {
    let result: unknown
    try {
      result = this.#handler(message, context)
    } catch (error) {
      return this.#failed(context, claim, error)
    }
    if (!isThenable(result)) return this.#done(context, claim, result)
    return promised(result).then(
      (returned) => this.#done(context, claim, returned),
      (error: unknown) => this.#failed(context, claim, error),
    )
  }

  /** The mark goes with the acknowledgement; when that is refused the key is free again. */
  #done(context: CallContext, claim: LocalClaim, returned: unknown): void {
    // The work is not done.
    if (context.effects?.retry) return this.#failed(context, claim, context.effects.retry)
    try {
      const part = claim.completion(this.#encoded(returned), this.#host.settings.ttlMs)
      context.join(part)
    } catch (error) {
      claim.release()
      throw error
    }
  }

  /** What can't be kept will be no better after another call. */
  #encoded(returned: unknown): Uint8Array | undefined {
    if (returned === undefined) return undefined
    try {
      return encodeResult(returned, this.#host.settings.store.maxResultBytes)
    } catch (error) {
      throw asUnrecoverable(error as Error)
    }
  }

  #failed(context: CallContext, claim: LocalClaim, error: unknown): never {
    const { settings, retry, commit } = this.#host
    const { signal, attempt } = context
    // Who was told to stop has failed for a reason that is not the message's.
    const isToldToStop = isOver(signal) || isQueueError(error, 'CLOSED')
    const isGivenUp = !isToldToStop && isForGood(retry, attempt, error)
    if (isGivenUp) commit(claim.failure(toRemember(error), settings.ttlMs))
    else claim.release()
    throw error
  }

  #placeOf({ topic, partition, offset, key }: Delivered, idempotencyKey: string): IdempotencyPlace {
    return { group: this.#host.group, topic, partition, offset, key, idempotencyKey }
  }
}
