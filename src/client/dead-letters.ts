import type { Codec } from '../codec.ts'
import type { Broker } from '../contracts/broker.ts'
import { deadLetterTopicName, readDeadLetterFacts } from '../dead-letter.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Headers } from '../message.ts'
import { invalid } from '../options.ts'
import { userHeaders } from '../reserved-headers.ts'
import type { Runtime } from '../runtime/runtime.ts'
import {
  resolveDelete,
  resolveFilter,
  resolveList,
  resolveRedrive,
  type DeadLetter,
  type DeadLetterDeleteOptions,
  type DeadLetterFilter,
  type DeadLetterListOptions,
  type DeadLetterPage,
  type DeadLetterPlace,
  type RedriveOptions,
  type RedriveResult,
} from './dead-letter-options.ts'
import type { FoundLetter, LetterLog, LetterLogs, LetterRecord } from './letter-log.ts'
import { Redrive } from './redrive.ts'
import type { TopicCodecs } from './topic-codecs.ts'

/** What dead letters need of the queue. */
export interface DeadLettersHost {
  readonly broker: Broker
  readonly runtime: Runtime
  readonly events: EventHub
  readonly codecs: TopicCodecs
  readonly logs: LetterLogs
}

/** Letters that one commit of {@link DeadLetters.delete} finishes. */
const deletedAtOnce = 1_000

/**
 * The dead letters of one group from one topic. All of it works while the group is consuming, and whether it has members
 * or not. A letter that was deleted or sent back is not shown any more, and its room is free after the next check of
 * retention.
 */
export class DeadLetters {
  readonly group: string
  /** Where the messages were. */
  readonly source: string
  /** Where the letters are; there is no such topic before the first one. */
  readonly topic: string
  readonly #host: DeadLettersHost

  /** @internal */
  constructor(group: string, source: string, host: DeadLettersHost) {
    this.group = group
    this.source = source
    this.topic = deadLetterTopicName(source, group)
    this.#host = host
  }

  /**
   * Reads letters, partition by partition and in each in the order in which they were given up, up to the end as it is when
   * reading begins. One batch of the log is in memory at a time.
   *
   * @throws `INVALID_OPTION`, `CLOSED`, `TOPIC_DELETED`
   */
  read(filter?: DeadLetterFilter): AsyncGenerator<DeadLetter, void, void> {
    return this.#read(resolveFilter(filter, 'read'), undefined)
  }

  /** As {@link DeadLetters.read}. */
  [Symbol.asyncIterator](): AsyncGenerator<DeadLetter, void, void> {
    return this.read()
  }

  /** One page of letters, in the order of {@link DeadLetters.read}. @throws `INVALID_OPTION`, `CLOSED`, `TOPIC_DELETED` */
  async list(options?: DeadLetterListOptions): Promise<DeadLetterPage> {
    const { after, limit, ...filter } = resolveList(options)
    const letters: DeadLetter[] = []
    for await (const letter of this.#read(filter, after)) {
      if (letters.length === limit) {
        const { partition, offset } = letters[limit - 1]!
        return { letters, next: { partition, offset } }
      }
      letters.push(letter)
    }
    return { letters, next: undefined }
  }

  /** One letter; undefined when there is none at that place, or it was deleted or sent back. @throws `INVALID_OPTION`, `CLOSED` */
  async get(place: DeadLetterPlace): Promise<DeadLetter | undefined> {
    resolveList({ after: place })
    const log = await this.#host.logs.find(this.topic)
    if (log === undefined || place.partition >= log.topic.settings.partitions) return undefined
    const record = await log.at(place.partition, place.offset)
    const found = record && this.#own(record)
    return found && this.#letterOf(found, await this.#decoder(log))
  }

  /** How many letters there are. Reads their headers: it takes time in proportion to them. @throws `INVALID_OPTION`, `CLOSED` */
  async count(filter?: DeadLetterFilter): Promise<number> {
    const resolved = resolveFilter(filter, 'count')
    let count = 0
    const log = await this.#host.logs.find(this.topic)
    const found = this.#matching(log, resolved, undefined)
    while (!(await found.next()).done) count++
    return count
  }

  /**
   * Deletes letters for good, in slices; those that come meanwhile stay. Works although the disk is full. Resolves to how
   * many, when that is on disk.
   *
   * @throws `INVALID_OPTION`, `ABORTED` (with `count`), `CLOSED`, `TOPIC_DELETED`
   */
  async delete(options?: DeadLetterDeleteOptions): Promise<number> {
    const { signal, ...filter } = resolveDelete(options)
    const log = await this.#host.logs.find(this.topic)
    if (log === undefined) return 0
    let count = 0
    const remove = async (partition: number, offsets: number[]): Promise<void> => {
      if (offsets.length === 0) return
      if (signal?.aborted) throw aborted('delete', count, signal)
      await log.exclusive(async () => {
        const left = offsets.filter((offset) => !log.isFinished(partition, offset))
        await log.finish(partition, left)
        count += left.length
        this.#tell('dead-letters:deleted', left.length)
      })
    }
    let partition = 0
    let offsets: number[] = []
    for await (const found of this.#matching(log, filter, undefined)) {
      if (found.partition !== partition || offsets.length === deletedAtOnce) {
        await remove(partition, offsets)
        partition = found.partition
        offsets = []
      }
      offsets.push(found.offset)
    }
    await remove(partition, offsets)
    return count
  }

  /**
   * Sends letters back to their topic, for this group only: other groups never see them again. Their bytes, keys and headers
   * are those of the message; its attempts count anew, and {@link Message.redriveFacts} says where it was at first. One that
   * fails again comes back to the dead letters, with one more redrive counted.
   *
   * In key order: letters of one key go in the order in which their messages were sent, and otherwise in that in which they
   * were given up, each partition for itself. (Of those that failed again after a redrive, up to 10,000 letters are put in
   * order at a time.) They go behind what is in the topic by then: where nothing of the key may pass, use
   * `onExhausted: 'park-key'` and {@link Group.release}.
   *
   * Messages and the letters that they were go in one commit, slice by slice: whatever happens no letter is lost and none is
   * sent back twice, and another call goes on where it stopped. Two calls at once share the letters. Those that come
   * meanwhile stay.
   *
   * @throws `INVALID_OPTION`; `TOPIC_NOT_FOUND` when the topic is gone; `TOPIC_CONFLICT` when it is there with another codec;
   * `UNSUPPORTED` when it is a topic of dead letters itself; `ABORTED` (with `count`); `STORE_FULL`, `CLOSED`, `TOPIC_DELETED`
   */
  async redrive(options?: RedriveOptions): Promise<RedriveResult> {
    const resolved = resolveRedrive(options)
    const log = await this.#host.logs.find(this.topic)
    if (log === undefined) return { redriven: 0, exhausted: 0, isLimited: false }
    const { broker, runtime } = this.#host
    const run = new Redrive(log, resolved, {
      ...{ group: this.group, source: this.source, broker, runtime },
      aborted: (count) => aborted('redrive', count, resolved.signal!),
      tell: (count) => this.#tell('dead-letters:redriven', count),
      letters: (partition, from, to) => this.#matchingIn(log, resolved, partition, from, to),
      own: (record) => this.#own(record),
    })
    return run.run()
  }

  #tell(name: 'dead-letters:deleted' | 'dead-letters:redriven', count: number): void {
    if (count === 0) return
    this.#host.events.emit(name, { group: this.group, topic: this.source, deadLetterTopic: this.topic, count })
  }

  async *#read(filter: DeadLetterFilter, after: DeadLetterPlace | undefined): AsyncGenerator<DeadLetter, void, void> {
    const log = await this.#host.logs.find(this.topic)
    if (log === undefined) return
    const decode = await this.#decoder(log)
    for await (const found of this.#matching(log, filter, after)) yield this.#letterOf(found, decode)
  }

  async *#matching(
    log: LetterLog | undefined,
    filter: DeadLetterFilter,
    after: DeadLetterPlace | undefined,
  ): AsyncGenerator<FoundLetter, void, void> {
    const ends = Array.from({ length: log?.topic.settings.partitions ?? 0 }, (_, i) => log!.topic.offsets(i).end)
    for (let partition = after?.partition ?? 0; partition < ends.length; partition++) {
      const from = partition === after?.partition ? after.offset + 1 : 0
      yield* this.#matchingIn(log!, filter, partition, from, ends[partition]!)
    }
  }

  async *#matchingIn(
    log: LetterLog,
    filter: DeadLetterFilter,
    partition: number,
    from: number,
    to: number,
  ): AsyncGenerator<FoundLetter, void, void> {
    const { key, since, errorCode, predicate } = filter
    const decode = predicate && (await this.#decoder(log))
    for await (const record of log.records(partition, from, to)) {
      if (key !== undefined && record.batch.keyAt(record.index) !== key) continue
      const found = this.#own(record)
      if (found === undefined) continue
      const { failedAt, firstError, lastError = firstError } = found.facts
      if (since !== undefined && failedAt < since) continue
      if (errorCode !== undefined && lastError?.code !== errorCode) continue
      if (predicate === undefined || asked(predicate, this.#letterOf(found, decode!))) yield found
    }
  }

  /** A topic may be shared by two groups whose names make the same one, and users can send to it. */
  #own(record: LetterRecord): FoundLetter | undefined {
    const facts = readDeadLetterFacts(record.batch.headersAt(record.index))
    return facts?.group === this.group && facts.topic === this.source ? { ...record, facts } : undefined
  }

  async #decoder({ topic }: LetterLog): Promise<(found: FoundLetter) => unknown> {
    const { contentType } = topic.settings
    try {
      const codec: Codec<unknown> = await this.#host.codecs.find(this.source, contentType)
      return ({ batch, index }) => batch.valueAt(index, codec)
    } catch (error) {
      // Who only looks at the facts does not need it.
      return () => {
        throw error as QueueError
      }
    }
  }

  #letterOf(found: FoundLetter, decode: (found: FoundLetter) => unknown): DeadLetter {
    const { partition, offset, batch, index, facts } = found
    const headers: Headers = userHeaders(batch.headersAt(index))
    const place = { partition, offset, key: batch.keyAt(index), headers, facts, bytes: batch.valueBytesAt(index) }
    return Object.defineProperty(place as typeof place & { value: unknown }, 'value', { get: () => decode(found) })
  }
}

/** An answer that comes later is none. */
function asked(predicate: (letter: DeadLetter) => boolean, letter: DeadLetter): boolean {
  const answer: unknown = predicate(letter)
  if (typeof answer === 'boolean') return answer
  throw invalid('predicate', 'predicate', answer, 'a function that returns true or false')
}

function aborted(what: string, count: number, signal: AbortSignal): QueueError {
  return new QueueError('ABORTED', `the signal was aborted: ${what} ended after ${count} letters`, {
    count,
    cause: signal.reason,
  })
}
