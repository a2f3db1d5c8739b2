import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Storage } from '../../src/contracts/storage.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'

const base = mkdtempSync(join(tmpdir(), 'lanemq-full-'))
const disk = join(base, 'disk')
mkdirSync(disk)
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', disk]).status === 0
afterAll(() => {
  if (mounted) spawnSync('umount', [disk])
  rmSync(base, { recursive: true, force: true })
})

const key = (i: number): Buffer => Buffer.from(String(i).padStart(6, '0'))
const everything = { from: Buffer.from('0'), to: Buffer.from('~'), limit: 100_000 }

// Skips are counted by the runner; the reason stands in the title.
describe.skipIf(!mounted)(`storage: full disk${mounted ? '' : ' (needs the right to mount a small tmpfs)'}`, () => {
  test('BOUND-1: a full disk stops the store before a write fails; it opens again when there is room', async () => {
    const path = join(disk, 'store')
    let storage = await openLmdbStorage({ path, runtime })
    let acked = 0
    const error = await commitForever(storage, () => acked++)
    expect(error).toMatchObject({ code: 'STORE_FAILED', cause: { code: 'ENOSPC' } })
    expect(error.message).toMatch(/no room on the disk .* were not written; free some space/)
    expect(acked).toBeGreaterThan(10)
    await expect(storage.commit(storage.batch())).rejects.toBe(error)
    expect(storage.keys('log', everything)).toHaveLength(acked)
    await storage.close()

    // Room inside the store counts: removing works on a disk that is as full as before.
    storage = await openLmdbStorage({ path, runtime })
    expect(storage.keys('log', everything)).toHaveLength(acked)
    for (let i = 0; i < acked; i++) {
      const batch = storage.batch()
      batch.remove('log', key(i))
      await storage.commit(batch)
    }
    const refilled = await commitForever(storage, () => {})
    expect(refilled).toMatchObject({ code: 'STORE_FAILED' })
    await storage.close()
    rmSync(path, { recursive: true })
  })

  test('a new store on a full disk is refused and leaves nothing', async () => {
    const filler = join(disk, 'filler')
    for (let size = 12 << 20; size >= 4_096; size >>= 1) {
      try {
        writeFileSync(filler, Buffer.alloc(size), { flag: 'a' })
      } catch {
        // Half of it may still fit.
      }
    }
    const path = join(disk, 'new')
    mkdirSync(path)
    await expect(openLmdbStorage({ path, runtime })).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(readdirSync(path).filter((name) => name.endsWith('.mdb'))).toEqual([])
    rmSync(filler)
    await (await openLmdbStorage({ path, runtime })).close()
  })
})

async function commitForever(storage: Storage, acknowledged: () => void): Promise<Error> {
  for (let i = 0; ; i++) {
    const batch = storage.batch()
    batch.put('log', key(i), Buffer.alloc(100_000, i))
    try {
      await storage.commit(batch)
    } catch (error) {
      return error as Error
    }
    acknowledged()
  }
}
