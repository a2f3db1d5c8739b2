import { QueueError } from '../errors.ts'
import type { Codec } from '../codec.ts'
import type { PreparedRef, StoredPrepared } from '../contracts/prepared.ts'
import type { Headers, SendResult } from '../message.ts'
import type { PreparedContent } from './check-options.ts'

/** Who carries out what is decided about a prepared message. */
export interface Decider {
  commit(ref: PreparedRef): Promise<SendResult>
  rollback(ref: PreparedRef): Promise<void>
}

/**
 * A message that is stored and that nobody sees, until it is decided about: by {@link PreparedMessage.commit},
 * {@link PreparedMessage.rollback} or the checker of its producer, whoever is first.
 */
export class PreparedMessage<V = unknown> implements PreparedContent<V> {
  readonly #content: PreparedContent<V>
  readonly #ref: PreparedRef
  readonly #decider: Decider
  #committing: Promise<SendResult> | undefined
  #rollingBack: Promise<void> | undefined

  /** @internal */
  constructor(content: PreparedContent<V>, ref: PreparedRef, decider: Decider) {
    this.#content = content
    this.#ref = ref
    this.#decider = decider
  }

  get id(): string {
    return this.#content.id
  }

  get topic(): string {
    return this.#content.topic
  }

  get key(): string | undefined {
    return this.#content.key
  }

  get value(): V {
    return this.#content.value
  }

  get headers(): Headers {
    return this.#content.headers
  }

  get preparedAt(): number {
    return this.#content.preparedAt
  }

  get checks(): number {
    return this.#content.checks
  }

  /**
   * Appends the message to its topic: its place is that of this call, not that of preparing it. It is gone from the
   * prepared ones with the same commit, so it is seen exactly once. Settles when that is on disk; calling it again gives
   * the same result. A full disk does not refuse it.
   *
   * @throws `PREPARED_ENDED` when it was decided about in another way: by `rollback()`, by the checker, by another object
   * of the same message; `FENCED` when the producer's name was opened again; `TOPIC_NOT_FOUND`, `TOPIC_CONFLICT` when its
   * topic is gone or holds something else (it stays prepared then); `CLOSED`, `STORE_FAILED`
   */
  commit(): Promise<SendResult> {
    const forget = (error: unknown): never => {
      this.#committing = undefined
      throw error
    }
    return (this.#committing ??= this.#decider.commit(this.#ref).catch(forget))
  }

  /** Removes the message: nobody will ever see it. Settles and throws as {@link PreparedMessage.commit}. */
  rollback(): Promise<void> {
    const forget = (error: unknown): never => {
      this.#rollingBack = undefined
      throw error
    }
    return (this.#rollingBack ??= this.#decider.rollback(this.#ref).catch(forget))
  }
}

/** A stored message as its deciders see it. Its value is decoded when it is asked for: many only look at the key. */
export function contentOf(stored: StoredPrepared, codec: () => Codec<unknown>): PreparedContent {
  const { ref, topic, key, headers, preparedAt, checks } = stored
  return {
    id: preparedId(ref),
    topic,
    key,
    headers: Object.freeze(headers === undefined ? {} : (JSON.parse(headers) as Headers)),
    preparedAt,
    checks,
    get value() {
      return decode(stored, codec())
    },
  }
}

/** As users know a prepared message. */
export function preparedId({ epoch, number }: PreparedRef): string {
  return `${epoch}.${number}`
}

function decode({ topic, value }: StoredPrepared, codec: Codec<unknown>): unknown {
  const stored = Buffer.from(value)
  try {
    return codec.format === 'text' ? codec.decode(stored.toString() as never) : codec.decode(stored as never)
  } catch (cause) {
    const message = `a prepared message for ${topic} is not what the codec ${codec.contentType} expects`
    throw new QueueError('DECODING_FAILED', message, { topic, cause })
  }
}
