// node storage-damage.mjs <pristine store> <work directory> <first> <end> <plan>: damages copies, opens them, says how it
// ended. Plans: `truncate` cuts at page n, `flip` flips the bit that number n draws.
//
// Each value ends with a checksum, as the log's batches do, so that only silent differences count as such.
import {
  copyFileSync,
  ftruncateSync,
  openSync,
  closeSync,
  readFileSync,
  readSync,
  rmSync,
  mkdirSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { openLmdbStorage } from '../../dist/storage/lmdb-storage.js'
import { realRuntime } from '../../dist/runtime/real-runtime.js'
import { checksumHolds, readAll } from './storage-pristine.mjs'

const [pristine, work, first, end, plan] = process.argv.slice(2)
const say = (line) => writeSync(1, `${line}\n`)
const pristineFile = join(pristine, 'data.mdb')
const expected = new Map(JSON.parse(readFileSync(join(pristine, '..', 'expected.json'), 'utf8')))

for (let trial = Number(first); trial < Number(end); trial++) {
  const directory = join(work, `t${trial}`)
  mkdirSync(directory)
  copyFileSync(pristineFile, join(directory, 'data.mdb'))
  const fd = openSync(join(directory, 'data.mdb'), 'r+')
  const where = plan === 'truncate' ? truncate(fd, trial) : flip(fd, trial)
  closeSync(fd)
  say(`try ${trial} ${where}`)
  say(`end ${trial} ${await judge(directory)} ${where}`)
  rmSync(directory, { recursive: true, force: true })
}

function truncate(fd, pages) {
  ftruncateSync(fd, pages * 4096)
  return `${pages} pages`
}

/** Half of the bits are drawn from page headers, pointers and meta pages, where native code trusts them. */
function flip(fd, trial) {
  const size = readFileSync(pristineFile).byteLength
  const draw = generator(trial)
  const page = draw(size / 4096)
  const at = draw(2) === 0 ? page * 4096 + draw(4096) : page * 4096 + draw(page < 2 ? 168 : 80)
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  byte[0] ^= 1 << draw(8)
  writeSync(fd, byte, 0, 1, at)
  return `page ${page} byte ${at % 4096}`
}

/** typed: an error with a code; checksum: the record's own; unharmed; different: wrong data without an error. */
async function judge(directory) {
  let storage
  try {
    storage = await openLmdbStorage({ path: directory, runtime: realRuntime, commitTimeoutMs: 10_000 })
  } catch (error) {
    return error.code === undefined ? `untyped(${error.message.slice(0, 60)})` : `typed ${error.code}`
  }
  try {
    const found = readAll(storage)
    if (found.some(([, value]) => !checksumHolds(value))) return 'checksum'
    const differs =
      found.length !== expected.size || found.some(([key, value]) => expected.get(key) !== value.toString('base64'))
    const damages = await storage.verify()
    if (differs) return damages.length > 0 ? 'different but verify tells' : 'different'
    // Deleting everything and writing again touches the free list too.
    const batch = storage.batch()
    for (const [key] of found) batch.remove('log', Buffer.from(key, 'base64'))
    await storage.commit(batch)
    const again = storage.batch()
    for (const [key, value] of found) again.put('log', Buffer.from(key, 'base64'), value)
    await storage.commit(again)
    if (readAll(storage).length !== expected.size) return 'different after a write'
    return damages.length > 0 ? 'unharmed and verify tells' : 'unharmed'
  } catch (error) {
    return error.code === undefined ? `untyped(${error.message.slice(0, 60)})` : `typed ${error.code}`
  } finally {
    await storage.close()
  }
}

function generator(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1)
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}
