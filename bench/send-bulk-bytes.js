import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { openBareLog } from './lib/bare-log.js'
import { openTopic } from './lib/engine.js'
import { interleave, seconds } from './lib/interleave.js'
import { MESSAGE_BYTES, batchesOf, byteValues, randomKeys } from './lib/payload.js'
import { pump } from './lib/pump.js'
import { row } from './lib/rows.js'

export const name = 'send-bulk-bytes'
export const measure = 'bulk durable send of byte values, batches of 1,000'
export const target =
  'ratio >= 0.70 to raw append with one fdatasync per MB, >= 0.60 to the bare LMDB record-batch writer'

const BATCH = 1_000
const PREPARED = 100

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const values = byteValues(BATCH * PREPARED)
  const plain = batchesOf(values, BATCH)
  const keyed = batchesOf(values, BATCH, randomKeys(values.length, 10_000))
  const bare = Array.from({ length: PREPARED }, (_, index) => values.slice(index * BATCH, (index + 1) * BATCH))
  const count = context.quick ? 200 : 1_000
  const rate = async (work) => (count * BATCH) / (await seconds(work))

  const engine = async (batches, partitions) => {
    const { mq, topic } = await openTopic(context, { partitions, codec: 'bytes' })
    const result = await rate(() => pump({ count }, (index) => topic.sendBatch(batches[index % PREPARED])))
    await mq.close()
    return result
  }

  const samples = await interleave(
    context,
    {
      file: () => rate(() => appendRaw(context.directory('file'), count * BATCH * MESSAGE_BYTES)),
      lmdb: async () => {
        const log = openBareLog(context.directory('lmdb'))
        const result = await rate(() => pump({ count }, (index) => log.append(bare[index % PREPARED])))
        await log.close()
        return result
      },
      engine: () => engine(plain, 1),
      engineKeyed: () => engine(keyed, 8),
    },
    5,
  )

  const facts = { unit: '/s', result: samples.engine }
  const file = { name: 'file append, fdatasync per MB', samples: samples.file }
  const lmdb = { name: 'bare LMDB writer', samples: samples.lmdb }
  return [
    row({ measure, ...facts, limit: file, target: { of: 'ratio', atLeast: 0.7 } }),
    row({ measure: 'the same', ...facts, limit: lmdb, target: { of: 'ratio', atLeast: 0.6 } }),
    row({
      measure: 'bulk bytes with 10,000 keys, 8 partitions',
      unit: '/s',
      result: samples.engineKeyed,
      limit: lmdb,
      note: 'the bare writer has neither keys nor partitions',
    }),
  ]
}

function appendRaw(directory, bytes) {
  const chunk = Buffer.alloc(64 * 1024, 0x61)
  const path = join(directory, 'raw')
  const file = openSync(path, 'w')
  for (let written = 0; written < bytes;) {
    for (let piece = 0; piece < 16 && written < bytes; piece++) written += writeSync(file, chunk)
    fdatasyncSync(file)
  }
  closeSync(file)
  rmSync(path)
}
