// One life of a process that a message kills: says what its handlers begin, and closes the queue once nothing is left.
import { writeSync } from 'node:fs'
import { open } from '../../dist/index.js'

const [directory, seeding] = process.argv.slice(2)
const say = (...words) => writeSync(1, `${words.join(' ')}\n`)
const mq = await open({ path: directory, minFreeBytes: 0 })
const topic = await mq.topic('t', { partitions: 2 })
if (seeding === 'seed') {
  const values = Array.from({ length: 60 }, (_, i) => (i === 9 ? 'killer' : `innocent${i}`))
  await topic.sendBatch(values.map((value, i) => ({ key: `k${i % 20}`, value })))
}

const nap = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const begin = (group, { value, attempt }) => {
  say('begin', group, value, attempt)
  if (group === 'g' && value === 'killer') process.kill(process.pid, 'SIGKILL')
}
mq.on('message:failed', ({ group, attempt, error }) => say('failed', group, error.code, attempt))
mq.on('key:parked', ({ group, key }) => say('parked', group, key))

const retry = { from: 'earliest', attempts: 3, backoff: { type: 'fixed', delayMs: 20 }, onExhausted: 'park-key' }
const single = async (message) => {
  begin('g', message)
  await nap(2)
  say('done', 'g', message.value)
}
const batch = async (messages) => {
  for (const message of messages) begin('h', message)
  await nap(2)
  for (const { value } of messages) say('done', 'h', value)
}
const subscriptions = [
  await topic.subscribe('g', single, { ...retry, concurrency: 8 }),
  await topic.subscribe('h', batch, { ...retry, concurrency: 2, batch: { max: 4 } }),
]
for (const subscription of subscriptions) await subscription.drain({ timeoutMs: 20_000 })
say('left', ...subscriptions.map((subscription) => subscription.lag().count))
await mq.close()
