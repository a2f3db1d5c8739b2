import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { openTopic } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { batchesOf, byteValues, objectValues } from './lib/payload.js'
import { pump } from './lib/pump.js'
import { row } from './lib/rows.js'

export const name = 'loop-delay'
export const measure = 'event-loop delay p99 while sending in bulk'
export const target = '< 10 ms'

const BATCH = 1_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const lasting = context.quick ? 500 : 2_000
  const bytes = batchesOf(byteValues(50_000), BATCH)
  const objects = batchesOf(objectValues(50_000), BATCH)

  /** Sends for a while: `perTurn` batches in one turn, four turns not yet on disk. */
  const sending = async (options, batches, perTurn) => {
    const { mq, topic } = await openTopic(context, options)
    const send = async () => {
      const end = performance.now() + lasting
      while (performance.now() < end) {
        await pump({ count: 20 * perTurn, perTurn }, (index) => topic.sendBatch(batches[index % batches.length]))
      }
    }
    // The first part warms up and is not counted.
    await pump({ count: 100 }, (index) => topic.sendBatch(batches[index % batches.length]))
    const delay = await delayDuring(send)
    await mq.close()
    return delay
  }

  const samples = await interleave(
    context,
    {
      idle: () => delayDuring(() => sleep(lasting)),
      engine: () => sending({ codec: 'bytes' }, bytes, 4),
      engineFull: () => sending({ codec: 'bytes' }, bytes, 10),
      engineJson: () => sending({}, objects, 1),
    },
    3,
  )

  const limit = { name: 'an idle process', samples: samples.idle }
  return [
    row({
      measure,
      unit: 'ms',
      result: samples.engine,
      limit,
      target: { of: 'result', atMost: 10 },
      note: '4 batches (0.4 MB of bytes) in a turn, 4 turns in flight; the figures include the resolution of 1 ms',
    }),
    row({
      measure: 'the same with 10 batches (1 MB) in a turn',
      unit: 'ms',
      result: samples.engineFull,
      limit,
    }),
    row({
      measure: 'the same with objects, one batch of 1,000 in a turn',
      unit: 'ms',
      result: samples.engineJson,
      limit,
    }),
  ]
}

/** The 99th percentile of what a 1 ms timer saw, in ms. */
async function delayDuring(work) {
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  histogram.enable()
  await work()
  histogram.disable()
  return histogram.percentile(99) / 1e6
}
