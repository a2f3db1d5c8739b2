// Measures the production path of one copy of dist/, in nanoseconds for each message; started by seam.js.

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { catchUp, fill, freshGroup } from '../lib/engine.js'
import { batchesOf, byteValues, randomKeys } from '../lib/payload.js'
import { nextTurn, pump } from '../lib/pump.js'
import { median, percentile } from '../lib/statistics.js'

const { directory, scale } = JSON.parse(process.argv[2])
const { openInMemory } = await import(pathToFileURL(join(directory, 'index.js')).href)

const values = byteValues(10_000)
const mq = await openInMemory()
const figures = { one: await oneAtATime(), pipelined: await pipelined(), catchUp: await consume() }
await mq.close()
process.send(figures, () => process.exit(0))

/** From a buffered send to the start of its handler, p50, on an idle loop. */
async function oneAtATime() {
  const topic = await mq.topic('one', { codec: 'bytes' })
  let sentAt = 0
  let arrived = () => {}
  const took = []
  const handler = () => {
    took.push((performance.now() - sentAt) * 1e6)
    arrived()
  }
  const subscription = await topic.subscribe(freshGroup(), handler, { from: 'earliest' })
  const each = await rounds(async () => {
    took.length = 0
    for (let sent = 0; sent < 3_000 * scale; sent++) {
      const handled = new Promise((resolve) => (arrived = resolve))
      sentAt = performance.now()
      void topic.send({ key: 'key', value: values[0] }, { acks: 'buffered' })
      await handled
      await nextTurn()
    }
    return percentile(took, 0.5)
  })
  await subscription.close()
  return each
}

/** Single sends, a hundred in an event turn, until all of them are handled and acknowledged. */
async function pipelined() {
  const topic = await mq.topic('pipelined', { codec: 'bytes' })
  const subscription = await topic.subscribe(freshGroup(), () => {}, { from: 'earliest', ordering: 'key' })
  const keys = randomKeys(values.length, 1_000)
  const count = 40_000 * scale
  const each = await rounds(async () => {
    const start = performance.now()
    const perTurn = 100
    await pump({ count, perTurn }, (index) => {
      const at = index % values.length
      return topic.send({ key: keys[at], value: values[at] }, { acks: 'buffered' })
    })
    await subscription.idle()
    return ((performance.now() - start) * 1e6) / count
  })
  await subscription.close()
  return each
}

/** What a topic holds, by a synchronous handler, ordering key. */
async function consume() {
  const topic = await mq.topic('held', { partitions: 8, codec: 'bytes' })
  const count = 200_000 * scale
  await fill(topic, batchesOf(values, 1_000, randomKeys(values.length, 10_000)), count / 1_000)
  return rounds(async () => 1e9 / (await catchUp(topic, count, () => {})))
}

/** Median of three, after one that is thrown away. @param {() => Promise<number>} measure */
async function rounds(measure) {
  await measure()
  return median([await measure(), await measure(), await measure()])
}
