import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import type { MessageQueue } from '../../src/index.ts'
import { openOn, queueDefaults } from '../../src/open.ts'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { openMemoryStorage } from '../../src/storage/memory-storage.ts'
import type { IdempotencySubject } from '../../src/testing/suites/idempotency-suite.ts'

/** The store in the environment of a queue; its clocks stand still but for what the cases move them by. */
export const queueIdempotency: IdempotencySubject = {
  features: { durable: true, results: true, transactional: true, exactTime: true },
  open: async () => {
    let time = 1_000_000
    const runtime: Runtime = { ...realRuntime, now: () => time, monotonic: () => time }
    let storage = openMemoryStorage({ runtime, durable: true })
    const open = async (): Promise<MessageQueue> => openOn(storage, runtime, queueDefaults())
    let mq = await open()
    return {
      store: openLmdbIdempotencyStore(mq),
      leaseMs: 1_000,
      advance: async (ms) => {
        time += ms
      },
      reopen: async () => {
        await mq.close()
        storage = storage.crash('power')
        mq = await open()
        return openLmdbIdempotencyStore(mq)
      },
      transaction: async (body) => {
        await mq.transaction((transaction) => body(transaction))
      },
      dispose: () => mq.close().then(() => {}),
    }
  },
}
