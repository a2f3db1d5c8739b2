// Testing a handler: the wiring of production runs on the real engine, in one process, without sleeps or polling.
import { test } from 'node:test'
import { openTest } from 'lanemq/testing'

// --- the application: gets a queue, and what it needs from outside ---
const wireShop = (bank) => async (mq) => {
  const orders = await mq.topic('orders')
  const receipts = await mq.topic('receipts')
  const bill = async ({ key, value }) => {
    await bank.charge(key, value.cents)
    await receipts.send({ key, value: { paid: value.cents } })
  }
  await orders.subscribe('billing', bill, { from: 'earliest' })
}

// --- its tests ---
test('an order is charged and gets its receipt', async (context) => {
  const charges = []
  const bank = { charge: async (key, cents) => void charges.push([key, cents]) }
  const t = await openTest({ wire: wireShop(bank), context }) // disposed when the test ends
  await t.send('orders', { key: 'o-1', value: { cents: 4_000 } })
  await t.drain() // lets everything happen that follows

  t.assert.equal(charges, [['o-1', 4_000]])
  t.assert.published('receipts', { key: 'o-1', value: { paid: 4_000 } })
  t.assert.drained()
})

test('an order that the bank refuses gets no receipt, and the others go on', async (context) => {
  const t = await openTest({ wire: wireShop({ charge: async () => {} }), context })
  t.handler('billing').failWhen({ key: 'o-1' })
  await t.send('orders', { key: 'o-1', value: { cents: 4_000 } })
  await t.send('orders', { key: 'o-2', value: { cents: 100 } })
  await t.drain({ allowDead: 1 })

  t.assert.dead('billing', { key: 'o-1', attempts: 10 })
  t.assert.none.published('receipts', { key: 'o-1' })
  t.assert.published('receipts', { key: 'o-2' })
})
