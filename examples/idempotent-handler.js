// Idempotent handler: for effects outside of the queue. A store remembers what was done by a key of yours, so a payment that
// is sent twice is charged once, and the second delivery gets the first one's result.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'
import { openLmdbIdempotencyStore } from 'lanemq/idempotency'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const payments = await mq.topic('payments')

const charges = []
const charge = ({ value }) => void charges.push(`${value.id} ${value.cents}`)
const options = {
  from: 'earliest',
  // In the queue's own environment: the mark commits with the acknowledgement. `openMemoryIdempotencyStore` forgets at a
  // restart; Redis and SQL databases share their marks with other processes.
  idempotency: { store: openLmdbIdempotencyStore(mq), key: ({ value }) => value.id, ttlMs: 86_400_000 },
}
const bank = await payments.subscribe('bank', charge, options)
mq.on('message:duplicate', ({ offset, idempotencyKey }) => console.log('not again:', offset, idempotencyKey))
// => not again: 2 bank/p-1

await payments.sendBatch(
  [
    ['p-1', 250],
    ['p-2', 990],
    ['p-1', 250], // the customer clicked twice
  ].map(([id, cents]) => ({ key: 'ada', value: { id, cents } })),
)
await bank.drain()
console.log(charges) // => [ 'p-1 250', 'p-2 990' ]

await mq.close()
rmSync(path, { recursive: true })
