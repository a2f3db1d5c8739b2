import type { Broker, BrokerTopic, EncodedRecord, Output } from '../contracts/broker.ts'
import { deadLetterKeeper } from '../dead-letter.ts'
import type { RedriveFacts } from '../dead-letter-facts.ts'
import { inKeyOrder, type OrderedLetter } from '../dispatch/redrive-order.ts'
import { QueueError } from '../errors.ts'
import { murmur2OfText, partitionOf } from '../partitioner.ts'
import { reservedHeader, withReserved } from '../reserved-headers.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { ResolvedRedrive, RedriveResult } from './dead-letter-options.ts'
import type { FoundLetter, LetterLog, LetterRecord } from './letter-log.ts'

/** What a redrive needs around it. */
export interface RedriveHost {
  readonly group: string
  readonly source: string
  readonly broker: Broker
  readonly runtime: Runtime
  readonly aborted: (count: number) => QueueError
  /** So many are on disk. */
  readonly tell: (count: number) => void
  readonly letters: (partition: number, from: number, to: number) => AsyncIterable<FoundLetter>
  /** The letter that a record is, if it is one of this group. */
  readonly own: (record: LetterRecord) => FoundLetter | undefined
}

/** A letter that is to be sent back; what it holds is read again then. */
interface ChosenLetter extends OrderedLetter {
  readonly offset: number
}

/** Letters that are put in order at once; of each only where it is stays in memory. */
const lettersAtOnce = 10_000
/** Letters and bytes of one commit. */
const lettersOfSlice = 256
const bytesOfSlice = 1 << 20
/** With a rate, slices are this far apart at most, or as far as one message takes. */
const sliceMs = 100

/** One run of {@link DeadLetters.redrive}. */
export class Redrive {
  readonly #log: LetterLog
  readonly #options: ResolvedRedrive
  readonly #host: RedriveHost
  readonly #startedAt: number
  #redriven = 0
  #exhausted = 0

  constructor(log: LetterLog, options: ResolvedRedrive, host: RedriveHost) {
    this.#log = log
    this.#options = options
    this.#host = host
    this.#startedAt = host.runtime.monotonic()
  }

  async run(): Promise<RedriveResult> {
    const { topic } = this.#log
    this.#target()
    // What fails again meanwhile waits for another call.
    const ends = Array.from({ length: topic.settings.partitions }, (_, partition) => topic.offsets(partition).end)
    for (let partition = 0; partition < ends.length; partition++) {
      for (let from = 0; from < ends[partition]! && this.#left > 0;) {
        const { chosen, next } = await this.#choose(partition, from, ends[partition]!)
        await this.#sendAll(partition, inKeyOrder(chosen))
        from = next
      }
    }
    return { ...this.#progress, isLimited: this.#left === 0 }
  }

  get #left(): number {
    return this.#options.limit - this.#redriven
  }

  get #progress(): { redriven: number; exhausted: number } {
    return { redriven: this.#redriven, exhausted: this.#exhausted }
  }

  async #choose(partition: number, from: number, to: number): Promise<{ chosen: ChosenLetter[]; next: number }> {
    const chosen: ChosenLetter[] = []
    for await (const { batch, index, offset, facts } of this.#host.letters(partition, from, to)) {
      if (facts.redrives >= this.#options.maxRedrives) {
        this.#exhausted++
        continue
      }
      const key = batch.keyAt(index)
      const lane = key === undefined ? undefined : murmur2OfText(key)
      const { partition: first, offset: at } = facts.origin ?? facts
      chosen.push({ offset, lane, origin: { partition: first, offset: at } })
      if (chosen.length === lettersAtOnce) return { chosen, next: offset + 1 }
    }
    return { chosen, next: to }
  }

  async #sendAll(partition: number, chosen: readonly ChosenLetter[]): Promise<void> {
    const { signal, onProgress } = this.#options
    for (let at = 0; at < chosen.length && this.#left > 0;) {
      await this.#pace()
      if (signal?.aborted) throw this.#host.aborted(this.#redriven)
      const { taken, sent } = await this.#log.exclusive(() => this.#sendSlice(partition, chosen, at))
      at += taken
      this.#redriven += sent
      this.#host.tell(sent)
      if (sent > 0) onProgress?.(this.#progress)
    }
  }

  /** Sends some of the letters, in their order, in the commit that finishes them. */
  async #sendSlice(
    partition: number,
    chosen: readonly ChosenLetter[],
    from: number,
  ): Promise<{ taken: number; sent: number }> {
    const target = this.#target()
    const limit = Math.min(lettersOfSlice, this.#left, this.#allowed)
    const offsets: number[] = []
    const outputs: Output[] = []
    let at = from
    for (let bytes = 0; at < chosen.length && outputs.length < limit && bytes < bytesOfSlice; at++) {
      const record = await this.#log.at(partition, chosen[at]!.offset)
      // Another call was faster, or retention was.
      const found = record && this.#host.own(record)
      if (found === undefined) continue
      const copy = this.#copyOf(found, target)
      outputs.push({ topic: target, record: copy })
      offsets.push(found.offset)
      bytes += copy.end
    }
    if (outputs.length === 0) return { taken: at - from, sent: 0 }
    offsets.sort((one, other) => one - other)
    try {
      await this.#log.finish(partition, offsets, outputs, this.#options.signal)
    } catch (error) {
      if (this.#options.signal?.aborted) throw this.#host.aborted(this.#redriven)
      throw error
    }
    return { taken: at - from, sent: outputs.length }
  }

  /** With a rate: how many one slice may have. */
  get #allowed(): number {
    return Math.max(1, Math.floor((this.#options.rate * sliceMs) / 1_000))
  }

  /** Waits until those that were sent have had their time. */
  async #pace(): Promise<void> {
    const { rate, signal } = this.#options
    const { group, runtime } = this.#host
    const dueAt = this.#startedAt + (this.#redriven / rate) * 1_000
    const waitMs = dueAt - runtime.monotonic()
    if (waitMs > 0) await this.#log.wait(waitMs, `redrive ${group}`, signal)
    this.#log.assertOpen()
  }

  /** Where the messages go. @throws `TOPIC_NOT_FOUND`, `TOPIC_CONFLICT`, `UNSUPPORTED` */
  #target(): BrokerTopic {
    const { broker, group, source } = this.#host
    const facts = { group, topic: source }
    const target = broker.topic(source)
    if (target === undefined) {
      throw new QueueError('TOPIC_NOT_FOUND', `the topic ${source} of the dead letters of ${group} is gone`, facts)
    }
    const { contentType, retention } = target.settings
    if (retention.consumedBy.includes(deadLetterKeeper(source))) {
      const text = `${source} holds dead letters itself: send those back to where they come from`
      throw new QueueError('UNSUPPORTED', text, facts)
    }
    const own = this.#log.topic.settings.contentType
    if (contentType === own) return target
    throw new QueueError('TOPIC_CONFLICT', `the topic ${source} holds ${contentType}, the dead letters ${own}`, facts)
  }

  /** The message as it was, with the group that it is for. */
  #copyOf({ batch, index, facts }: FoundLetter, target: BrokerTopic): EncodedRecord {
    const { partitions } = target.settings
    const key = batch.keyAt(index)
    const value = batch.valueBytesAt(index)
    const isSame = partitions === this.#log.topic.settings.partitions && facts.partition < partitions
    // Where the topic was made anew, with other partitions, keys are where senders put them now.
    const moved = key === undefined ? facts.partition % partitions : partitionOf(key, partitions)
    const origin = facts.origin ?? { partition: facts.partition, offset: facts.offset, id: facts.id }
    const redrive: RedriveFacts = { group: facts.group, count: facts.redrives + 1, origin }
    return {
      partition: isSame ? facts.partition : moved,
      key,
      value,
      start: 0,
      end: value.length,
      headers: withReserved(batch.headersAt(index), reservedHeader.redrive, redrive),
    }
  }
}
