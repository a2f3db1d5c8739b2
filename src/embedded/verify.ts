import type { Runtime } from '../runtime/runtime.ts'
import { logKey, offsetOfLogKey } from '../key-layout.ts'
import { damageOf, StoredBatch } from '../log/record-batch.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import type { EmbeddedBroker } from './embedded-broker.ts'

export interface VerifyFindings {
  readonly ok: boolean
  readonly batches: number
  readonly messages: number
  readonly damages: string[]
}

/** Batches checked between two turns of the event loop. */
const batchesPerSlice = 16

/** Reads every page and every batch of the store: checksums, order, gaps, times. Yields between slices. */
export async function verifyStore(broker: EmbeddedBroker, runtime: Runtime): Promise<VerifyFindings> {
  await broker.flush()
  const damages = await broker.storage.verify()
  let batches = 0
  let messages = 0
  for (const topic of broker.topics()) {
    for (const log of topic.logs) {
      const walk = new LogWalk(broker, log, `${topic.name}/${log.partition}`)
      while (!walk.isDone) {
        broker.assertOpen()
        walk.slice()
        await new Promise<void>((resolve) => runtime.later('verify', resolve))
      }
      damages.push(...walk.damages)
      batches += walk.batches
      messages += walk.messages
    }
  }
  return { ok: damages.length === 0, batches, messages, damages }
}

/** Walks one partition from its first stored batch to its end as of now. */
class LogWalk {
  readonly damages: string[] = []
  batches = 0
  messages = 0
  isDone = false
  readonly #broker: EmbeddedBroker
  readonly #log: PartitionLog
  readonly #name: string
  readonly #end: number
  #from = 0
  /** Where the next batch has to begin, at the latest; unknown after damage. */
  #expected: number | undefined
  #timestamp = 0

  constructor(broker: EmbeddedBroker, log: PartitionLog, name: string) {
    this.#broker = broker
    this.#log = log
    this.#name = name
    this.#end = log.flushedEnd
    this.#expected = log.offsets.start
  }

  slice(): void {
    const { id } = this.#log
    const range = { from: logKey(id, this.#from), to: logKey(id, this.#end), limit: batchesPerSlice }
    const page = this.#broker.storage.range('log', range)
    for (const { key, value } of page) {
      const offset = offsetOfLogKey(key)
      this.#from = offset + 1
      this.#check(offset, value as Buffer)
    }
    if (page.length === batchesPerSlice) return
    this.isDone = true
    // What retention removes meanwhile is no damage.
    const from = Math.max(this.#expected ?? this.#end, this.#log.offsets.start)
    if (from < this.#end) this.damages.push(`${this.#name}: nothing holds offsets [${from}, ${this.#end})`)
  }

  #check(offset: number, value: Buffer): void {
    this.batches++
    const damage = damageOf(value, this.#log.id, offset)
    if (damage !== undefined) {
      this.damages.push(`${this.#name}: batch at offset ${offset}: ${damage}`)
      this.#expected = undefined
      return
    }
    const batch = new StoredBatch(value)
    this.messages += batch.count
    const isFirst = this.batches === 1
    const expected = this.#expected === undefined ? offset : Math.max(this.#expected, this.#log.offsets.start)
    if (offset > expected || (!isFirst && offset < this.#expected!)) {
      this.damages.push(`${this.#name}: batch at offset ${offset} should begin at ${expected}`)
    }
    if (batch.timestamp < this.#timestamp) this.damages.push(`${this.#name}: batch at offset ${offset}: time goes back`)
    this.#expected = batch.nextOffset
    this.#timestamp = batch.timestamp
  }
}
