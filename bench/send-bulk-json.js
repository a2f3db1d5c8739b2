import { openTopic } from './lib/engine.js'
import { interleave, seconds } from './lib/interleave.js'
import { batchesOf, objectValues, randomKeys } from './lib/payload.js'
import { pump } from './lib/pump.js'
import { row } from './lib/rows.js'

export const name = 'send-bulk-json'
export const measure = 'bulk durable send of small objects (JSON)'
export const target = 'ratio >= 0.70 to JSON.stringify alone'

const BATCH = 1_000
const PREPARED = 100

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const values = objectValues(BATCH * PREPARED)
  const plain = batchesOf(values, BATCH)
  const keyed = batchesOf(values, BATCH, randomKeys(values.length, 10_000))
  const count = context.quick ? 200 : 600
  const rate = async (work) => (count * BATCH) / (await seconds(work))

  const engine = async (batches, partitions) => {
    const { mq, topic } = await openTopic(context, { partitions })
    const result = await rate(() => pump({ count }, (index) => topic.sendBatch(batches[index % PREPARED])))
    await mq.close()
    return result
  }

  const samples = await interleave(
    context,
    {
      stringify: () => rate(() => stringifyAll(values, count * BATCH)),
      engine: () => engine(plain, 1),
      engineKeyed: () => engine(keyed, 8),
    },
    5,
  )

  const limit = { name: 'JSON.stringify alone', samples: samples.stringify }
  const goal = { of: 'ratio', atLeast: 0.7 }
  return [
    row({ measure, unit: '/s', result: samples.engine, limit, target: goal }),
    row({ measure: 'bulk objects with 10,000 keys, 8 partitions', unit: '/s', result: samples.engineKeyed, limit }),
  ]
}

function stringifyAll(values, count) {
  let characters = 0
  for (let index = 0; index < count; index++) characters += JSON.stringify(values[index % values.length]).length
  return characters
}
