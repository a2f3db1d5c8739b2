import type { Broker } from '../contracts/broker.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { LatencySummary } from '../dispatch/histogram.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { lagOf, type Lag } from './lag.ts'

/** One topic in a {@link QueueStats}. */
export interface TopicStats {
  readonly partitions: number
  /** Messages that can be read. */
  readonly count: number
  /** Bytes that they take in the store. */
  readonly bytes: number
  /** Messages appended a second, since the snapshot before (or since the queue was opened). */
  readonly appendedPerSecond: number
}

/** One subscription in a {@link QueueStats}. */
export interface SubscriptionStats {
  readonly group: string
  /** Handlers that run. */
  readonly running: number
  readonly concurrency: number
  /** Keys with a message that runs, waits for its turn or a retry, or is parked. */
  readonly lanes: number
  /** Messages held in memory ahead of their turn, and the bytes of the batches they keep alive. */
  readonly buffered: number
  readonly bufferedBytes: number
  /** Messages of busy keys of which only the offset is held. */
  readonly deferred: number
  /** Keys that were parked after their last attempt. */
  readonly parkedKeys: number
  /** Messages that were skipped after their last attempt, since it was opened. */
  readonly skipped: number
  /** Messages that were moved to the dead letters, since it was opened. */
  readonly deadLettered: number
  /** Handler calls that ended well, and that failed, since it was opened. */
  readonly handled: number
  readonly failed: number
  readonly handledPerSecond: number
  /** How long handlers take, in milliseconds; of synchronous ones a sample. */
  readonly latency: LatencySummary
  /** Finished messages whose progress is not durable yet. */
  readonly unsettled: number
}

/** A snapshot of everything that a queue can say in numbers. */
export interface QueueStats {
  readonly topics: Readonly<Record<string, TopicStats>>
  readonly groups: Readonly<Record<string, Lag & { readonly members: number }>>
  readonly subscriptions: readonly SubscriptionStats[]
  readonly store: StoreStats
}

/** The store in a {@link QueueStats}. */
export interface StoreStats {
  /** Bytes that the store takes, of which `freeBytes` will be used again. */
  readonly bytes: number
  readonly freeBytes: number
  /** Bytes left on the file system. */
  readonly diskFreeBytes: number
  /** Commits since the queue was opened. */
  readonly commits: number
  /** Bytes accepted and not flushed yet, and sends that wait to be accepted. */
  readonly inFlightBytes: number
  readonly waitingSends: number
  /** Bytes of the newest batches held in memory. */
  readonly tailBytes: number
}

/** Makes snapshots; rates are counted from one to the next. */
export class StatsTaker {
  readonly #runtime: Runtime
  #takenAt: number
  /** Counters as of the last snapshot, by what they count. */
  #before = new Map<unknown, number>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
    this.#takenAt = runtime.monotonic()
  }

  take(broker: Broker, dispatchers: Iterable<Dispatcher>, store: StoreStats): QueueStats {
    const takenAt = this.#runtime.monotonic()
    const seconds = Math.max((takenAt - this.#takenAt) / 1000, 1e-6)
    const counts = new Map<unknown, number>()
    const rate = (of: unknown, count: number): number => {
      counts.set(of, count)
      return Math.max(0, count - (this.#before.get(of) ?? 0)) / seconds
    }
    const topics: Record<string, TopicStats> = {}
    for (const topic of broker.topics()) {
      const ranges = Array.from({ length: topic.settings.partitions }, (_, partition) => topic.offsets(partition))
      const count = ranges.reduce((sum, { start, end }) => sum + end - start, 0)
      const appendedPerSecond = rate(
        topic,
        ranges.reduce((sum, { end }) => sum + end, 0),
      )
      const bytes = ranges.reduce((sum, _, partition) => sum + topic.bytes(partition), 0)
      topics[topic.name] = { partitions: topic.settings.partitions, count, bytes, appendedPerSecond }
    }
    const groups: Record<string, Lag & { readonly members: number }> = {}
    for (const { name, members } of broker.groups()) {
      groups[name] = { ...lagOf(broker.positions(name), this.#runtime.now()), members: members.length }
    }
    const subscriptions = Array.from(dispatchers, (dispatcher) => {
      return { ...subscriptionStats(dispatcher), handledPerSecond: rate(dispatcher, dispatcher.handled) }
    })
    this.#takenAt = takenAt
    this.#before = counts
    return { topics, groups, subscriptions, store }
  }

  /** Counts what is there already, so that the first snapshot's rates begin here. */
  begin(broker: Broker): void {
    for (const topic of broker.topics()) {
      let end = 0
      for (let partition = 0; partition < topic.settings.partitions; partition++) end += topic.offsets(partition).end
      this.#before.set(topic, end)
    }
  }
}

function subscriptionStats(dispatcher: Dispatcher): Omit<SubscriptionStats, 'handledPerSecond'> {
  const { lanes, settler } = dispatcher
  return {
    group: dispatcher.settings.group,
    running: dispatcher.running,
    concurrency: dispatcher.concurrency,
    lanes: lanes.inUse,
    buffered: lanes.buffered,
    bufferedBytes: lanes.bufferedBytes,
    deferred: lanes.deferred,
    parkedKeys: dispatcher.retries.parkedCount,
    skipped: dispatcher.retries.skipped,
    deadLettered: dispatcher.deadLettering.moved,
    handled: dispatcher.handled,
    failed: dispatcher.retries.failed,
    latency: dispatcher.latency.summary(),
    unsettled: settler.unsettled,
  }
}
