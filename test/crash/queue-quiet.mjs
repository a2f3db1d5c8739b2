// Uses a queue in many ways, closes it, and says which resources of the process are left and what went wrong unseen.
import { writeSync } from 'node:fs'
import { open, openInMemory } from '../../dist/index.js'

const [directory, mode] = process.argv.slice(2)
const say = (what) => writeSync(1, `${JSON.stringify(what)}\n`)
process.on('unhandledRejection', (error) => say({ unhandled: String(error) }))
process.on('uncaughtException', (error) => say({ uncaught: String(error) }))
process.on('exit', (code) => say({ exit: code }))

const before = process.getActiveResourcesInfo()
const mq = mode === 'memory' ? await openInMemory() : await open({ path: directory, minFreeBytes: 0 })
const topic = await mq.topic('t', { partitions: 2, retention: { maxAgeMs: 60_000 } })
const backoff = { delayMs: 60_000 }
const retried = await topic.subscribe('retried', () => Promise.reject(new Error('again')), {
  from: 'earliest',
  backoff,
})
await topic.subscribe('gathering', () => {}, { from: 'earliest', batch: { max: 100, maxWaitMs: 60_000 } })
await topic.subscribe('hanging', () => new Promise(() => {}), { from: 'earliest' })
const stream = await topic.subscribe('pulled', { from: 'earliest' })
const loop = (async () => {
  for await (const message of stream) void message.nack()
})().catch((error) => say({ loop: error.code }))
const following = topic.read({ follow: true })
void following.next().then(() => following.next().catch((error) => say({ follower: error.code })))
for (let i = 0; i < 20; i++) await topic.send({ key: `k${i % 3}`, value: i })
void topic.send({ value: 'unawaited' })
if (mode === 'draining') void retried.drain({ timeoutMs: 60_000 }).catch(() => {})
if (mode === 'lost') void mq.deleteTopic('t').catch(() => {})
const { left } = await mq.close({ timeoutMs: 50 })
await loop
// lmdb sets a timer of one millisecond when it reads, and lets it run out after closing; nothing else may be left.
const closedAt = performance.now()
let remaining = newOnes(before, process.getActiveResourcesInfo())
while (remaining.length > 0 && performance.now() - closedAt < 3) {
  await new Promise((resolve) => setImmediate(resolve))
  remaining = newOnes(before, process.getActiveResourcesInfo())
}
say({ left: left.length, resources: remaining })

/** What is there now and was not before. */
function newOnes(before, now) {
  const rest = [...before]
  return now.filter((name) => {
    const place = rest.indexOf(name)
    if (place >= 0) rest.splice(place, 1)
    return place < 0
  })
}
