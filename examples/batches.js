// Batches: send many messages in one commit, handle them as arrays, and say for each whether it went well.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const rows = await mq.topic('rows')

// All of them are on disk, or none.
const results = await rows.sendBatch(Array.from({ length: 250 }, (_, i) => ({ value: { id: i } })))
console.log('sent', results.length) // => sent 250

const table = new Map()
const insert = async (messages) => {
  console.log('insert', messages.length)
  return messages.map(({ value, attempt }) => {
    if (value.id === 7 && attempt === 1) return new Error('row 7 is locked')
    table.set(value.id, value)
  })
}
// => insert 100
// => insert 100
// => insert 50
// => insert 1

const writer = await rows.subscribe('writer', insert, {
  from: 'earliest',
  concurrency: 1,
  batch: { max: 100, maxWaitMs: 100 },
  backoff: { type: 'fixed', delayMs: 400 },
})
await writer.drain()
console.log('rows', table.size) // => rows 250

await mq.close()
rmSync(path, { recursive: true })
