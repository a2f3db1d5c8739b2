import PQueue from 'p-queue'
import type { Contributor, Storage, WriteBatch } from '../contracts/storage.ts'
import { logKey, messageIdsKey, metaRange, removedKey } from '../key-layout.ts'
import type { GroupCommit } from '../log/group-commit.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import { trimPoint } from '../log/retention.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { EmbeddedTopic } from './embedded-topic.ts'

export interface MaintenanceSource {
  topics(): Iterable<EmbeddedTopic>
  /** The lowest position of the named groups in a partition; `Infinity` when none is named. */
  consumed(groups: readonly string[], partitionId: number): number
  readonly checkMs: number
}

/** Batches that one step looks at or removes. */
const batchesPerStep = 256

/** Upkeep inside normal traffic: retention, and removing the batches of deleted topics, both in small slices. */
export class Maintenance {
  readonly #storage: Storage
  readonly #runtime: Runtime
  readonly #commit: GroupCommit
  readonly #source: MaintenanceSource
  #timer: Timer | undefined
  #stopped = false
  /** Upkeep and operations take turns: a backup, a check and a pass of retention never run side by side. */
  readonly #tasks = new PQueue({ concurrency: 1 })

  constructor(storage: Storage, runtime: Runtime, commit: GroupCommit, source: MaintenanceSource) {
    this.#storage = storage
    this.#runtime = runtime
    this.#commit = commit
    this.#source = source
  }

  start(): void {
    this.sweepRemoved()
    this.#arm()
  }

  /** Begins nothing more; resolves when the task under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    this.#tasks.pause()
    await this.#tasks.onPendingZero()
  }

  /** Runs a task when no other one runs. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#tasks.add(task)
  }

  /** Runs one pass of retention over all partitions. */
  retain(): Promise<void> {
    return this.exclusive(() => this.#retainAll())
  }

  /** Goes on removing what deleted topics left behind. */
  sweepRemoved(): void {
    if (this.#storage.keys('meta', { ...metaRange('removed'), limit: 1 }).length === 0) return
    const sweep: Contributor = {
      contribute: (writes) => this.#removeSlice(writes),
      flushed: () => {
        if (!this.#stopped) this.sweepRemoved()
      },
    }
    this.#commit.mark(sweep)
  }

  #arm(): void {
    if (this.#stopped) return
    const check = (): void => {
      // A pass fails only when the store did, and then everyone has been told.
      void this.retain()
        .catch(() => {})
        .then(() => this.#arm())
    }
    this.#timer = this.#runtime.timer(this.#source.checkMs, 'retention', check, { background: true })
  }

  async #retainAll(): Promise<void> {
    for (const topic of this.#source.topics()) {
      for (const log of topic.logs) {
        while (!this.#stopped && !topic.ended && this.#retainStep(topic, log)) await this.#commit.flush()
      }
    }
  }

  /** Trims one partition by at most one step; true when there may be more to trim. */
  #retainStep(topic: EmbeddedTopic, log: PartitionLog): boolean {
    const { retention } = topic.settings
    const { maxAgeMs, maxBytes, hardMaxBytes, consumedBy } = retention
    if (Math.min(maxAgeMs, maxBytes, hardMaxBytes) === Infinity && consumedBy.length === 0) return false
    const oldest = log.oldest(1)
    const view = { now: this.#runtime.now(), bytes: log.bytes, consumed: this.#source.consumed(consumedBy, log.id) }
    if (trimPoint(retention, view, oldest) === undefined) return false
    const point = trimPoint(retention, view, log.oldest(batchesPerStep))
    if (point === undefined) return false
    // The flush that the caller awaits makes it durable.
    void topic.trim(log.partition, point).catch(() => {})
    return true
  }

  #removeSlice(writes: WriteBatch): void {
    const [marker] = this.#storage.keys('meta', { ...metaRange('removed'), limit: 1 })
    if (marker === undefined) return
    const id = Buffer.from(marker).readUInt32BE(1)
    const keys = this.#storage.keys('log', { from: logKey(id, 0), to: logKey(id + 1, 0), limit: batchesPerStep })
    for (const key of keys) writes.remove('log', key)
    const range = { from: messageIdsKey(id, 0), to: messageIdsKey(id + 1, 0), limit: batchesPerStep }
    const ids = this.#storage.keys('state', range)
    for (const key of ids) writes.remove('state', key)
    if (keys.length < batchesPerStep && ids.length < batchesPerStep) writes.remove('meta', removedKey(id))
  }
}
