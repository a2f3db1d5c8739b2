import { expect, test } from 'vitest'
import type { Storage, WriteBatch } from '../../src/contracts/storage.ts'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import type { WriteList } from '../../src/storage/write-list.ts'
import { runSuite } from '../../src/testing/suites/conformance.ts'
import { storageSuite } from '../../src/testing/suites/storage-suite.ts'
import { memoryStorage, spoil } from './subjects.ts'

type Put = WriteBatch['put']

/** Batches whose writes are changed on their way in. */
function withPut(storage: Storage, change: (put: Put) => Put): Partial<Storage> {
  return {
    batch: () => {
      const batch = storage.batch()
      batch.put = change(batch.put.bind(batch))
      return batch
    },
  }
}

/** A call whose exceptions are rejections. */
async function attempt(call: () => Promise<void>): Promise<void> {
  await call()
}

/** What a driver may get wrong, and the case that has to notice. */
const faults: Record<string, { caughtBy: string; changes: (storage: Storage) => Partial<Storage> }> = {
  'loses every seventh write': {
    caughtBy: 'DURA-2',
    changes: (storage) => {
      let writes = 0
      return withPut(storage, (put) => (table, key, value) => {
        if (++writes % 7 !== 0) put(table, key, value)
      })
    },
  },
  'lets commits overtake each other': {
    caughtBy: 'DURA-3',
    changes: (storage) => {
      let held: (() => void)[] = []
      const run = (): void => {
        const group = held.reverse()
        held = []
        for (const commit of group) commit()
      }
      const commit = (batch: WriteBatch): Promise<void> => {
        const done = new Promise<void>((resolve, reject) => {
          held.push(() => void attempt(() => storage.commit(batch)).then(resolve, reject))
          if (held.length === 1) realRuntime.later('turn', run)
        })
        done.catch(() => {})
        return done
      }
      return { commit }
    },
  },
  'acknowledges before it has written': {
    caughtBy: 'DURA-10',
    changes: (storage) => ({
      commit: async (batch) => {
        attempt(() => storage.commit(batch)).catch(() => {})
      },
    }),
  },
  'tears a batch in two': {
    caughtBy: 'DURA-10',
    changes: (storage) => ({
      commit: (batch) => {
        const { tables, keys, values } = batch as WriteList
        const parts = keys.map((key, i) => {
          const part = storage.batch()
          if (values[i] === undefined) part.remove(tables[i]!, key)
          else part.put(tables[i]!, key, values[i]!)
          return part
        })
        const done = attempt(async () => {
          for (const part of parts) await storage.commit(part)
        })
        done.catch(() => {})
        return done
      },
    }),
  },
  'forgets to remove': {
    caughtBy: 'the later write of a batch on a key wins',
    changes: (storage) => ({
      batch: () => {
        const batch = storage.batch()
        batch.remove = () => {}
        return batch
      },
    }),
  },
  'takes the end of a range in': {
    caughtBy: 'ranges are half-open',
    changes: (storage) => ({
      range: (table, range) => storage.range(table, { ...range, to: Buffer.concat([range.to, Buffer.of(0)]) }),
    }),
  },
  'answers one page more than was asked for': {
    caughtBy: 'ranges are half-open',
    changes: (storage) => ({ keys: (table, range) => storage.keys(table, { ...range, limit: range.limit + 1 }) }),
  },
  'hands out its own memory': {
    caughtBy: 'what is read and written is copied',
    changes: (storage) => {
      let kept: ReturnType<Storage['range']> | undefined
      const all = (): ReturnType<Storage['range']> =>
        (kept ??= storage.range('log', { from: Buffer.of(0), to: Buffer.of(255), limit: 9 }))
      return { range: all, keys: () => all().map(({ key }) => key) }
    },
  },
  'keeps all tables in one': {
    caughtBy: 'tables have keys of their own',
    changes: (storage) => ({
      ...withPut(storage, (put) => (_, key, value) => put('log', key, value)),
      get: (_, key) => storage.get('log', key),
    }),
  },
  'begins each opening with the same epoch': { caughtBy: 'FENCE-1', changes: () => ({ epoch: 1 }) },
  'answers after it was closed': {
    caughtBy: 'a closed store refuses everything',
    changes: (storage) => ({
      get: (table, key) => {
        try {
          return storage.get(table, key)
        } catch {
          return undefined
        }
      },
    }),
  },
  'is empty when it is opened again': {
    caughtBy: 'DURA-1:',
    changes: (storage) => (storage.epoch === 1 ? {} : { range: () => [] }),
  },
  'waits for writes that an empty batch has not': {
    caughtBy: 'an empty batch settles',
    changes: (storage) => ({
      commit: (batch) => (batch.size === 0 ? new Promise(() => {}) : storage.commit(batch)),
    }),
  },
  'finds damage where there is none': {
    caughtBy: 'verify finds nothing',
    changes: () => ({ verify: async () => ['!'] }),
  },
  'knows of a disk that it has not': {
    caughtBy: 'a store without a disk',
    changes: () => ({ diskFreeBytes: 1_000_000 }),
  },
  'says that it made a backup': { caughtBy: 'backup is not supported', changes: () => ({ backup: async () => {} }) },
  'says that it is not durable': { caughtBy: 'says so', changes: () => ({ durable: false }) },
}

test.each(Object.entries(faults))('a storage that %s is caught', async (_, { caughtBy, changes }) => {
  const subject = memoryStorage((storage) => spoil(storage, changes(storage)))
  const { failed } = await runSuite(storageSuite(subject), { timeoutMs: 1_500 })
  expect(failed.map(({ name }) => name)).toContainEqual(expect.stringContaining(caughtBy))
})
