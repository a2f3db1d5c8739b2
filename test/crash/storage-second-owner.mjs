// A worker thread, or a process, that tries to open a store: says which error it got, then keeps the store if it got it.
import { parentPort, workerData } from 'node:worker_threads'
import { openLmdbStorage } from '../../dist/storage/lmdb-storage.js'
import { realRuntime } from '../../dist/runtime/real-runtime.js'

const path = workerData ?? process.argv[2]
const say = (line) => (parentPort === null ? process.stdout.write(`${line}\n`) : parentPort.postMessage(line))
try {
  await openLmdbStorage({ path, runtime: realRuntime })
  say(`open ${process.pid}`)
  if (parentPort === null) setInterval(() => {}, 1_000_000)
} catch (error) {
  say(`${error.code} ${error.pid}`)
}
