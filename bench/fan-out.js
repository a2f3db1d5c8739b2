import { mustBe, openTopic } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { batchesOf, objectValues, randomKeys } from './lib/payload.js'
import { pump } from './lib/pump.js'
import { row } from './lib/rows.js'

export const name = 'fan-out'
export const measure = 'ten groups on the tail of one topic (objects), deliveries/s'
export const target = 'ratio >= 2.5 to one group'

const BATCH = 1_000
// Fits into the memory tail of the default options.
const COUNT = 100_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const values = objectValues(COUNT)
  const batches = batchesOf(values, BATCH, randomKeys(COUNT, 10_000))
  const one = await attach(context, 1)
  const ten = await attach(context, 10)
  const samples = await interleave(
    context,
    {
      one: () => deliver(one, batches, 'waiting'),
      engine: () => deliver(ten, batches, 'waiting'),
      oneLive: () => deliver(one, batches, 'live'),
      engineLive: () => deliver(ten, batches, 'live'),
    },
    7,
  )
  await one.mq.close()
  await ten.mq.close()

  const limit = (result) => ({ name: 'one group', samples: result })
  return [
    row({
      measure,
      unit: '/s',
      result: samples.engine,
      limit: limit(samples.one),
      target: { of: 'ratio', atLeast: 2.5 },
      note: "without the producer's cost: groups are attached and paused, 100,000 messages are sent, then all resume",
    }),
    row({
      measure: 'the same while the messages are being sent',
      unit: '/s',
      result: samples.engineLive,
      limit: limit(samples.oneLive),
      note: "with the producer's cost: from the first send until every group has acknowledged",
    }),
  ]
}

/** A queue with `count` groups that wait at the end of a topic. */
async function attach(context, count) {
  const { mq, topic } = await openTopic(context, { partitions: 8 })
  const seen = { messages: 0, amount: 0 }
  const handler = (message) => {
    seen.messages++
    seen.amount += message.value.amount
  }
  const subscriptions = []
  for (let group = 0; group < count; group++) {
    subscriptions.push(await topic.subscribe(`group-${group}`, handler, { from: 'latest' }))
  }
  return { mq, topic, seen, subscriptions }
}

async function deliver({ topic, seen, subscriptions }, batches, mode) {
  const send = () => pump({ count: batches.length }, (index) => topic.sendBatch(batches[index]))
  seen.messages = 0
  let start = performance.now()
  if (mode === 'live') await send()
  else {
    for (const subscription of subscriptions) await subscription.pause()
    await send()
    start = performance.now()
    for (const subscription of subscriptions) await subscription.resume()
  }
  await Promise.all(subscriptions.map((subscription) => subscription.idle()))
  const took = (performance.now() - start) / 1000
  mustBe(seen.messages, subscriptions.length * COUNT, 'deliveries')
  return seen.messages / took
}
