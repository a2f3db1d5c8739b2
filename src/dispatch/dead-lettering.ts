import type {
  Broker,
  BrokerTopic,
  EncodedRecord,
  FirstFailure,
  RecordBatch,
  TopicSettings,
} from '../contracts/broker.ts'
import { deadLetterKeeper, deadLetterTopicName, readRedriveFacts, summarizeError } from '../dead-letter.ts'
import type { DeadLetterFacts, ErrorSummary } from '../dead-letter-facts.ts'
import { isQueueError, type QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { reservedHeader, withReserved } from '../reserved-headers.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { deferred } from './deferral.ts'
import { leftRunning, type DeliveredEntry } from './delivered-entry.ts'
import { blockedBy, indexOf, type BatchSource, type KeyLanes, type Lane } from './key-lanes.ts'
import type { Letter } from './letter.ts'
import type { LogReader } from './log-reader.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { Retries } from './retries.ts'
import type { Settler } from './settler.ts'

/** What dead-lettering needs of the loop around it. */
export interface DeadLetteringHost {
  readonly lanes: KeyLanes
  readonly retries: Retries
  readonly reader: LogReader
  readonly settler: Settler
  /** It can't go on. */
  readonly lost: (error: QueueError) => void
}

/**
 * Moves messages that are given up into the topic of the dead letters. The move is one commit with the progress: the
 * message is finished exactly when it is there. Its bytes are taken from the log, so what can't be decoded moves as well.
 */
export class DeadLettering {
  /** Messages that were moved. */
  moved = 0
  readonly #group: string
  readonly #runtime: Runtime
  readonly #events: EventHub
  readonly #broker: Pick<Broker, 'ensureTopic'>
  readonly #host: DeadLetteringHost

  constructor(
    group: string,
    runtime: Runtime,
    events: EventHub,
    broker: Pick<Broker, 'ensureTopic'>,
    host: DeadLetteringHost,
  ) {
    this.#group = group
    this.#runtime = runtime
    this.#events = events
    this.#broker = broker
    this.#host = host
  }

  /**
   * Moves a message, or has the loop do it once the message is read and the member has joined: the lane waits for that.
   * The caller refreshes the lane.
   */
  take(lane: Lane, entry: DeliveredEntry, letter: Letter): void {
    const { lanes, reader, retries, settler } = this.#host
    lanes.deferAll(lane)
    retries.hold(lane, entry, letter)
    const source = settler.hasMembership ? reader.load(lane, entry.intake, entry.offset) : undefined
    if (source !== undefined) this.#move(lane, entry.intake, source)
    // So that the next owner does not begin anew, should the partition go before.
    else if (entry.intake.isEnded) retries.taken(lane)
    else if (lane.retry !== undefined) retries.noteAttempts(entry)
  }

  /** As {@link DeadLettering.take}, of a message that has been read. */
  takeLoaded(lane: Lane, intake: PartitionIntake, source: BatchSource): void {
    this.#move(lane, intake, source)
    this.#host.lanes.refresh(lane)
  }

  #move(lane: Lane, intake: PartitionIntake, { batch }: BatchSource): void {
    const { retries, settler } = this.#host
    const group = this.#group
    const { letter, offset, key, attempt } = lane.retry!
    const { effects, error, reason } = letter!
    const entry: DeliveredEntry = { intake, offset, key, attempt: attempt - 1 }
    const first = retries.firstFailure(intake, offset)
    retries.taken(lane)
    const { topic: from } = intake.assignment
    const facts = this.#factsOf(entry, letter!, first, batch)
    const to = this.#broker.ensureTopic(deadLetterTopicName(from.name, group), settingsLike(from, group))
    const output = { topic: to, record: recordOf(batch, offset, intake.assignment.partition, facts, to), isMove: true }
    const outputs = effects === undefined ? [output] : [...effects.outputs, output]
    const refusal = settler.accept([entry], { outputs, parts: effects?.parts ?? [] })
    effects?.end()
    if (refusal !== undefined) return this.#refused(lane, entry, letter!, refusal.error)
    this.moved++
    const place = { group, ...leftRunning(entry) }
    this.#events.emit('message:dead-lettered', {
      ...place,
      attempts: entry.attempt,
      reason,
      error,
      deadLetterTopic: to.name,
    })
  }

  #refused(lane: Lane, entry: DeliveredEntry, letter: Letter, error: unknown): void {
    const { lost, retries } = this.#host
    // A partition that has gone is its next owner's business.
    if (entry.intake.isEnded || error === undefined) return
    if (letter.effects !== undefined) retries.fail(lane, entry, deferred(error, this.#runtime.random('conflict')))
    else if (isQueueError(error, 'FENCED')) {
      // It is just about to go: until then nothing of the key may pass.
      retries.hold(lane, entry, letter)
      lane.blocked |= blockedBy.moving
    } else lost(error as QueueError)
  }

  #factsOf(
    { intake, offset, attempt }: DeliveredEntry,
    { reason, error }: Letter,
    first: FirstFailure | undefined,
    batch: RecordBatch,
  ): DeadLetterFacts {
    const { topic, partition } = intake.assignment
    const index = indexOf(batch, offset)
    const redrive = readRedriveFacts(batch.headersAt(index))
    const failedAt = this.#runtime.now()
    const lastError = error === undefined ? undefined : summarizeError(error)
    return {
      group: this.#group,
      topic: topic.name,
      partition,
      offset,
      timestamp: batch.timestampAt(index),
      id: batch.idPrefix + offset,
      attempts: attempt,
      reason,
      firstError: first === undefined ? lastError : (JSON.parse(first.error) as ErrorSummary),
      firstFailedAt: first?.at ?? (lastError && failedAt),
      lastError,
      failedAt,
      redrives: redrive?.count ?? 0,
      origin: redrive?.origin,
    }
  }
}

/** As many partitions as the topic has, the same kind of values; what is deleted or sent back there need not be kept. */
function settingsLike(topic: BrokerTopic, group: string): TopicSettings {
  const { partitions, contentType, text } = topic.settings
  const keeper = deadLetterKeeper(deadLetterTopicName(topic.name, group))
  const retention = { maxAgeMs: Infinity, maxBytes: Infinity, consumedBy: [keeper], hardMaxBytes: Infinity }
  return { partitions, contentType, text, retention }
}

/** The message as it is stored, whether it can be decoded or not. */
function recordOf(
  batch: RecordBatch,
  offset: number,
  partition: number,
  facts: DeadLetterFacts,
  to: BrokerTopic,
): EncodedRecord {
  const index = indexOf(batch, offset)
  const value = batch.valueBytesAt(index)
  return {
    // Usually the same one; a topic that was there before may have fewer.
    partition: partition % to.settings.partitions,
    key: batch.keyAt(index),
    value,
    start: 0,
    end: value.length,
    headers: withReserved(batch.headersAt(index), reservedHeader.deadLetter, facts),
  }
}
