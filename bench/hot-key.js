import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'lanemq'
import { start } from './lib/child.js'
import { fill, freshGroup } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { heapAfterGc, watchHeap } from './lib/memory.js'
import { batchesOf, byteValues } from './lib/payload.js'
import { row } from './lib/rows.js'

export const name = 'hot-key'
export const measure = 'a hot key with 500,000 waiting messages, 1 ms handler, 10,000 other keys beside it'
export const target = "the other keys' throughput >= 0.8 of a run without the hot key; heap bounded; exact over a kill"

/** Stands in the diary of the killed child for: all of the above was acknowledged. */
export const SETTLED = 0xffff_ffff
export const hotKeyHandler = () => new Promise((resolve) => setTimeout(resolve, 1))

const BATCH = 1_000
const OTHER_KEYS = 10_000

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const hotCount = context.quick ? 50_000 : 500_000
  const otherCount = context.quick ? 50_000 : 200_000
  const values = byteValues(BATCH)
  const otherKeys = Array.from({ length: OTHER_KEYS }, (_, index) => `key-${index}`)
  // Exactly the same number for each of the other keys, so that their own chains do not decide.
  const others = batchesOf(
    Array.from({ length: otherCount }, (_, index) => values[index % BATCH]),
    BATCH,
    otherKeys,
  )
  const hot = batchesOf(values, BATCH, ['hot'])

  const path = context.directory('engine')
  const mq = await open({ path })
  const hotTopic = await mq.topic('hot', { codec: 'bytes' })
  const calmTopic = await mq.topic('calm', { codec: 'bytes' })
  // The whole hot backlog stands in front of the others: they are reached only by looking past it.
  await fill(hotTopic, hot, hotCount / BATCH)
  await fill(hotTopic, others)
  await fill(calmTopic, others)

  const heaps = { peak: [], live: [] }
  const samples = await interleave(
    context,
    {
      calm: () => othersPerSecond(calmTopic, otherCount),
      engine: () => othersPerSecond(hotTopic, otherCount, heaps),
    },
    3,
  )
  await mq.close()

  const exact = context.profile
    ? { wrong: 0, repeated: 0 }
    : await killAndLook(context, path, hotCount + otherCount, hotCount)
  return [
    row({
      measure: `${measure}: the others' throughput`,
      unit: '/s',
      result: samples.engine,
      limit: { name: 'without the hot key', samples: samples.calm },
      target: { of: 'ratio', atLeast: 0.8 },
      note: 'concurrency 100, one partition, the hot backlog in front; from subscribing until the last other message is handled',
    }),
    row({
      measure: 'heap over baseline while the hot key waits, after gc',
      unit: 'MB',
      result: heaps.live.slice(1),
      target: { of: 'result', atMost: 64 },
      note: `peak with garbage ${Math.round(Math.max(...heaps.peak))} MB`,
    }),
    row({
      measure: 'messages lost, out of order or repeated after they were acknowledged, over a kill -9',
      unit: '',
      result: [exact.wrong],
      target: { of: 'result', atMost: 0 },
      note: `finished, not yet acknowledged at the kill and therefore repeated: ${exact.repeated}`,
    }),
  ]
}

/** @param {{ peak: number[], live: number[] }} [heaps] */
async function othersPerSecond(topic, otherCount, heaps) {
  const baseline = heapAfterGc()
  const watch = watchHeap()
  let left = otherCount
  let finished
  const done = new Promise((resolve) => (finished = resolve))
  const begin = performance.now()
  const subscription = await topic.subscribe(
    freshGroup(),
    async (message) => {
      await hotKeyHandler()
      if (message.key !== 'hot' && --left === 0) finished()
    },
    { from: 'earliest', concurrency: 100 },
  )
  await done
  const took = (performance.now() - begin) / 1000
  if (heaps) {
    heaps.peak.push(watch.stop() - baseline)
    heaps.live.push(heapAfterGc() - baseline)
  } else watch.stop()
  await subscription.close()
  return otherCount / took
}

/** Kills a consumer in mid-work, lets the group go on here, and compares with the diary that the dead one left. */
async function killAndLook(context, path, total, hotCount) {
  const diary = join(context.directory('diary'), 'finished')
  const worker = start('hot-key-worker', [path, diary])
  await worker.message()
  await sleep(300 + Math.random() * 200)
  await worker.kill()

  const bytes = readFileSync(diary)
  const finished = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
  const settled = finished.indexOf(SETTLED)
  const before = new Uint8Array(total)
  finished.forEach((offset, index) => {
    if (offset !== SETTLED) before[offset] = index < settled ? 2 : 1
  })

  const mq = await open({ path })
  const topic = await mq.topic('hot', { codec: 'bytes' })
  const after = new Uint8Array(total)
  const last = new Map()
  let disorder = 0
  const subscription = await topic.subscribe('killed', (message) => {
    after[message.offset]++
    if (message.offset <= (last.get(message.key) ?? -1)) disorder++
    last.set(message.key, message.offset)
  })
  await subscription.idle()
  await mq.close()

  let lost = 0
  let repeated = 0
  let repeatedSettled = 0
  for (let offset = 0; offset < total; offset++) {
    if (before[offset] === 0 && after[offset] !== 1) lost++
    if (before[offset] === 1 && after[offset] !== 0) repeated++
    if (before[offset] === 2 && after[offset] !== 0) repeatedSettled++
  }
  // The hot key was in the middle of its backlog, or the kill said nothing.
  if (before[0] !== 2 || before[hotCount - 1] !== 0) throw new Error('the kill did not hit the hot key at work')
  return { wrong: lost + disorder + repeatedSettled, repeated }
}
