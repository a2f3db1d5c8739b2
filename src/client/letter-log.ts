import PQueue from 'p-queue'
import type {
  Assignment,
  Broker,
  BrokerTopic,
  MemberListener,
  Membership,
  Output,
  RecordBatch,
} from '../contracts/broker.ts'
import { deadLetterKeeper } from '../dead-letter.ts'
import type { DeadLetterFacts } from '../dead-letter-facts.ts'
import { TimeSlice } from '../dispatch/time-slice.ts'
import { QueueError } from '../errors.ts'
import type { Runtime } from '../runtime/runtime.ts'

/** A record in a topic of dead letters. */
export interface LetterRecord {
  readonly partition: number
  readonly offset: number
  readonly batch: RecordBatch
  readonly index: number
}

/** A record whose facts say that it is a letter of a certain group and topic. */
export interface FoundLetter extends LetterRecord {
  readonly facts: DeadLetterFacts
}

/**
 * A topic of dead letters in the hands of its keeper: the group of the engine for which a letter is finished that was
 * deleted or sent back. The topic's retention waits for that group and for nobody else, so what is finished goes.
 *
 * Who changes it takes turns ({@link LetterLog.exclusive}): what one call reads as unfinished no other one finishes before.
 */
export class LetterLog implements MemberListener {
  readonly topic: BrokerTopic
  readonly #broker: Broker
  readonly #runtime: Runtime
  readonly #turns = new PQueue({ concurrency: 1 })
  readonly #assignments = new Map<number, Assignment>()
  /** Who waits: for the partitions, or for time to pass. */
  readonly #waiting = new Set<() => void>()
  #membership: Membership | undefined
  #failure: QueueError | undefined

  constructor(topic: BrokerTopic, broker: Broker, runtime: Runtime) {
    this.topic = topic
    this.#broker = broker
    this.#runtime = runtime
  }

  /** Becomes the one member of the keeper; resolves when all partitions are there. */
  async begin(): Promise<this> {
    const group = deadLetterKeeper(this.topic.name)
    this.#membership = await this.#broker.join({ group, topics: [this.topic], from: 'earliest', listener: this })
    while (this.#failure === undefined && this.#assignments.size < this.topic.settings.partitions) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
    this.assertOpen()
    return this
  }

  assigned(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) this.#assignments.set(assignment.partition, assignment)
    this.#wake()
  }

  async revoked(assignments: readonly Assignment[]): Promise<void> {
    for (const { partition } of assignments) this.#assignments.delete(partition)
  }

  lost(error: QueueError): void {
    this.#failure ??= error
    this.#wake()
  }

  get failure(): QueueError | undefined {
    return this.#failure ?? this.topic.ended
  }

  /** @throws why it can't be used any more: `TOPIC_DELETED`, `CLOSED`, `STORE_FAILED` */
  assertOpen(): void {
    if (this.failure !== undefined) throw this.failure
  }

  /** Runs a task when no other one runs that changes something. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#turns.add(task)
  }

  isFinished(partition: number, offset: number): boolean {
    return this.#of(partition).finished.has(offset)
  }

  /**
   * Finishes letters and sends messages in one commit: both or nothing survive a crash. Settles when it is on disk. The
   * offsets of a partition rise.
   */
  async finish(
    partition: number,
    offsets: readonly number[],
    outputs: readonly Output[] = [],
    signal?: AbortSignal,
  ): Promise<void> {
    const assignment = this.#of(partition)
    const { position } = assignment.finished
    const { start } = this.topic.offsets(partition)
    // What retention took is over: nothing may wait for it.
    const finished = start > position ? [position, start] : []
    for (const offset of offsets) {
      if (finished.at(-1) === offset) finished[finished.length - 1] = offset + 1
      else finished.push(offset, offset + 1)
    }
    const acks = [{ membership: this.#membership!, partitions: [{ assignment, finished }] }]
    await this.#broker.transact({ outputs, parts: [] }, acks, { acks: 'flushed', signal })
  }

  /** Every record of a partition from an offset to an end that is not finished, in order; gives others their turn between. */
  async *records(partition: number, from: number, to: number): AsyncGenerator<LetterRecord, void, void> {
    const slice = new TimeSlice(this.#runtime)
    slice.begin()
    const { finished } = this.#of(partition)
    const end = Math.min(to, this.topic.offsets(partition).end)
    for (let next = Math.max(from, finished.position); next < end;) {
      this.assertOpen()
      const page = await this.topic.fetch(partition, next)
      if (page.kind === 'empty') return
      if (page.kind === 'gap') {
        next = page.start
        continue
      }
      const { batch } = page
      for (let { index } = page; index < batch.count; index++) {
        const offset = batch.offsetAt(index)
        if (offset >= end) return
        if (!finished.has(offset)) yield { partition, offset, batch, index }
        if (!slice.isOver()) continue
        await new Promise<void>((resolve) => this.#runtime.later('dead letters', resolve))
        slice.begin()
      }
      next = batch.nextOffset
    }
  }

  /** One record, if it is there and not finished. */
  async at(partition: number, offset: number): Promise<LetterRecord | undefined> {
    for await (const found of this.records(partition, offset, offset + 1)) return found
    return undefined
  }

  /** Waits so long, or until the signal is aborted, or the topic can't be used any more. */
  async wait(ms: number, label: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.failure !== undefined || signal?.aborted) return
    await new Promise<void>((resolve) => {
      const over = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', over)
        this.#waiting.delete(over)
        resolve()
      }
      const timer = this.#runtime.timer(ms, label, over)
      signal?.addEventListener('abort', over)
      this.#waiting.add(over)
    })
  }

  /** Lets those go who wait, with `CLOSED`. */
  close(): void {
    this.lost(new QueueError('CLOSED', 'the queue is closed'))
  }

  #of(partition: number): Assignment {
    this.assertOpen()
    return this.#assignments.get(partition)!
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }
}

/** The topics of dead letters that were asked for, each in one pair of hands as long as the queue is open. */
export class LetterLogs {
  readonly #broker: Broker
  readonly #runtime: Runtime
  readonly #opened = new Map<BrokerTopic, Promise<LetterLog>>()
  readonly #logs = new Set<LetterLog>()

  constructor(broker: Broker, runtime: Runtime) {
    this.#broker = broker
    this.#runtime = runtime
  }

  /** The log of a topic of dead letters; undefined while nothing was moved there. */
  async find(name: string): Promise<LetterLog | undefined> {
    // What was given up before this call is seen.
    await this.#broker.flush()
    const topic = this.#broker.topic(name)
    if (topic === undefined) return undefined
    const known = this.#opened.get(topic)
    if (known !== undefined) return known
    for (const log of this.#logs) if (log.failure !== undefined) this.#forget(log)
    const log = new LetterLog(topic, this.#broker, this.#runtime)
    this.#logs.add(log)
    const opening = log.begin()
    this.#opened.set(topic, opening)
    // The next one who asks tries again.
    opening.catch(() => this.#forget(log))
    return opening
  }

  close(): void {
    for (const log of this.#logs) log.close()
  }

  #forget(log: LetterLog): void {
    this.#logs.delete(log)
    this.#opened.delete(log.topic)
  }
}
