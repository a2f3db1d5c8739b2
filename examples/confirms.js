// Confirms: three ways to know that messages are on disk. One by one, all of them at the end, or as events beside the work.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const readings = await mq.topic('readings', { maxValueBytes: 1_000 })

// 1. Await each send: the simplest, and the slowest, since each one waits for the disk.
const producer = await mq.producer()
for (const value of [20.5, 20.7]) {
  const { offset, acks } = await producer.send(readings, { value })
  console.log(offset, acks)
}
// => 0 flushed
// => 1 flushed

// 2. Send many, then wait once. What failed is told by the flush, with its message.
for (const value of [21.1, 'x'.repeat(2_000), 21.4]) void producer.send(readings, { value })
const failed = await producer.flush().catch((error) => error)
console.log(failed.code, failed.count, failed.failures[0].error.code) // => SENDS_FAILED 1 MESSAGE_TOO_LARGE

// 3. Events: each stands for everything up to its sequence when it says `multiple`.
let confirmed = 0
producer.on('ack', ({ results }) => (confirmed += results.length))
producer.on('nack', ({ sequence, error }) => console.log('send', sequence, error.code))
for (const value of [22, 'y'.repeat(2_000), 23]) void producer.send(readings, { value })
await producer.flush().catch(() => {})
console.log('confirmed', confirmed)
// => send 7 MESSAGE_TOO_LARGE
// => confirmed 2

await mq.close()
rmSync(path, { recursive: true })
