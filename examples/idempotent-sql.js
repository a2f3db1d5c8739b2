// Marks in a database: a lease while the work goes on, a mark with its result when it is done. Every process that shares
// the database shares the marks.
// Crash window: between the effect and its mark, as with Redis. Where the effect is in the same database, a row in its own
// transaction leaves none: see idempotent-unique-key.js.
import assert from 'node:assert/strict'
import { openInMemory } from 'lanemq'
import { openSqlIdempotencyStore } from 'lanemq/idempotency'
import { openDatabase } from './servers/database.js'

const { dialect, client, temporary, close } = await openDatabase()
const store = openSqlIdempotencyStore({ dialect, client, table: temporary('marks') })
await store.setup()
const mq = await openInMemory()
const mails = await mq.topic('mails')

const sent = []
const post = async ({ value }) => void sent.push(value.to)
const office = await mails.subscribe('office', post, {
  from: 'earliest',
  idempotency: { store, key: ({ value }) => value.id, ttlMs: 86_400_000 },
})

const mail = (id, to) => ({ key: to, value: { id, to } })
await mails.sendBatch([mail('m-1', 'ada'), mail('m-2', 'bob'), mail('m-1', 'ada')])
await office.drain()
console.log(sent.length, 'mails sent') // => 2 mails sent
assert.deepEqual(new Set(sent), new Set(['ada', 'bob']))

await mq.close()
await close()
