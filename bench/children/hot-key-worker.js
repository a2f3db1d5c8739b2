// Consumes beside a hot key and writes down, outside the store, what its handler finished; killed by hot-key.js.

import { openSync, writeSync } from 'node:fs'
import { open } from 'lanemq'
import { hotKeyHandler, SETTLED } from '../hot-key.js'

const [path, diary] = process.argv.slice(2)
const mq = await open({ path })
const topic = await mq.topic('hot', { codec: 'bytes' })
const file = openSync(diary, 'a')
const entry = Buffer.alloc(4)
const note = (number) => {
  entry.writeUInt32LE(number)
  // What write() took over outlives the process.
  writeSync(file, entry)
}
const subscription = await topic.subscribe(
  'killed',
  async (message) => {
    await hotKeyHandler()
    note(message.offset)
  },
  { from: 'earliest', concurrency: 100 },
)

// All that is in the diary up to here was acknowledged, so none of it may come again.
await new Promise((resolve) => setTimeout(resolve, 700))
await subscription.pause()
await subscription.idle()
note(SETTLED)
await subscription.resume()
process.send('settled')
