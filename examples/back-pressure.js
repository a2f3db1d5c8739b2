// Back-pressure: what waits for the disk is bounded. A send beyond the limit waits its turn, or is refused, as chosen.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isQueueError, open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const kilobyte = { value: Buffer.alloc(1_000) }

// By default a send waits: whoever awaits it is slowed down to the speed of the disk.
const patient = await open({ path, maxInFlightBytes: 10_000 })
const uploads = await patient.topic('uploads', { codec: 'bytes' })
const sends = Array.from({ length: 25 }, () => uploads.send(kilobyte))
const { inFlightBytes, waitingSends } = patient.stats().store
console.log(`${inFlightBytes} bytes under way, ${waitingSends} sends waiting`) // => 10000 bytes under way, 15 sends waiting
await Promise.all(sends)
console.log('stored', uploads.offsets()[0].end) // => stored 25
await patient.close()

// Who would rather shed load gets a typed error at once.
const strict = await open({ path, maxInFlightBytes: 10_000, onFull: 'reject' })
const topic = await strict.topic('uploads')
const outcomes = await Promise.allSettled(Array.from({ length: 25 }, () => topic.send(kilobyte)))
const refused = outcomes.filter(({ reason }) => isQueueError(reason, 'IN_FLIGHT_FULL'))
console.log(`${25 - refused.length} stored, ${refused.length} refused`) // => 10 stored, 15 refused
console.log('worth trying again:', refused[0].reason.retriable) // => worth trying again: true

await strict.close()
rmSync(path, { recursive: true })
