// node storage-writer.mjs <directory> [batches]: checks what is there, then commits batch after batch, and says so.
import { writeSync } from 'node:fs'
import { openLmdbStorage } from '../../dist/storage/lmdb-storage.js'
import { realRuntime } from '../../dist/runtime/real-runtime.js'
import { checkBatches, isBig, makeBatch } from './storage-batches.mjs'

const [directory, limit = 'Infinity'] = process.argv.slice(2)
const say = (line) => writeSync(1, `${line}\n`)

let storage
try {
  storage = await openLmdbStorage({
    path: directory,
    runtime: realRuntime,
    commitTimeoutMs: Number(process.env.COMMIT_TIMEOUT_MS ?? 60_000),
  })
  let next = checkBatches(storage)
  const damages = await storage.verify()
  if (damages.length > 0) throw new Error(damages.join('; '))
  say(`open ${storage.epoch} ${next}`)
  const end = next + Number(limit)
  const commitNext = async () => {
    while (next < end) {
      const id = next++
      if (isBig(id)) say(`big ${id}`)
      const commit = storage.commit(makeBatch(storage, id))
      if (isBig(id)) say(`issued ${id}`)
      await commit
      say(`ack ${id}`)
    }
  }
  // Two at a time, as the log does it; the second starts later, so that the two are two transactions.
  const first = commitNext()
  first.catch(() => {})
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
  await Promise.all([first, commitNext()])
} catch (error) {
  say(`error ${error.code ?? 'UNTYPED'} ${error.message.replaceAll('\n', ' ')}`)
}
await storage?.close()
say('closed')
