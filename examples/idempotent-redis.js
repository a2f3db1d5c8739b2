// A unique id in Redis: the producer gives each piece of work an id, and the store remembers which ids were worked on.
// Crash window: between the effect and its mark. A process that dies there leaves an effect that Redis knows nothing of;
// when the lease of the dead process ends, the effect happens a second time. Everything else is prevented.
import assert from 'node:assert/strict'
import { openInMemory } from 'lanemq'
import { openRedisIdempotencyStore } from 'lanemq/idempotency'
import { startRedis } from './servers/redis.js'

const { client, stop } = await startRedis()
const store = openRedisIdempotencyStore({ client, prefix: 'bank', durable: true })
const mq = await openInMemory()
const payments = await mq.topic('payments')

let duplicates = 0
mq.on('message:duplicate', () => duplicates++)

const charged = []
const charge = async ({ value }) => {
  charged.push(value.id) // think of a card that is charged far away
}
const bank = await payments.subscribe('bank', charge, {
  from: 'earliest',
  idempotency: { store, key: ({ value }) => value.id },
})

// Without keys the second one of a payment may be handed out while the first one runs: it waits for it.
const sent = Array.from({ length: 10 }, (_, i) => ({ value: { id: `payment ${i}`, cents: 250 } }))
await payments.sendBatch(sent.flatMap((message) => [message, message]))
await bank.drain()

console.log(`${charged.length} charged, ${duplicates} known`) // => 10 charged, 10 known
assert.equal(new Set(charged).size, 10)
assert.deepEqual([charged.length, duplicates], [10, 10])

await mq.close()
await stop()
