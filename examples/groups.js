// Groups: every group gets every message; the members of one group share the partitions.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const orders = await mq.topic('orders', { partitions: 4 })

const handled = { billing: 0, 'shipping 1': 0, 'shipping 2': 0 }
const count = (member) => () => void handled[member]++

const billing = await orders.subscribe('billing', count('billing'), { from: 'earliest' })
const shipping1 = await orders.subscribe('shipping', count('shipping 1'), { from: 'earliest' })
const shipping2 = await orders.subscribe('shipping', count('shipping 2'))

const messages = Array.from({ length: 1_000 }, (_, i) => ({ key: `order-${i}`, value: { total: i } }))
await orders.sendBatch(messages)
await Promise.all([billing.drain(), shipping1.drain(), shipping2.drain()])

console.log('billing handled', handled.billing) // => billing handled 1000
console.log('shipping handled', handled['shipping 1'] + handled['shipping 2']) // => shipping handled 1000
console.log('partitions of each member', shipping1.assignments().length, shipping2.assignments().length)
// => partitions of each member 2 2

// A member that leaves gives its partitions to those that stay.
await shipping1.close()
console.log('after one left', shipping2.assignments().length) // => after one left 4

await mq.close()
rmSync(path, { recursive: true })
