import type { LogContext } from '../../../src/log/partition-log.ts'
import { GroupCommit } from '../../../src/log/group-commit.ts'
import { PartitionLog } from '../../../src/log/partition-log.ts'
import { RecentReads, Tail } from '../../../src/log/tail.ts'
import { openMemoryStorage, type MemoryStorage } from '../../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'

/** Partition logs on a store in memory, in virtual time. */
export class LogScene {
  readonly runtime: VirtualRuntime = new VirtualRuntime({ point: (name) => this.atPoint(name) })
  /** Called at the fault points of the store. */
  atPoint: (name: string) => void = (): void => {}
  storage: MemoryStorage
  context: LogContext
  readonly #tailBytes: number

  constructor(options: { tailBytes?: number } = {}) {
    this.#tailBytes = options.tailBytes ?? 2 ** 24
    this.storage = openMemoryStorage({ runtime: this.runtime, durable: true })
    this.context = this.#newContext()
  }

  log(id = 1, text = true): PartitionLog {
    return new PartitionLog(this.context, id, 0, text ? 'text/plain' : 'application/octet-stream')
  }

  /** The process or the power goes; what survived is opened anew. */
  crash(kind: 'process' | 'power'): void {
    this.storage = this.storage.crash(kind)
    this.context = this.#newContext()
  }

  /** Keys of the stored batches of a partition. */
  storedBatches(): number {
    return this.storage.keys('log', { from: Buffer.alloc(1), to: Buffer.alloc(11, 255), limit: 1e6 }).length
  }

  #newContext(): LogContext {
    const commit = new GroupCommit(this.storage, this.runtime, () => {})
    return {
      storage: this.storage,
      runtime: this.runtime,
      commit,
      tail: new Tail(this.#tailBytes),
      recent: new RecentReads(4),
    }
  }
}

export function append(log: PartitionLog, value: string, acks: 'flushed' | 'buffered' = 'flushed'): number {
  return log.append({ key: 'k', value, start: 0, end: value.length, headers: undefined }, acks === 'buffered')
}

/** Every value from `offset` on, as a reader gets them. */
export function readFrom(log: PartitionLog, offset: number): string[] {
  const values: string[] = []
  for (let next = offset; ;) {
    const result = log.fetch(next)
    if (result.kind !== 'records') return values
    for (let i = result.index; i < result.batch.count; i++) values.push(result.batch.valueBytesAt(i).toString())
    next = result.batch.nextOffset
  }
}
