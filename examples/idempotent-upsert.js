// Upsert by primary key: a message carries the whole row, and a repeat writes the same row again.
// Crash window: none for the row. A crash between the write and the acknowledgement writes it once more, to the same end.
// What remains is age: without a version, a repeat that comes late would put an old row over a newer one.
import assert from 'node:assert/strict'
import { openInMemory } from 'lanemq'
import { openDatabase } from './servers/database.js'

const { run, close } = await openDatabase()
await run('CREATE TEMPORARY TABLE orders (id TEXT PRIMARY KEY, state TEXT NOT NULL, version INTEGER NOT NULL)')

const upsert = `
  INSERT INTO orders (id, state, version) VALUES ($1, $2, $3)
  ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = excluded.version
  WHERE excluded.version > orders.version`

const mq = await openInMemory()
const changes = await mq.topic('changes')
let calls = 0
const handle = async ({ value }) => {
  calls++
  await run(upsert, value.id, value.state, value.version)
}
const writer = await changes.subscribe('writer', handle, { from: 'earliest' })

const sent = [
  { id: 'order 1', state: 'placed', version: 1 },
  { id: 'order 2', state: 'placed', version: 1 },
  { id: 'order 1', state: 'shipped', version: 2 },
]
// All of them twice: the second "placed" of order 1 comes after it was shipped.
for (const value of [...sent, ...sent]) await changes.send({ key: value.id, value })
await writer.drain()

const rows = await run('SELECT id, state FROM orders ORDER BY id')
console.log(`${calls} calls, ${rows.length} rows`) // => 6 calls, 2 rows
for (const { id, state } of rows) console.log(id, state)
// => order 1 shipped
// => order 2 placed
assert.deepEqual([calls, rows.map(({ state }) => state)], [6, ['shipped', 'placed']])

await mq.close()
await close()
