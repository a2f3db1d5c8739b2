import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { open as openLmdb } from 'lmdb'
import type { ErrorCode } from '../../src/errors.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { unwritable } from '../../src/storage/fs-errors.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'

const base = mkdtempSync(join(tmpdir(), 'lanemq-open-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
let directories = 0
function directoryWith(files: Record<string, string | Uint8Array> = {}): string {
  const directory = join(base, `d${directories++}`)
  mkdirSync(directory)
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content)
  return directory
}

async function refused(path: string, code: ErrorCode, message: RegExp): Promise<void> {
  const error = await openLmdbStorage({ path, runtime }).catch((error: unknown) => error)
  expect(error).toMatchObject({ name: 'QueueError', code })
  expect((error as Error).message).toMatch(message)
}

let sound: Buffer
beforeAll(async () => {
  const path = join(base, 'sound')
  const storage = await openLmdbStorage({ path, runtime })
  await storage.close()
  sound = readFileSync(join(path, 'data.mdb'))
})

describe('opening a store', () => {
  test('an absent or empty directory becomes a store, and nothing unfinished is left in it', async () => {
    for (const path of [directoryWith(), join(base, 'absent'), directoryWith({ '.DS_Store': 'x' })]) {
      const storage = await openLmdbStorage({ path, runtime })
      expect(await storage.verify()).toEqual([])
      await storage.close()
      const strange = readdirSync(path).filter(
        (name) => !/^(data|lock)\.mdb$|^owner\.1(\.pid)?$|^\.DS_Store$/.test(name),
      )
      expect(strange).toEqual([])
    }
  })

  test('what an owner left that died while it made the store is cleared away', async () => {
    const path = directoryWith()
    mkdirSync(join(path, 'work-abc'))
    writeFileSync(join(path, 'work-abc', 'data.mdb'), 'half')
    await (await openLmdbStorage({ path, runtime })).close()
    expect(readdirSync(path)).not.toContain('work-abc')
  })

  test('a directory with other files is refused by name, and left alone', async () => {
    const path = directoryWith({ 'photo.jpg': 'x', 'notes.txt': 'y' })
    await refused(path, 'NOT_A_STORE', /notes\.txt, photo\.jpg/)
    expect(readdirSync(path).sort()).toEqual(['notes.txt', 'photo.jpg'])
  })

  test('files that are no LMDB file are refused', async () => {
    await refused(directoryWith({ 'data.mdb': 'hello' }), 'NOT_A_STORE', /not an LMDB file/)
    await refused(directoryWith({ 'data.mdb': Buffer.alloc(100_000, 7) }), 'NOT_A_STORE', /not an LMDB file/)
    await refused(directoryWith({ 'data.mdb': Buffer.alloc(100_000) }), 'NOT_A_STORE', /not an LMDB file/)
    const otherVersion = Buffer.from(sound)
    otherVersion.writeUInt32LE(1, 28)
    await refused(directoryWith({ 'data.mdb': otherVersion }), 'NOT_A_STORE', /another release of LMDB/)
  })

  test('the LMDB file of another program is refused and not touched', async () => {
    const path = directoryWith()
    const other = openLmdb({ path, noSubdir: false, overlappingSync: false })
    await other.openDB({ name: 'users' }).put('a', 1)
    await other.close()
    rmSync(join(path, 'lock.mdb'))
    const before = readFileSync(join(path, 'data.mdb'))
    await refused(path, 'NOT_A_STORE', /did not make/)
    expect(readFileSync(join(path, 'data.mdb')).equals(before)).toBe(true)
  })

  test('damaged files are refused', async () => {
    await refused(directoryWith({ 'data.mdb': '' }), 'STORE_CORRUPT', /empty/)
    for (const at of [16 + 2, 4096, 4096 + 24, 24 + 24, 24 + 28, 24 + 120 + 5]) {
      const damaged = Buffer.from(sound)
      damaged[at] = (damaged[at] as number) ^ 0x11
      await refused(directoryWith({ 'data.mdb': damaged }), 'STORE_CORRUPT', /damaged: page/)
    }
    const cut = directoryWith({ 'data.mdb': sound })
    truncateSync(join(cut, 'data.mdb'), 4096)
    await refused(cut, 'STORE_CORRUPT', /page 1: the file ends/)
  })

  test('a store whose data file was removed is not silently started anew', async () => {
    await refused(directoryWith({ 'lock.mdb': 'x', 'owner.1': '' }), 'STORE_CORRUPT', /data\.mdb is gone/)
  })

  test('a newer format version and other storage settings are refused', async () => {
    const changed = (from: string, to: string): Buffer => {
      const text = sound.toString('latin1').replaceAll(from, to)
      expect(text).not.toBe(sound.toString('latin1'))
      return Buffer.from(text, 'latin1')
    }
    const newer = directoryWith({ 'data.mdb': changed('"formatVersion":1', '"formatVersion":2') })
    await refused(newer, 'STORE_VERSION', /format version 2, this release reads up to 1/)
    const other = directoryWith({ 'data.mdb': changed('"noSync":false', '"noSync":true ') })
    await refused(other, 'STORE_OPTIONS', /other storage settings/)
    await refused(directoryWith({ 'data.mdb': changed('"lanemq"', '"lanemp"') }), 'NOT_A_STORE', /did not make/)
  })

  test('directories in place of the files are refused', async () => {
    for (const name of ['data.mdb', 'lock.mdb']) {
      const path = directoryWith(name === 'lock.mdb' ? { 'data.mdb': sound } : {})
      mkdirSync(join(path, name))
      await refused(path, 'NOT_A_STORE', /is not a file/)
    }
  })

  test('FENCE-6: a store whose owner lock was removed under it stops itself', async () => {
    const path = directoryWith()
    const upkeep: (() => void)[] = []
    const timer = (_delayMs: number, _label: string, task: () => void): { cancel: () => void } => {
      upkeep.push(task)
      return { cancel: () => {} }
    }
    const storage = await openLmdbStorage({ path, runtime: { ...runtime, timer } })
    const failures: Error[] = []
    storage.onFailure((error) => failures.push(error))
    upkeep[0]?.()
    expect(failures).toEqual([])
    rmSync(join(path, 'owner.1'))
    upkeep[1]?.()
    expect(failures).toMatchObject([{ code: 'STORE_FAILED' }])
    await expect(storage.commit(storage.batch())).rejects.toMatchObject({ code: 'STORE_FAILED' })
    await storage.close()
  })

  test('a path that can be no directory is refused', async () => {
    await refused(join(directoryWith({ file: 'x' }), 'file'), 'STORE_UNWRITABLE', /EEXIST|ENOTDIR/)
    await refused(join(base, 'no', 'parent'), 'STORE_UNWRITABLE', /ENOENT.*parent/)
  })

  test('a backup of a store goes on with a greater epoch than the store it is restored over', async () => {
    const path = directoryWith()
    for (let i = 0; i < 5; i++) await (await openLmdbStorage({ path, runtime })).close()
    const copy = directoryWith()
    copyFileSync(join(path, 'data.mdb'), join(copy, 'data.mdb'))
    const restored = await openLmdbStorage({ path: copy, runtime })
    expect(restored.epoch).toBe(6)
    await restored.close()
  })

  test('errors of the file system get a code and advice', () => {
    for (const [code, expected] of [
      ['EROFS', 'STORE_UNWRITABLE'],
      ['EACCES', 'STORE_UNWRITABLE'],
      ['EPERM', 'STORE_UNWRITABLE'],
      ['ENOSPC', 'STORE_FULL'],
      ['EDQUOT', 'STORE_FULL'],
      ['EIO', 'STORE_UNWRITABLE'],
    ] as const) {
      expect(unwritable(Object.assign(new Error(), { code }), '/x', 'open').code).toBe(expected)
    }
  })
})

const readOnly = join(base, 'read-only')
mkdirSync(readOnly)
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', readOnly]).status === 0
afterAll(() => {
  if (mounted) spawnSync('umount', [readOnly])
})

test.skipIf(!mounted)(`a read-only file system is refused${mounted ? '' : ' (needs the right to mount)'}`, async () => {
  await refused(readOnly, 'STORE_UNWRITABLE', /EROFS/)
  await refused(join(readOnly, 'store'), 'STORE_UNWRITABLE', /EROFS/)
})

const bound = process.getuid?.() !== 0
test.skipIf(!bound)(
  `a directory without permission is refused${bound ? '' : ' (permissions do not bind root)'}`,
  async () => {
    const path = directoryWith()
    chmodSync(path, 0o500)
    await refused(path, 'STORE_UNWRITABLE', /EACCES/)
  },
)
