import { openBareLog } from './lib/bare-log.js'
import { openTopic } from './lib/engine.js'
import { byteValues } from './lib/payload.js'
import { row } from './lib/rows.js'
import { percentile } from './lib/statistics.js'

export const name = 'send-one'
export const measure = 'one flushed send at a time, p50'
export const target = 'ratio <= 1.3 to one bare LMDB commit'

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const [value] = byteValues(1)
  const log = openBareLog(context.directory('lmdb'))
  const { mq, topic } = await openTopic(context, { codec: 'bytes' })
  const rounds = context.rounds(7)
  const each = context.quick ? 200 : 500
  const middle = { bare: [], engine: [] }
  const tail = { bare: [], engine: [] }

  for (let round = 0; round <= rounds; round++) {
    const took = { bare: [], engine: [] }
    // One commit of each in turn: a sync gets dearer and cheaper within seconds, and must do so for both.
    for (let sent = 0; sent < each; sent++) {
      if (!context.profile) took.bare.push(await microseconds(() => log.append([value])))
      took.engine.push(await microseconds(() => topic.send({ value })))
    }
    if (round === 0) continue
    for (const side of ['bare', 'engine']) {
      middle[side].push(percentile(took[side], 0.5))
      tail[side].push(percentile(took[side], 0.99))
    }
  }
  await mq.close()
  await log.close()

  const limit = (samples) => ({ name: 'bare LMDB commit', samples })
  const goal = { of: 'ratio', atMost: 1.3 }
  return [
    row({ measure, unit: 'us', result: middle.engine, limit: limit(middle.bare), target: goal }),
    row({ measure: 'one flushed send at a time, p99', unit: 'us', result: tail.engine, limit: limit(tail.bare) }),
  ]
}

async function microseconds(work) {
  const start = performance.now()
  await work()
  return (performance.now() - start) * 1000
}
