// Outbox: a row and the message that tells of it are one commit. Neither is ever there without the other.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const shipping = await mq.topic('shipping')
const stock = await mq.store('stock')
await stock.put('kettle', 2)

/** Nothing of it happens before the callback has returned; when it throws, nothing happens at all. */
const buy = (customer) =>
  mq.transaction(
    (transaction) => {
      const left = transaction.store(stock).get('kettle') - 1
      transaction.store('orders').put(customer, { item: 'kettle' })
      transaction.send(shipping, { key: customer, value: { item: 'kettle' } })
      if (left < 0) throw new Error('sold out')
      transaction.store(stock).put('kettle', left)
      return left
    },
    { attempts: 10 }, // when another one changed the stock that this one read, it runs again
  )

const outcomes = await Promise.allSettled([buy('ada'), buy('bob'), buy('eve')])
console.log(outcomes.map(({ value, reason }) => value?.value ?? reason.message)) // => [ 1, 0, 'sold out' ]

console.log(stock.get('kettle')) // => 0
const orders = await mq.store('orders')
console.log(orders.range().map(({ key }) => key)) // => [ 'ada', 'bob' ]
const told = []
for await (const { key } of shipping.read()) told.push(key)
console.log(told) // => [ 'ada', 'bob' ]

await mq.close()
rmSync(path, { recursive: true })
