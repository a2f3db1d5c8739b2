// Opens a store, says how long that took, and sends until it is killed by reopen.js.

import { open } from 'lanemq'
import { batchesOf, byteValues } from '../lib/payload.js'

const [path, bytesText] = process.argv.slice(2)
const start = performance.now()
const mq = await open({ path })
const opened = performance.now() - start
const topic = await mq.topic('bench', { partitions: 8, codec: 'bytes' })
process.send({ opened, ready: performance.now() - start })

const batches = batchesOf(byteValues(100_000), 1_000)
let missing = Number(bytesText)
const sender = async (index) => {
  for (; ; index++) {
    await topic.sendBatch(batches[index % batches.length])
    missing -= 100_000
    if (missing <= 0 && missing > -100_000) process.send('full')
  }
}
await Promise.all(Array.from({ length: 20 }, (_, index) => sender(index)))
