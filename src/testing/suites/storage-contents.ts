import assert from 'node:assert/strict'
import { isQueueError } from '../../errors.ts'
import { bytes, everything, awaitedLater, numbered, show, text, write, type StorageCase } from './storage-case.ts'

/** What reads answer, and what the store does beside reading and writing. */
export const contentCases: readonly StorageCase[] = [
  {
    name: 'ranges are half-open, in byte order, limited, and reversible',
    run: async ({ storage }) => {
      await write(storage, { a: '1', b: '2', bb: '3', c: '4', '\xe9': '5' })
      const range = (from: string, to: string, limit = 9, reverse = false): string =>
        show(storage.range('log', { from: bytes(from), to: bytes(to), limit, reverse }))
      assert.equal(range('a', 'c'), 'a=1 b=2 bb=3')
      assert.equal(range('aa', 'bb'), 'b=2')
      assert.equal(range('a', 'c', 2), 'a=1 b=2')
      assert.equal(range('a', 'c', 9, true), 'bb=3 b=2 a=1')
      assert.equal(range('b', 'd', 2, true), 'c=4 bb=3')
      assert.equal(range('b', 'c', 1, true), 'bb=3')
      assert.equal(range('z', '\xff', 9, true), 'é=5')
      assert.equal(range('c', 'c'), '')
      assert.equal(range('d', 'b'), '')
      assert.equal(range('d', 'b', 9, true), '')
      assert.equal(range('a', 'c', 0), '')
      const keys = storage.keys('log', { from: bytes('b'), to: bytes('d'), limit: 2, reverse: true })
      assert.deepEqual(keys.map(text), ['c', 'bb'])
    },
  },
  {
    name: 'what is read and written is copied',
    run: async ({ storage }) => {
      const key = Buffer.from('key')
      const value = Buffer.alloc(100_000, 1)
      const batch = storage.batch()
      batch.put('log', key, value)
      await storage.commit(batch)
      key.fill(0)
      value.fill(2)
      const first = storage.get('log', bytes('key')) as Uint8Array
      assert.equal(first.byteLength, 100_000)
      assert.ok(first.every((byte) => byte === 1))
      first.fill(3)
      const [entry] = storage.range('log', everything)
      assert.ok(entry?.value.every((byte) => byte === 1))
      entry?.key.fill(0)
      assert.equal(text(storage.keys('log', everything)[0]), 'key')
    },
  },
  {
    name: 'values of any size come back',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      const sizes = [0, 1, 2_000, 4_080, 4_096, 100_000, 1 << 20, 17 << 20]
      const batch = storage.batch()
      for (const size of sizes) batch.put('log', numbered(size), Buffer.alloc(size, size % 251))
      await storage.commit(batch)
      const again = await reopen()
      for (const size of sizes) {
        const value = again.get('log', numbered(size))
        assert.ok(value !== undefined && Buffer.alloc(size, size % 251).equals(value), `${size} bytes`)
      }
    },
  },
  {
    name: 'a closed store refuses everything, and closes again',
    run: async ({ storage }) => {
      await Promise.all([storage.close(), storage.close()])
      await storage.close()
      const closed = (error: unknown): boolean => isQueueError(error, 'CLOSED')
      assert.throws(() => storage.get('log', bytes('a')), closed)
      assert.throws(() => storage.range('log', everything), closed)
      assert.throws(() => storage.keys('log', everything), closed)
      await assert.rejects(storage.commit(storage.batch()), closed)
    },
  },
  {
    name: 'compact keeps everything, gives space back, and commits go on',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      const fat = storage.batch()
      for (let i = 0; i < 100; i++) fat.put('log', numbered(i), Buffer.alloc(10_000, i))
      await storage.commit(fat)
      const thin = storage.batch()
      for (let i = 10; i < 100; i++) thin.remove('log', numbered(i))
      await storage.commit(thin)
      const compacted = storage.compact()
      const during = awaitedLater(write(storage, { during: 'x' }))
      const { before, after } = await compacted
      assert.ok(storage.kind === 'memory' ? after === before : after < before / 2, `${before} -> ${after}`)
      await during
      await write(storage, { later: 'y' })
      assert.deepEqual(await storage.verify(), [])
      const again = await reopen()
      assert.equal(again.keys('log', everything).length, 12)
      assert.equal(again.get('log', numbered(9))?.byteLength, 10_000)
      assert.equal(text(again.get('log', bytes('later'))), 'y')
    },
  },
  {
    name: 'verify finds nothing in a sound store, while commits go on',
    run: async ({ storage }) => {
      for (let round = 0; round < 5; round++) {
        const commits = Array.from({ length: 20 }, (_, i) =>
          awaitedLater(write(storage, { [`${round}-${i}`]: 'x'.repeat(i * 100) })),
        )
        assert.deepEqual(await storage.verify(), [])
        await Promise.all(commits)
      }
    },
  },
  {
    name: 'stats are numbers that grow with the data',
    run: async ({ storage }) => {
      const before = storage.stats()
      await write(storage, { a: 'x'.repeat(100_000) })
      const after = storage.stats()
      assert.ok(after.bytes > before.bytes)
      assert.ok(after.freeBytes >= 0 && after.diskFreeBytes > 0)
    },
  },
  {
    name: 'a store that survives power loss says so',
    requires: 'durable',
    run: async ({ storage }) => assert.equal(storage.durable, true),
  },
  {
    name: 'a store that does not survive power loss says so',
    unless: 'durable',
    run: async ({ storage }) => assert.equal(storage.durable, false),
  },
  {
    name: 'a store on a disk knows how much space is left there, also before each send',
    requires: 'diskGuard',
    run: async ({ storage }) => {
      assert.ok(Number.isFinite(storage.stats().diskFreeBytes) && Number.isFinite(storage.diskFreeBytes))
      assert.ok(storage.diskFreeBytes > 0)
    },
  },
  {
    name: 'a store without a disk never runs out of its space',
    unless: 'diskGuard',
    run: async ({ storage }) => {
      assert.deepEqual([storage.stats().diskFreeBytes, storage.diskFreeBytes], [Infinity, Infinity])
    },
  },
  {
    name: 'DURA-5: a backup of a live store is whole and opens by itself',
    requires: 'backup',
    run: async ({ storage, backup }) => {
      const commits = Array.from({ length: 50 }, (_, i) =>
        awaitedLater(write(storage, { [`a${i}`]: '1', [`b${i}`]: '2' })),
      )
      await commits[20]
      const path = backup!.path()
      await storage.backup(path)
      await Promise.all(commits)
      const copy = await backup!.open(path)
      try {
        const names = copy.keys('log', everything).map((key) => String(text(key)))
        const complete = names.filter((name) => name.startsWith('a')).length
        assert.ok(complete >= 21)
        assert.equal(names.length, 2 * complete)
      } finally {
        await copy.close()
      }
      await assert.rejects(storage.backup(path), (error) => isQueueError(error, 'INVALID_OPTION'))
    },
  },
  {
    name: 'backup is not supported',
    unless: 'backup',
    run: async ({ storage }) => {
      await assert.rejects(storage.backup('anywhere'), (error) => isQueueError(error, 'UNSUPPORTED'))
    },
  },
]
