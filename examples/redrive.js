// Redrive: when the cause is gone, dead letters go back to the group that gave them up, once and in the order of their keys.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const orders = await mq.topic('orders')

let isDown = true
const shipped = []
const ship = ({ value, redriveFacts }) => {
  if (isDown || value === 'broken') throw Object.assign(new Error('no carrier'), { code: 'NO_CARRIER' })
  shipped.push(`${value} (redrive ${redriveFacts?.count ?? 0})`)
}
const counted = []

const shipping = await orders.subscribe('shipping', ship, { from: 'earliest', attempts: 1 })
const report = await orders.subscribe('report', ({ value }) => void counted.push(value), { from: 'earliest' })
await orders.sendBatch(['ada:1', 'bob:1', 'ada:2', 'broken'].map((value) => ({ key: value.split(':')[0], value })))
await shipping.drain()

const letters = mq.group('shipping').deadLetters()
console.log(await letters.count(), 'dead letters') // => 4 dead letters

isDown = false
const onProgress = ({ redriven }) => console.log('sent back', redriven) // => sent back 4
await letters.redrive({ errorCode: 'NO_CARRIER', rate: 1_000, onProgress })
await shipping.drain()
console.log(shipped.join(', ')) // => ada:1 (redrive 1), bob:1 (redrive 1), ada:2 (redrive 1)

// What fails every time does not go round for ever.
console.log(await letters.redrive({ maxRedrives: 1 })) // => { redriven: 0, exhausted: 1, isLimited: false }
for await (const { value, facts } of letters) console.log(value, facts.redrives, facts.lastError.message)
// => broken 1 no carrier
console.log(await letters.delete(), 'deleted') // => 1 deleted

await report.drain()
console.log(counted.join(', ')) // => ada:1, bob:1, ada:2, broken

await mq.close()
rmSync(path, { recursive: true })
