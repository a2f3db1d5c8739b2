import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Progress } from '../../../src/groups/progress.ts'
import { failedKey, maxOffset, positionKey } from '../../../src/key-layout.ts'
import { pageSize } from '../../../src/offset-set.ts'
import { openMemoryStorage } from '../../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import { runs } from '../../runs.ts'

function scene(): {
  storage: ReturnType<typeof openMemoryStorage>
  write: (change: (writes: ReturnType<ReturnType<typeof openMemoryStorage>['batch']>) => void) => Promise<number>
  rows: () => number
} {
  const runtime = new VirtualRuntime()
  const storage = openMemoryStorage({ runtime })
  return {
    storage,
    async write(change) {
      const writes = storage.batch()
      change(writes)
      await runtime.resolve(storage.commit(writes))
      return writes.size
    },
    rows: () =>
      storage.keys('progress', { from: positionKey(1, 2), to: failedKey(1, 2, maxOffset), limit: 1e6 }).length,
  }
}

describe('progress of a group in a partition', () => {
  test('is absent until a group begins, then stored with the next commit', async () => {
    const { storage, write } = scene()
    expect(Progress.restore(storage, 1, 2)).toBeUndefined()
    const progress = Progress.begin(1, 2, 0)
    await write((writes) => progress.write(writes))
    expect(Progress.restore(storage, 1, 2)?.position).toBe(0)
    expect(Progress.restore(storage, 1, 3), 'another partition').toBeUndefined()
    expect(Progress.restore(storage, 2, 2), 'another group').toBeUndefined()
  })

  test('PROGRESS-22: position and finished offsets are restored exactly after any settlements, seeks and many pages', async () => {
    const range = fc.tuple(fc.integer({ min: 0, max: 300 * pageSize }), fc.integer({ min: 1, max: 20 }))
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.record({ finish: fc.array(range, { minLength: 1, maxLength: 8 }) }) },
      { weight: 1, arbitrary: fc.record({ seek: fc.integer({ min: 0, max: 300 * pageSize }) }) },
      { weight: 2, arbitrary: fc.record({ head: fc.integer({ min: 1, max: 3 * pageSize }) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 15 }), async (steps) => {
        const { storage, write } = scene()
        const progress = Progress.begin(1, 2, 0)
        for (const [step, settle] of steps) {
          if ('finish' in step) progress.finish(step.finish.flatMap(([from, count]) => [from, from + count]))
          else if ('seek' in step) progress.moveTo(step.seek)
          else progress.finish([progress.position, progress.position + step.head])
          if (settle) await write((writes) => progress.write(writes))
        }
        await write((writes) => progress.write(writes))
        const restored = Progress.restore(storage, 1, 2)!
        expect([restored.position, restored.above]).toEqual([progress.position, progress.above])
        expect(restored.finished.ceiling).toBe(progress.finished.ceiling)
        for (let offset = 0; offset < 300 * pageSize; offset += 4097) {
          expect(restored.finished.has(offset)).toBe(progress.finished.has(offset))
        }
      }),
      runs(25),
    )
  })

  test('PROGRESS-22: more pages than are read at once are restored too', async () => {
    const { storage, write, rows } = scene()
    const progress = Progress.begin(1, 2, 0)
    const pages = Array.from({ length: 700 }, (_, page) => page * pageSize + 1 + (page % 100))
    progress.finish(pages.flatMap((offset) => [offset, offset + 1]))
    await write((writes) => progress.write(writes))
    expect(rows()).toBe(701)
    const restored = Progress.restore(storage, 1, 2)!
    expect([restored.above, pages.every((offset) => restored.finished.has(offset))]).toEqual([700, true])
  })

  test('a settlement in order writes one row, whatever was finished before', async () => {
    const { write } = scene()
    const progress = Progress.begin(1, 2, 0)
    await write((writes) => progress.write(writes))
    progress.finish([0, 100_000])
    expect(await write((writes) => progress.write(writes))).toBe(1)
    progress.finish([100_000, 100_001])
    expect(await write((writes) => progress.write(writes))).toBe(1)
    expect(await write((writes) => progress.write(writes))).toBe(0)
  })

  test('a seek removes the pages of before, and erasing removes every row', async () => {
    const { storage, write, rows } = scene()
    const progress = Progress.begin(1, 2, 0)
    progress.finish([5, 10, 3 * pageSize, 3 * pageSize + 1])
    await write((writes) => progress.write(writes))
    expect(rows()).toBe(3)
    progress.moveTo(7)
    await write((writes) => progress.write(writes))
    expect([rows(), Progress.restore(storage, 1, 2)?.position]).toEqual([1, 7])
    progress.finish([9, 10])
    await write((writes) => progress.write(writes))
    progress.moveTo(0)
    await write((writes) => progress.erase(writes))
    expect(rows()).toBe(0)
  })

  test('a position row of the wrong size is damage', async () => {
    const { storage, write } = scene()
    await write((writes) => writes.put('progress', positionKey(1, 2), Buffer.alloc(7)))
    expect(() => Progress.restore(storage, 1, 2)).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
  })
})
