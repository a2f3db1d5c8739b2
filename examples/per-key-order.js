// Order per key: messages of one key run one after the other, different keys at once, however few partitions there are.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const moves = await mq.topic('moves') // one partition

const keys = ['red', 'green', 'blue']
const messages = [1, 2, 3, 4].flatMap((step) => keys.map((key) => ({ key, value: step })))
await moves.sendBatch(messages)

const seen = { red: [], green: [], blue: [] }
let running = 0
let most = 0

const handle = async ({ key, value }) => {
  most = Math.max(most, ++running)
  await sleep(Math.random() * 20)
  seen[key].push(value)
  running--
}
const players = await moves.subscribe('players', handle, { from: 'earliest', concurrency: 16 })
await players.drain()

for (const key of keys) console.log(key, ...seen[key])
// => red 1 2 3 4
// => green 1 2 3 4
// => blue 1 2 3 4
console.log('at most', most, 'at once') // => at most 3 at once

await mq.close()
rmSync(path, { recursive: true })
