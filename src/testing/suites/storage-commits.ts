import assert from 'node:assert/strict'
import { isQueueError } from '../../errors.ts'
import {
  bytes,
  everything,
  awaitedLater,
  nextTurn,
  numbered,
  show,
  text,
  write,
  type StorageCase,
} from './storage-case.ts'

/** What a commit means: whole, in order, and there afterwards. */
export const commitCases: readonly StorageCase[] = [
  {
    name: 'DURA-1: a settled commit is there after reopening',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      await write(storage, { a: '1', b: '2' })
      const again = await reopen()
      assert.equal(show(again.range('log', everything)), 'a=1 b=2')
    },
  },
  {
    name: 'DURA-2: a batch is seen whole or not at all, however large',
    run: async ({ storage }) => {
      const batch = storage.batch()
      const count = 20_000
      for (let i = 0; i < count; i++) batch.put(i % 2 === 0 ? 'log' : 'progress', numbered(i), numbered(i))
      let settled = false
      const done = awaitedLater(storage.commit(batch).finally(() => (settled = true)))
      while (!settled) {
        const seen = [0, 1, count >> 1, count - 1].filter((i) =>
          storage.get(i % 2 === 0 ? 'log' : 'progress', numbered(i)),
        )
        assert.ok(seen.length === 0 || seen.length === 4, `a part of the batch was visible: ${seen}`)
        await nextTurn()
      }
      await done
      for (const table of ['log', 'progress'] as const) assert.equal(storage.keys(table, everything).length, count / 2)
    },
  },
  {
    name: 'DURA-3: commits take effect and settle in the order of the calls',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      const settled: number[] = []
      const commits: Promise<void>[] = []
      for (let i = 0; i < 200; i++) {
        const batch = storage.batch()
        batch.put('log', bytes('last'), bytes(String(i)))
        batch.put('log', numbered(i), bytes(String(i)))
        commits.push(awaitedLater(storage.commit(batch).then(() => void settled.push(i))))
        if (i % 7 === 0) await nextTurn()
      }
      await Promise.all(commits)
      assert.deepEqual(
        settled,
        [...settled].sort((a, b) => a - b),
      )
      assert.equal(text((await reopen()).get('log', bytes('last'))), '199')
    },
  },
  {
    name: 'DURA-4: close waits for commits under way',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      const batch = storage.batch()
      batch.put('log', bytes('late'), bytes('x'))
      const commit = awaitedLater(storage.commit(batch))
      const again = await reopen()
      await commit
      assert.equal(text(again.get('log', bytes('late'))), 'x')
    },
  },
  {
    name: 'FENCE-1: every opening has a greater epoch',
    requires: 'durable',
    run: async ({ storage, reopen }) => {
      const epochs = [storage.epoch, (await reopen()).epoch, (await reopen()).epoch]
      assert.deepEqual(
        epochs,
        [...new Set(epochs)].sort((a, b) => a - b),
      )
    },
  },
  {
    name: 'the later write of a batch on a key wins',
    run: async ({ storage }) => {
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
    },
  },
  {
    name: 'tables have keys of their own and commit together',
    run: async ({ storage }) => {
      const batch = storage.batch()
      for (const table of ['meta', 'log', 'progress'] as const) batch.put(table, bytes('k'), bytes(table))
      await storage.commit(batch)
      for (const table of ['meta', 'log', 'progress'] as const)
        assert.equal(text(storage.get(table, bytes('k'))), table)
      assert.equal(storage.get('log', bytes('other')), undefined)
    },
  },
  {
    name: 'a key or value that no store can hold is refused before the commit',
    run: async ({ storage }) => {
      const batch = storage.batch()
      const refused = (write: () => void): void => assert.throws(write, (error) => isQueueError(error, 'INTERNAL'))
      refused(() => batch.put('log', new Uint8Array(0), bytes('x')))
      refused(() => batch.put('log', new Uint8Array(1_979), bytes('x')))
      refused(() => batch.put('log', bytes('x'), 'text' as unknown as Uint8Array))
      refused(() => batch.remove('log', new Uint8Array(0)))
      refused(() => void storage.commit({} as never).catch(() => {}))
      batch.put('log', new Uint8Array(1_978), bytes('longest'))
      assert.equal(batch.size, 1)
      await storage.commit(batch)
      assert.equal(text(storage.get('log', new Uint8Array(1_978))), 'longest')
    },
  },
  {
    name: 'an empty batch settles',
    run: async ({ storage }) => {
      await storage.commit(storage.batch())
      assert.deepEqual(storage.range('log', everything), [])
    },
  },
  {
    name: 'DURA-10: a settled commit survives power loss; one that was under way is there whole or not at all',
    requires: 'crash',
    run: async ({ storage, crash }) => {
      let current = storage
      for (let round = 0; round < 12; round++) {
        const name = String(round)
        await write(current, { [`settled-${name}`]: name })
        const batch = current.batch()
        batch.put('log', bytes(`left-${name}`), bytes(name))
        batch.put('progress', bytes(`right-${name}`), bytes(name))
        let acknowledged = false
        current.commit(batch).then(
          () => (acknowledged = true),
          () => {},
        )
        for (let turn = 0; turn < round % 4; turn++) await nextTurn()
        current = await crash!()
        assert.equal(text(current.get('log', bytes(`settled-${name}`))), name)
        const halves = [current.get('log', bytes(`left-${name}`)), current.get('progress', bytes(`right-${name}`))]
        assert.equal(text(halves[0]), text(halves[1]), 'torn')
        if (acknowledged) assert.equal(text(halves[0]), name, 'an acknowledged commit was lost')
      }
    },
  },
]
