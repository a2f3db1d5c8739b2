// node storage-pristine.mjs <directory>: makes a store that has every kind of page, and a list of what is in it.
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const everything = { from: Buffer.alloc(1), to: Buffer.alloc(9, 0xff), limit: 1_000_000 }

export function readAll(storage) {
  return storage
    .range('log', everything)
    .map(({ key, value }) => [Buffer.from(key).toString('base64'), Buffer.from(value)])
}

export function checksumHolds(value) {
  return value.byteLength > 8 && digest(value.subarray(8)).equals(value.subarray(0, 8))
}

function digest(bytes) {
  return createHash('md5').update(bytes).digest().subarray(0, 8)
}

function entry(i) {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(i, 4)
  key[0] = 1
  const body = Buffer.alloc(i % 9 === 0 ? 9_000 : 20 + (i % 5) * 30, i)
  return [key, Buffer.concat([digest(body), body])]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { openLmdbStorage } = await import('../../dist/storage/lmdb-storage.js')
  const { realRuntime } = await import('../../dist/runtime/real-runtime.js')
  const directory = process.argv[2]
  mkdirSync(join(directory, '..'), { recursive: true })
  const storage = await openLmdbStorage({ path: directory, runtime: realRuntime })
  for (let round = 0; round < 4; round++) {
    const batch = storage.batch()
    for (let i = 0; i < 700; i++) batch.put('log', ...entry(i))
    await storage.commit(batch)
    if (round === 3) break
    const removed = storage.batch()
    for (let i = round; i < 700; i += 2) removed.remove('log', entry(i)[0])
    await storage.commit(removed)
  }
  const found = readAll(storage).map(([key, value]) => [key, value.toString('base64')])
  writeFileSync(join(directory, '..', 'expected.json'), JSON.stringify(found))
  await storage.close()
}
