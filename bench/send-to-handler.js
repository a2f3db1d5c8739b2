import { freshGroup, openTopic } from './lib/engine.js'
import { byteValues } from './lib/payload.js'
import { nextTurn } from './lib/pump.js'
import { row } from './lib/rows.js'
import { percentile } from './lib/statistics.js'

export const name = 'send-to-handler'
export const measure = 'buffered send to handler start, p50, warm'
export const target = '<= 30 us'

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const [value] = byteValues(1)
  const { mq, topic } = await openTopic(context, { codec: 'bytes' })
  let sentAt = 0
  let arrived = () => {}
  const took = []
  const subscription = await topic.subscribe(
    freshGroup(),
    () => {
      took.push((performance.now() - sentAt) * 1000)
      arrived()
    },
    { from: 'earliest' },
  )

  const samples = { p50: [], p99: [], turn: [] }
  for (let round = 0; round <= context.rounds(7); round++) {
    const turns = []
    took.length = 0
    for (let sent = 0; sent < (context.quick ? 500 : 2_000); sent++) {
      const handled = new Promise((resolve) => (arrived = resolve))
      sentAt = performance.now()
      void topic.send({ key: 'key', value }, { acks: 'buffered' })
      await handled
      // The next message starts on an idle loop, not inside the handler of the last one.
      const start = performance.now()
      await nextTurn()
      turns.push((performance.now() - start) * 1000)
    }
    if (round === 0) continue
    samples.p50.push(percentile(took, 0.5))
    samples.p99.push(percentile(took, 0.99))
    samples.turn.push(percentile(turns, 0.5))
  }
  await subscription.close()
  await mq.close()

  const limit = { name: 'one empty event turn', samples: samples.turn }
  return [
    row({ measure, unit: 'us', result: samples.p50, limit, target: { of: 'result', atMost: 30 } }),
    row({ measure: 'the same, p99', unit: 'us', result: samples.p99 }),
  ]
}
