// Replay: handled messages stay in the log, so a group can go back in time, and a new one can begin there.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const prices = await mq.topic('prices')

await prices.sendBatch([{ value: 10 }, { value: 11 }])
await sleep(5)
const noon = Date.now()
await prices.sendBatch([{ value: 12 }, { value: 13 }])

let seen = []
const chart = await prices.subscribe('chart', ({ value }) => void seen.push(value), { from: 'earliest' })
await chart.drain()
console.log('chart', seen) // => chart [ 10, 11, 12, 13 ]

// The same group once more, from noon on.
seen = []
await chart.seek({ timestamp: noon })
await chart.drain()
console.log('chart from noon', seen) // => chart from noon [ 12, 13 ]

// A new group that begins at noon.
const late = []
const audit = await prices.subscribe('audit', ({ value }) => void late.push(value), { from: { timestamp: noon } })
await audit.drain()
console.log('audit', late) // => audit [ 12, 13 ]

// Reading without a group: nothing is remembered.
for await (const { offset, value } of prices.read({ from: { timestamp: noon } })) console.log(offset, value)
// => 2 12
// => 3 13

await mq.close()
rmSync(path, { recursive: true })
