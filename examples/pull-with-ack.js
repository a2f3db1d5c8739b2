// Pulling: without a handler a subscription is an async iterable, and each message is acknowledged by hand.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const tasks = await mq.topic('tasks')
await tasks.sendBatch(['wash', 'dry', 'fold', 'iron'].map((value) => ({ value })))

// At most `concurrency` messages are out at once.
const stream = await tasks.subscribe('household', {
  from: 'earliest',
  concurrency: 1,
  ordering: 'partition',
  backoff: { type: 'fixed', delayMs: 5 },
})

for await (const message of stream) {
  if (message.value === 'iron') break // leaving the loop closes the subscription; `iron` was not acknowledged
  console.log(message.value, message.attempt)
  if (message.value === 'dry' && message.attempt === 1) await message.nack(new Error('still wet'))
  else await message.ack()
}
// => wash 1
// => dry 1
// => dry 2
// => fold 1

const [{ position }] = mq.group('household').positions()
console.log('goes on at offset', position) // => goes on at offset 3

await mq.close()
rmSync(path, { recursive: true })
