import type { CommitPart } from '../contracts/commit-part.ts'
import type { BeginOutcome, LocalMarks } from '../contracts/idempotency-store.ts'
import { Deferral } from '../dispatch/deferral.ts'
import { isThenable, promised, type DispatchHandler } from '../dispatch/deliveries.ts'
import type { CallContext, HandlerContext } from '../dispatch/handed-message.ts'
import { asUnrecoverable, isQueueError } from '../errors.ts'
import type { Message } from '../message.ts'
import {
  busy,
  checkFingerprint,
  decodeResult,
  defaultKey,
  encodeResult,
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

/** A message whose key was acquired. */
interface Acquired {
  readonly key: string
  readonly fence: number
  readonly context: CallContext
}

/**
 * Stands between the dispatcher and the handler, as `IdempotentHandler` does, where the marks are in the environment of the
 * queue: a mark is a part of the commit that acknowledges its message, so there is no moment between the two. Nothing waits
 * for an answer; a synchronous handler stays one.
 */
export class LocalIdempotentHandler {
  readonly #host: LocalIdempotentHost
  readonly #handler: (message: Delivered, context: HandlerContext) => unknown

  #sweeper: StoreSweeper | undefined

  constructor(host: LocalIdempotentHost) {
    this.#host = host
    this.#handler = host.handler as (message: Delivered, context: HandlerContext) => unknown
  }

  /** What the dispatcher calls. */
  readonly handle: DispatchHandler = (message: Delivered, context: HandlerContext): unknown => {
    const { group, settings, consumed } = this.#host
    const firstKey = keyInStore(group, settings.key === undefined ? defaultKey(message) : settings.key(message))
    let fingerprint: string | undefined
    if (settings.fingerprint) fingerprint = checkFingerprint(settings.fingerprint(message))
    // One message is always the same under its own id.
    else if (settings.key)
      fingerprint = hashOf(message, consumed.find(({ topic }) => topic.name === message.topic)!.codec)
    const { found, key } = this.#begin(message, firstKey, fingerprint)
    if (found.outcome === 'acquired') {
      return this.#work(message, { key, fence: found.fence, context: context as CallContext })
    }
    const place = this.#placeOf(message, key)
    if (found.outcome === 'busy') {
      const retryInMs = waitForKey(found.retryAfterMs, this.#host.runtime.random('jitter'))
      throw new Deferral(retryInMs, busy(place, found.owner))
    }
    if (found.outcome === 'failed') throw asUnrecoverable(remembered(found.error))
    if (found.outcome === 'mismatch') throw asUnrecoverable(mismatch(place))
    return this.#host.events.emit('message:duplicate', { ...place, result: decodeResult(found.result) })
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
  ): { found: BeginOutcome; key: string } {
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

  #work(message: Delivered, acquired: Acquired): unknown {
    let result: unknown
    try {
      result = this.#handler(message, acquired.context)
    } catch (error) {
      return this.#failed(acquired, error)
    }
    if (!isThenable(result)) return this.#done(acquired, result)
    return promised(result).then(
      (returned) => this.#done(acquired, returned),
      (error: unknown) => this.#failed(acquired, error),
    )
  }

  /** The mark goes with the acknowledgement; when that is refused the key is free again. */
  #done(acquired: Acquired, returned: unknown): void {
    const { key, fence, context } = acquired
    // The work is not done.
    if (context.effects?.retry) return this.#failed(acquired, context.effects.retry)
    const { marks, settings } = this.#host
    const release = (): void => marks.release(key, fence)
    try {
      const part = marks.completion(key, fence, this.#encoded(returned), settings.ttlMs)
      context.join({ check: () => part.check(), apply: (results) => part.apply(results), end: release })
    } catch (error) {
      release()
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

  #failed({ key, fence, context }: Acquired, error: unknown): never {
    const { marks, settings, retry, commit } = this.#host
    const { signal, attempt } = context
    // Who was told to stop has failed for a reason that is not the message's.
    const isToldToStop = isOver(signal) || isQueueError(error, 'CLOSED')
    const isGivenUp = !isToldToStop && isForGood(retry, attempt, error)
    if (isGivenUp) commit(marks.failure(key, fence, toRemember(error), settings.ttlMs))
    else marks.release(key, fence)
    throw error
  }

  #placeOf({ topic, partition, offset, key }: Delivered, idempotencyKey: string): IdempotencyPlace {
    return { group: this.#host.group, topic, partition, offset, key, idempotencyKey }
  }
}
