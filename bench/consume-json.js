import { catchUp, fill, openTopic } from './lib/engine.js'
import { interleave, seconds } from './lib/interleave.js'
import { batchesOf, objectValues, randomKeys } from './lib/payload.js'
import { row } from './lib/rows.js'

export const name = 'consume-json'
export const measure = 'catch-up, synchronous handler, ordering key, 10,000 keys, objects'
export const target = 'ratio >= 0.65 to JSON.parse alone'

const BATCH = 1_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const count = context.quick ? 200_000 : 1_000_000
  const values = objectValues(100_000)
  const texts = values.map((value) => JSON.stringify(value))
  const { mq, topic } = await openTopic(context, { partitions: 8 })
  await fill(topic, batchesOf(values, BATCH, randomKeys(values.length, 10_000)), count / BATCH)

  let amount = 0
  const samples = await interleave(
    context,
    {
      parse: async () => count / (await seconds(() => parseAll(texts, count))),
      // The value is read, so that an engine that decodes lazily has to.
      engine: () => catchUp(topic, count, (message) => void (amount += message.value.amount)),
    },
    5,
  )
  await mq.close()

  return [
    row({
      measure,
      unit: '/s',
      result: samples.engine,
      limit: { name: 'JSON.parse alone', samples: samples.parse },
      target: { of: 'ratio', atLeast: 0.65 },
      note: 'acknowledged, 8 partitions, the handler reads a field of the value',
    }),
  ]
}

function parseAll(texts, count) {
  let amount = 0
  for (let index = 0; index < count; index++) amount += JSON.parse(texts[index % texts.length]).amount
  return amount
}
