import assert from 'node:assert/strict'
import type { Storage, StorageEntry, Table } from '../contracts/storage.ts'
import { isQueueError } from '../errors.ts'
import { realRuntime } from '../runtime/real-runtime.ts'

/** A store under test and what belongs to it. */
export interface StorageUnderTest {
  readonly storage: Storage
  /** Closes the store and opens what it kept. */
  reopen(): Promise<Storage>
  /** Releases everything. */
  dispose(): Promise<void>
}

/** What {@link storageSuite} needs from a test runner and a driver. */
export interface StorageSuiteOptions {
  readonly describe: (title: string, body: () => void) => void
  readonly test: (title: string, body: () => Promise<void>) => void
  /** Of the driver, for titles. */
  readonly name: string
  /** Opens an empty store. */
  readonly open: () => Promise<StorageUnderTest>
  readonly features: {
    /** `backup(path)` works: returns a free path, and opens a copy. */
    readonly backup?: { path(): string; open(path: string): Promise<Storage> }
  }
}

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString()
const show = (entries: StorageEntry[]): string =>
  entries.map(({ key, value }) => `${text(key)}=${text(value)}`).join(' ')
const everything = { from: bytes('\0'), to: bytes('\xff'), limit: 1_000_000 }

/** What every `Storage` must do, for any test runner. */
export function storageSuite({ describe, test, name, open, features }: StorageSuiteOptions): void {
  const withStore = (title: string, body: (under: StorageUnderTest) => Promise<void>): void =>
    test(title, async () => {
      const under = await open()
      try {
        await body(under)
      } finally {
        await under.dispose()
      }
    })

  describe(`storage: ${name}`, () => {
    withStore('DURA-1: a settled commit is there after reopening', async ({ storage, reopen }) => {
      await write(storage, { a: '1', b: '2' })
      const again = await reopen()
      assert.equal(show(again.range('log', everything)), 'a=1 b=2')
    })

    withStore('DURA-2: a batch is seen whole or not at all, however large', async ({ storage }) => {
      const batch = storage.batch()
      const count = 20_000
      for (let i = 0; i < count; i++) batch.put(i % 2 === 0 ? 'log' : 'progress', numbered(i), numbered(i))
      let settled = false
      const done = storage.commit(batch).then(() => (settled = true))
      while (!settled) {
        const seen = [0, 1, count >> 1, count - 1].filter((i) =>
          storage.get(i % 2 === 0 ? 'log' : 'progress', numbered(i)),
        )
        assert.ok(seen.length === 0 || seen.length === 4, `a part of the batch was visible: ${seen}`)
        await nextTurn()
      }
      await done
      for (const table of ['log', 'progress'] as const) assert.equal(storage.keys(table, everything).length, count / 2)
    })

    withStore('DURA-3: commits take effect and settle in the order of the calls', async ({ storage, reopen }) => {
      const settled: number[] = []
      const commits: Promise<void>[] = []
      for (let i = 0; i < 200; i++) {
        const batch = storage.batch()
        batch.put('log', bytes('last'), bytes(String(i)))
        batch.put('log', numbered(i), bytes(String(i)))
        commits.push(storage.commit(batch).then(() => void settled.push(i)))
        if (i % 7 === 0) await nextTurn()
      }
      await Promise.all(commits)
      assert.deepEqual(
        settled,
        [...settled].sort((a, b) => a - b),
      )
      assert.equal(text((await reopen()).get('log', bytes('last'))), '199')
    })

    withStore('DURA-4: close waits for commits under way', async ({ storage, reopen }) => {
      const batch = storage.batch()
      batch.put('log', bytes('late'), bytes('x'))
      const commit = storage.commit(batch)
      const again = await reopen()
      await commit
      assert.equal(text(again.get('log', bytes('late'))), 'x')
    })

    withStore('FENCE-1: every opening has a greater epoch', async ({ storage, reopen }) => {
      const epochs = [storage.epoch, (await reopen()).epoch, (await reopen()).epoch]
      assert.deepEqual(
        epochs,
        [...new Set(epochs)].sort((a, b) => a - b),
      )
    })

    withStore('the later write of a batch on a key wins', async ({ storage }) => {
      await write(storage, { a: 'old' })
      const batch = storage.batch()
      batch.put('log', bytes('a'), bytes('1'))
      batch.remove('log', bytes('a'))
      batch.put('log', bytes('b'), bytes('1'))
      batch.put('log', bytes('b'), bytes('2'))
      batch.remove('log', bytes('absent'))
      assert.equal(batch.size, 5)
      await storage.commit(batch)
      assert.equal(show(storage.range('log', everything)), 'b=2')
    })

    withStore('tables have keys of their own and commit together', async ({ storage }) => {
      const batch = storage.batch()
      for (const table of ['meta', 'log', 'progress'] as const) batch.put(table, bytes('k'), bytes(table))
      await storage.commit(batch)
      for (const table of ['meta', 'log', 'progress'] as const)
        assert.equal(text(storage.get(table, bytes('k'))), table)
      assert.equal(storage.get('log', bytes('other')), undefined)
    })

    withStore('ranges are half-open, in byte order, limited, and reversible', async ({ storage }) => {
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
    })

    withStore('what is read and written is copied', async ({ storage }) => {
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
    })

    withStore('values of any size come back', async ({ storage, reopen }) => {
      const sizes = [0, 1, 2_000, 4_080, 4_096, 100_000, 1 << 20, 17 << 20]
      const batch = storage.batch()
      for (const size of sizes) batch.put('log', numbered(size), Buffer.alloc(size, size % 251))
      await storage.commit(batch)
      const again = await reopen()
      for (const size of sizes) {
        const value = again.get('log', numbered(size))
        assert.ok(value !== undefined && Buffer.alloc(size, size % 251).equals(value), `${size} bytes`)
      }
    })

    withStore('a key or value that no store can hold is refused before the commit', async ({ storage }) => {
      const batch = storage.batch()
      const refused = (write: () => void): void => assert.throws(write, (error) => isQueueError(error, 'INTERNAL'))
      refused(() => batch.put('log', new Uint8Array(0), bytes('x')))
      refused(() => batch.put('log', new Uint8Array(1_979), bytes('x')))
      refused(() => batch.put('log', bytes('x'), 'text' as unknown as Uint8Array))
      refused(() => batch.remove('log', new Uint8Array(0)))
      refused(() => void storage.commit({} as never))
      batch.put('log', new Uint8Array(1_978), bytes('longest'))
      assert.equal(batch.size, 1)
      await storage.commit(batch)
      assert.equal(text(storage.get('log', new Uint8Array(1_978))), 'longest')
    })

    withStore('an empty batch settles', async ({ storage }) => {
      await storage.commit(storage.batch())
      assert.deepEqual(storage.range('log', everything), [])
    })

    withStore('a closed store refuses everything, and closes again', async ({ storage }) => {
      await Promise.all([storage.close(), storage.close()])
      await storage.close()
      const closed = (error: unknown): boolean => isQueueError(error, 'CLOSED')
      assert.throws(() => storage.get('log', bytes('a')), closed)
      assert.throws(() => storage.range('log', everything), closed)
      assert.throws(() => storage.keys('log', everything), closed)
      await assert.rejects(storage.commit(storage.batch()), closed)
    })

    withStore('compact keeps everything, gives space back, and commits go on', async ({ storage, reopen }) => {
      const fat = storage.batch()
      for (let i = 0; i < 100; i++) fat.put('log', numbered(i), Buffer.alloc(10_000, i))
      await storage.commit(fat)
      const thin = storage.batch()
      for (let i = 10; i < 100; i++) thin.remove('log', numbered(i))
      await storage.commit(thin)
      const compacted = storage.compact()
      const during = write(storage, { during: 'x' })
      const { before, after } = await compacted
      assert.ok(storage.kind === 'memory' ? after === before : after < before / 2, `${before} -> ${after}`)
      await during
      await write(storage, { later: 'y' })
      assert.deepEqual(await storage.verify(), [])
      const again = await reopen()
      assert.equal(again.keys('log', everything).length, 12)
      assert.equal(again.get('log', numbered(9))?.byteLength, 10_000)
      assert.equal(text(again.get('log', bytes('later'))), 'y')
    })

    withStore('verify finds nothing in a sound store, while commits go on', async ({ storage }) => {
      for (let round = 0; round < 5; round++) {
        const commits = Array.from({ length: 20 }, (_, i) => write(storage, { [`${round}-${i}`]: 'x'.repeat(i * 100) }))
        assert.deepEqual(await storage.verify(), [])
        await Promise.all(commits)
      }
    })

    withStore('stats are numbers that grow with the data', async ({ storage }) => {
      const before = storage.stats()
      await write(storage, { a: 'x'.repeat(100_000) })
      const after = storage.stats()
      assert.ok(after.bytes > before.bytes)
      assert.ok(after.freeBytes >= 0 && after.diskFreeBytes > 0)
    })

    const { backup } = features
    if (backup === undefined) {
      withStore('backup is not supported', async ({ storage }) => {
        await assert.rejects(storage.backup('anywhere'), (error) => isQueueError(error, 'UNSUPPORTED'))
      })
      return
    }
    withStore('DURA-5: a backup of a live store is whole and opens by itself', async ({ storage }) => {
      const commits = Array.from({ length: 50 }, (_, i) => write(storage, { [`a${i}`]: '1', [`b${i}`]: '2' }))
      await commits[20]
      const path = backup.path()
      await storage.backup(path)
      await Promise.all(commits)
      const copy = await backup.open(path)
      try {
        const names = copy.keys('log', everything).map((key) => String(text(key)))
        const complete = names.filter((name) => name.startsWith('a')).length
        assert.ok(complete >= 21)
        assert.equal(names.length, 2 * complete)
      } finally {
        await copy.close()
      }
      await assert.rejects(storage.backup(path), (error) => isQueueError(error, 'INVALID_OPTION'))
    })
  })
}

function write(storage: Storage, entries: Record<string, string>, table: Table = 'log'): Promise<void> {
  const batch = storage.batch()
  for (const [key, value] of Object.entries(entries)) batch.put(table, bytes(key), bytes(value))
  return storage.commit(batch)
}

function numbered(i: number): Uint8Array {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(i, 4)
  key[0] = 1
  return key
}

/** A turn of the real event loop, since a commit needs the system to answer. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => realRuntime.later('turn', resolve))
}
