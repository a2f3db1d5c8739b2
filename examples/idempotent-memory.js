// Marks in memory: enough where the queue is in memory too, or where a repeat after a restart does no harm.
// Crash window: everything. The marks go with the process, so what is handed out again after a crash is done again.
import { openInMemory } from 'lanemq'
import { openMemoryIdempotencyStore } from 'lanemq/idempotency'

const mq = await openInMemory()
const orders = await mq.topic('orders')

let calls = 0
const reserve = ({ value }) => {
  calls++
  return { seat: `12${value.id}` } // kept with the mark
}
const seats = await orders.subscribe('seats', reserve, {
  from: 'earliest',
  // At most 10,000 keys: the marks that would end first make room.
  idempotency: { store: openMemoryIdempotencyStore({ maxEntries: 10_000 }), key: ({ value }) => value.id },
})
mq.on('message:duplicate', ({ idempotencyKey, result }) => console.log(idempotencyKey, 'has', result.seat))
// => seats/A has 12A

await orders.sendBatch(['A', 'B', 'A'].map((id) => ({ key: id, value: { id } })))
await seats.drain()
console.log(calls, 'calls') // => 2 calls

await mq.close()
