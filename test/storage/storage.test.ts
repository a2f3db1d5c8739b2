import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import type { Storage } from '../../src/contracts/storage.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'
import type { StorageUnderTest } from '../../src/testing/suites/storage-case.ts'
import { storageSuite } from '../../src/testing/suites/storage-suite.ts'
import { memoryStorage } from '../conformance/subjects.ts'

const copies = mkdtempSync(join(tmpdir(), 'lanemq-storage-'))
afterAll(() => rmSync(copies, { recursive: true, force: true }))
const freePath = (): string => join(mkdtempSync(join(copies, 'c-')), 'store')

const subjects = {
  memory: memoryStorage(),
  lmdb: { features: { durable: true, backup: true, diskGuard: true }, open: underLmdb },
}

for (const [name, subject] of Object.entries(subjects)) {
  describe(`storage: ${name}`, () => {
    for (const { name, run, skipped } of storageSuite(subject)) (skipped ? test.skip : test)(name, () => run())
  })
}

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
    backup: { path: freePath, open: (path) => openLmdbStorage({ path, runtime }) },
    dispose: async () => {
      await current.close()
      rmSync(path, { recursive: true, force: true })
    },
  }
}
