import { groupCommit, openBareLog } from './lib/bare-log.js'
import { openTopic } from './lib/engine.js'
import { interleave, seconds } from './lib/interleave.js'
import { byteValues } from './lib/payload.js'
import { row } from './lib/rows.js'

export const name = 'send-concurrent'
export const measure = '1,000 concurrent senders, each awaiting its own flushed send'
export const target = '>= 400 k/s, ratio >= 0.60 to the bare design'

const SENDERS = 1_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const values = byteValues(SENDERS)
  const each = context.quick ? 100 : 400

  /** Every sender sends its next message when its last one is on disk. */
  const rate = async (send) => {
    const sender = async (value) => {
      for (let sent = 0; sent < each; sent++) await send(value)
    }
    return (SENDERS * each) / (await seconds(() => Promise.all(values.map(sender))))
  }

  const samples = await interleave(
    context,
    {
      bare: async () => {
        const log = openBareLog(context.directory('lmdb'))
        const group = groupCommit(log)
        const result = await rate((value) => group.send(value))
        await log.close()
        return result
      },
      engine: async () => {
        const { mq, topic } = await openTopic(context, { codec: 'bytes' })
        const messages = new Map(values.map((value) => [value, { value }]))
        const result = await rate((value) => topic.send(messages.get(value)))
        await mq.close()
        return result
      },
    },
    7,
  )

  const limit = { name: 'bare group commit', samples: samples.bare }
  const facts = { unit: '/s', result: samples.engine, limit }
  return [
    row({ measure, ...facts, target: { of: 'result', atLeast: 400_000 } }),
    row({ measure: 'the same', ...facts, target: { of: 'ratio', atLeast: 0.6 } }),
  ]
}
