import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import type { Storage } from '../../src/contracts/storage.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'
import { openMemoryStorage } from '../../src/storage/memory-storage.ts'
import { storageSuite, type StorageUnderTest } from '../../src/testing/storage-suite.ts'

storageSuite({ describe, test, name: 'memory', open: underMemory, features: {} })

async function underMemory(): Promise<StorageUnderTest> {
  const storage = openMemoryStorage({ runtime })
  let current = storage
  return {
    storage,
    reopen: async () => {
      await current.close()
      return (current = current.crash('power'))
    },
    dispose: () => current.close(),
  }
}

const copies = mkdtempSync(join(tmpdir(), 'lanemq-storage-'))
afterAll(() => rmSync(copies, { recursive: true, force: true }))
const freePath = (): string => join(mkdtempSync(join(copies, 'c-')), 'store')

storageSuite({
  describe,
  test,
  name: 'lmdb',
  open: underLmdb,
  features: { backup: { path: freePath, open: (path) => openLmdbStorage({ path, runtime }) } },
})

async function underLmdb(): Promise<StorageUnderTest> {
  const path = freePath()
  const storage = await openLmdbStorage({ path, runtime })
  let current: Storage = storage
  return {
    storage,
    reopen: async () => {
      await current.close()
      return (current = await openLmdbStorage({ path, runtime }))
    },
    dispose: async () => {
      await current.close()
      rmSync(path, { recursive: true, force: true })
    },
  }
}
