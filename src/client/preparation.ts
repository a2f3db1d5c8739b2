import type { Codec } from '../codec.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { NewPrepared, PreparedMessages, PreparedRef, StoredPrepared } from '../contracts/prepared.ts'
import type { OutputTopic } from '../dispatch/collected-effects.ts'
import type { EventHub } from '../events.ts'
import type { OutgoingMessage, SendResult } from '../message.ts'
import { invalid } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { CheckBack } from './check-back.ts'
import type { PreparedContent, ResolvedPrepareOptions } from './check-options.ts'
import { deadLetterOf } from './prepared-dead-letter.ts'
import { contentOf, PreparedMessage, preparedId, type Decider } from './prepared-message.ts'
import { SteadyClock } from './steady-clock.ts'
import type { TopicCodecs } from './topic-codecs.ts'

/** One opening of a producer's name, as far as it matters here. */
export interface PreparingSession {
  readonly name: string
  readonly epoch: number
  /** Its check throws `FENCED` once the name was opened again. */
  part(): CommitPart
}

/** What preparing needs of the queue. */
export interface PreparationParts {
  readonly prepared: PreparedMessages
  readonly runtime: Runtime
  readonly events: EventHub
  readonly codecs: TopicCodecs
}

/** The prepared messages of one named producer. */
export class Preparation implements Decider {
  readonly #session: PreparingSession
  readonly #parts: PreparationParts
  readonly #options: ResolvedPrepareOptions
  readonly #clock: SteadyClock
  readonly #checkBack: CheckBack | undefined
  #prepared = 0

  /** Begins to ask the checker, if there is one. */
  constructor(session: PreparingSession, parts: PreparationParts, options: ResolvedPrepareOptions) {
    this.#session = session
    this.#parts = parts
    this.#options = options
    this.#clock = new SteadyClock(parts.runtime)
    const { checker, check } = options
    if (checker) this.#checkBack = new CheckBack(this.#checkHost(), checker, check)
  }

  async prepare<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): Promise<PreparedMessage<V>> {
    if (typeof topic?.output !== 'function') throw invalid('prepare', 'topic', topic, 'a topic of this queue')
    const { record } = topic.output(message)
    const { name: producer, epoch } = this.#session
    const ref: PreparedRef = { producer, epoch, number: ++this.#prepared }
    const { check, limits } = this.#options
    const dueAt = this.#clock.now() + check.timeoutMs
    const preparedAt = this.#parts.runtime.now()
    const prepared: NewPrepared = { ref, topic: topic.name, record, preparedAt, dueAt, limits }
    await this.#parts.prepared.prepare(prepared, [this.#session.part()])
    this.#checkBack?.waitFor(dueAt)
    const { key, value, headers = {} } = message
    const content = { id: preparedId(ref), topic: topic.name, key, value, headers, preparedAt, checks: 0 }
    return new PreparedMessage<V>(content, ref, this)
  }

  /** Those that nobody decided about, in the order in which they were prepared; one is in memory at a time. */
  async *list(): AsyncGenerator<PreparedMessage, void, void> {
    const { prepared } = this.#parts
    const { name } = this.#session
    for (let stored = prepared.next(name, undefined); stored !== undefined; stored = prepared.next(name, stored.ref)) {
      yield new PreparedMessage(await this.#content(stored), stored.ref, this)
    }
  }

  async commit(ref: PreparedRef): Promise<SendResult> {
    const result = await this.#parts.prepared.commit(ref, [this.#session.part()])
    this.#checkBack?.decided()
    return result
  }

  async rollback(ref: PreparedRef): Promise<void> {
    await this.#parts.prepared.rollback(ref, [this.#session.part()])
    this.#checkBack?.decided()
  }

  /** Asks the checker nothing more. */
  close(): void {
    this.#checkBack?.close()
  }

  async #content(stored: StoredPrepared): Promise<PreparedContent> {
    const codec = await this.#parts.codecs.find(stored.topic, stored.contentType).then(
      (found) => (): Codec<unknown> => found,
      // Who only looks at the key does not need it.
      (error: unknown) => (): never => {
        throw error
      },
    )
    return contentOf(stored, codec)
  }

  #checkHost(): ConstructorParameters<typeof CheckBack>[0] {
    const { name: producer, epoch } = this.#session
    const { prepared, runtime, events } = this.#parts
    const fence = (): CommitPart => this.#session.part()
    return {
      ...{ producer, epoch, prepared, runtime, events, fence, clock: this.#clock },
      content: (stored) => this.#content(stored),
      giveUp: (stored, error) => this.#giveUp(stored, error),
    }
  }

  async #giveUp(stored: StoredPrepared, error: unknown): Promise<string> {
    const { prepared, runtime } = this.#parts
    const letter = deadLetterOf(stored, error, runtime.now())
    await prepared.move(stored.ref, letter, [this.#session.part()])
    return letter.topic
  }
}
