import { fill, freshGroup, mustBe, openTopic, catchUp } from './lib/engine.js'
import { heap, heapAfterGc, watchHeap } from './lib/memory.js'
import { batchesOf, byteValues, randomKeys } from './lib/payload.js'
import { row } from './lib/rows.js'

export const name = 'backlog'
export const measure = '10 million messages of backlog, then consumed'
export const target = 'heap < 200 MB over baseline; throughput of the last million >= 0.9 of the first'

const BATCH = 1_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const million = context.quick ? 100_000 : 1_000_000
  const count = 10 * million
  const { mq, topic } = await openTopic(context, { partitions: 8, codec: 'bytes' })
  const batches = batchesOf(byteValues(100_000), BATCH, randomKeys(100_000, 10_000))

  // The first million must not pay for compiling.
  const warm = await mq.topic('warm', { partitions: 8, codec: 'bytes' })
  await fill(warm, batches, 300)
  await catchUp(warm, 300_000, () => {})

  const sendingBase = heapAfterGc()
  const sending = watchHeap()
  const start = performance.now()
  await fill(topic, batches, count / BATCH)
  const sent = count / ((performance.now() - start) / 1000)
  const sendingPeak = sending.stop() - sendingBase

  // The same backlog for three groups, one after the other: one look at a single million proves little.
  const rounds = []
  for (let round = 0; round < 3; round++) rounds.push(await consume(topic, count, million))
  const peak = Math.max(...rounds.map((each) => each.peak))
  const { overall, live } = rounds[1]
  const resident = process.memoryUsage().rss / 1_000_000
  await mq.close()

  return [
    row({
      measure: `${measure}: peak heap over baseline, garbage included`,
      unit: 'MB',
      result: [Math.max(peak, sendingPeak)],
      target: { of: 'result', atMost: 200 },
      note:
        `sent at ${(sent / 1e6).toFixed(2)} M/s (peak ${sendingPeak.toFixed(0)} MB), consumed at ` +
        `${(overall / 1e6).toFixed(2)} M/s (peak ${peak.toFixed(0)} MB); ${live.toFixed(1)} MB after gc half-way; ` +
        `resident ${resident.toFixed(0)} MB at the end`,
    }),
    row({
      measure: 'throughput of the last million, against the first',
      unit: '/s',
      result: rounds.map(({ last }) => last),
      limit: { name: 'the first million', samples: rounds.map(({ first }) => first) },
      target: { of: 'ratio', atLeast: 0.9 },
    }),
  ]
}

async function consume(topic, count, million) {
  const base = heapAfterGc()
  let live = 0
  let peak = 0
  let seen = 0
  const marks = []
  const handler = () => {
    seen++
    // A synchronous handler may keep timers waiting, so the heap is looked at from here.
    if ((seen & 0xffff) === 0) peak = Math.max(peak, heap() - base)
    if (seen % million === 0) {
      marks.push(performance.now())
      if (marks.length === 5) live = heapAfterGc() - base
    }
  }
  const start = performance.now()
  const subscription = await topic.subscribe(freshGroup(), handler, { from: 'earliest', ordering: 'key' })
  await subscription.idle()
  const end = performance.now()
  await subscription.close()
  mustBe(seen, count, 'messages handled')
  const rate = (from, to, messages = million) => messages / ((to - from) / 1000)
  return {
    first: rate(start, marks[0]),
    last: rate(marks[8], end),
    overall: rate(start, end, count),
    peak,
    live,
  }
}
