import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { start } from './lib/child.js'
import { row } from './lib/rows.js'

export const name = 'reopen'
export const measure = 'open of a 5 GB store after kill -9'
export const target = '< 200 ms'

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const bytes = context.quick ? 200_000_000 : 5_000_000_000
  const path = context.directory('store')
  let writer = start('store-writer', [path, String(bytes)])
  await writer.message()
  await writer.message()
  await writer.kill()

  const opened = []
  const bare = []
  const ready = []
  for (let round = 0; round < context.rounds(5); round++) {
    writer = start('store-writer', [path, '0'])
    const took = await writer.message()
    opened.push(took.opened)
    ready.push(took.ready)
    // Some more writes, and another death in the middle of them.
    await sleep(100)
    await writer.kill()
    bare.push(await openBare(dataFile(path)))
  }

  const gigabytes = (statSync(dataFile(path)).size / 1e9).toFixed(1)
  return [
    row({
      measure: context.quick ? `open of a ${gigabytes} GB store after kill -9` : measure,
      unit: 'ms',
      result: opened,
      limit: { name: 'LMDB alone', samples: bare },
      target: { of: 'result', atMost: 200 },
      note: `the file has ${gigabytes} GB and stands in the page cache; killed while sending, ${opened.length} times`,
    }),
    row({ measure: 'the same until the topic can be used', unit: 'ms', result: ready }),
  ]
}

function dataFile(path) {
  const file = readdirSync(path, { recursive: true }).find((entry) => String(entry).endsWith('data.mdb'))
  return join(path, String(file))
}

async function openBare(file) {
  const child = start('bare-open', [file])
  const took = await child.message()
  await child.kill()
  return took
}
