import { catchUp, fill, openTopic } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { batchesOf, byteValues, randomKeys } from './lib/payload.js'
import { row } from './lib/rows.js'

export const name = 'consume-bytes'
export const measure = 'catch-up, synchronous no-op handler, ordering key, 10,000 keys, bytes'
export const target = '>= 1.8 M/s; with an async no-op handler >= 800 k/s'

const BATCH = 1_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const count = context.quick ? 200_000 : 1_000_000
  const { mq, topic } = await openTopic(context, { partitions: 8, codec: 'bytes' })
  const values = byteValues(100_000)
  const keys = randomKeys(values.length, 10_000)
  await fill(topic, batchesOf(values, BATCH, keys), count / BATCH)

  let bytes = 0
  const samples = await interleave(
    context,
    {
      engineSync: () => catchUp(topic, count, () => {}),
      engineReads: () => catchUp(topic, count, (message) => void (bytes += message.value.length)),
      engineAsync: () => catchUp(topic, count, async () => {}),
      perKey: async () => countPerKey(keys, count),
    },
    5,
  )
  await mq.close()

  const limit = { name: 'a Map entry per key, alone', samples: samples.perKey }
  const unit = '/s'
  return [
    row({ measure, unit, result: samples.engineSync, limit, target: { of: 'result', atLeast: 1_800_000 } }),
    row({ measure: 'the same, the handler reads the value', unit, result: samples.engineReads }),
    row({
      measure: 'the same with an async no-op handler',
      unit,
      result: samples.engineAsync,
      target: { of: 'result', atLeast: 800_000 },
    }),
  ]
}

/** The least that telling keys apart can cost: one look-up for each message. */
function countPerKey(keys, count) {
  const seen = new Map()
  const start = performance.now()
  for (let index = 0; index < count; index++) {
    const key = keys[index % keys.length]
    seen.set(key, (seen.get(key) ?? 0) + 1)
  }
  return count / ((performance.now() - start) / 1000)
}
