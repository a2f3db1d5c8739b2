import { describe, expect, test } from 'vitest'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { type MemoryStorage, openMemoryStorage } from '../../src/storage/memory-storage.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)

/** Turns and fault points in the hands of the test. */
function scene(): { runtime: Runtime; turns: (() => void)[]; at: Map<string, () => void> } {
  const turns: (() => void)[] = []
  const at = new Map<string, () => void>()
  const later = (_label: string, task: () => void): void => void turns.push(task)
  return { runtime: { ...realRuntime, later, point: (name) => at.get(name)?.() }, turns, at }
}

function put(storage: MemoryStorage, key: string, value: string): Promise<void> {
  const batch = storage.batch()
  batch.put('log', bytes(key), bytes(value))
  return storage.commit(batch)
}

const read = (storage: MemoryStorage, key: string): string | undefined => storage.get('log', bytes(key))?.toString()

describe('memory storage', () => {
  test('a commit completes in one turn named commit, with all that was committed until then', async () => {
    const { runtime, turns } = scene()
    const storage = openMemoryStorage({ runtime })
    const commits = [put(storage, 'a', '1'), put(storage, 'b', '2')]
    expect(turns).toHaveLength(1)
    expect(read(storage, 'a')).toBeUndefined()
    turns.pop()?.()
    await Promise.all(commits)
    expect(read(storage, 'b')).toBe('2')
  })

  test('DURA-10: a crash keeps what was applied, a power loss only what was flushed', async () => {
    for (const kind of ['process', 'power'] as const) {
      const { runtime, turns, at } = scene()
      const storage = openMemoryStorage({ runtime })
      const first = put(storage, 'a', 'old')
      turns.pop()?.()
      await first
      let next: MemoryStorage | undefined
      at.set('commit:applied', () => (next ??= storage.crash(kind)))
      void put(storage, 'a', 'new')
      void put(storage, 'b', 'new')
      turns.pop()?.()
      expect(read(next as MemoryStorage, 'a')).toBe(kind === 'process' ? 'new' : 'old')
      expect(read(next as MemoryStorage, 'b')).toBe(kind === 'process' ? 'new' : undefined)
      expect(next?.epoch).toBe(storage.epoch + 1)
    }
  })

  test('FENCE-5: after a crash the old handle settles nothing and changes nothing', async () => {
    const { runtime, turns } = scene()
    const storage = openMemoryStorage({ runtime })
    let settled = false
    const lost = put(storage, 'a', 'lost')
    const next = storage.crash('process')
    const late = put(storage, 'a', 'late')
    void Promise.race([lost, late]).finally(() => (settled = true))
    for (const turn of turns) turn()
    await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(false)
    expect(read(next, 'a')).toBeUndefined()
  })

  test('a fault stops the store as a failing disk would', async () => {
    const storage = openMemoryStorage({ runtime: realRuntime })
    const heard: string[] = []
    storage.onFailure((error) => heard.push(error.message))
    storage.faults.commit = () => Object.assign(new Error('no space'), { code: 'ENOSPC' })
    await expect(put(storage, 'a', '1')).rejects.toMatchObject({ code: 'STORE_FAILED', cause: { code: 'ENOSPC' } })
    storage.faults.commit = undefined
    await expect(put(storage, 'a', '1')).rejects.toMatchObject({ code: 'STORE_FAILED' })
    expect(heard).toHaveLength(1)
    storage.faults.diskFreeBytes = 7
    expect(storage.stats().diskFreeBytes).toBe(7)
  })

  test('stays fast and right with many entries in random order', async () => {
    const storage = openMemoryStorage({ runtime: realRuntime })
    const model = new Map<string, string>()
    for (let round = 0; round < 20; round++) {
      const batch = storage.batch()
      for (let i = 0; i < 2_500; i++) {
        const key = String(Math.imul(round * 2_500 + i, 0x9e3779b1) >>> 12).padStart(7, '0')
        if (i % 4 === 3) {
          model.delete(key)
          batch.remove('log', bytes(key))
        } else {
          model.set(key, String(i))
          batch.put('log', bytes(key), bytes(String(i)))
        }
      }
      await storage.commit(batch)
    }
    const all = { from: bytes('0'), to: bytes('~'), limit: 1_000_000 }
    const sorted = [...model.keys()].sort()
    expect(storage.keys('log', all).map(String)).toEqual(sorted)
    expect(storage.keys('log', { ...all, reverse: true }).map(String)).toEqual(sorted.reverse())
    expect(storage.range('log', all).every(({ key, value }) => model.get(String(key)) === String(value))).toBe(true)
  })
})
