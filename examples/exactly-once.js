// Exactly once: what a handler sends and stores commits with its acknowledgement. A crash makes it run again, and it runs
// as if for the first time: nothing of the first run is there.
import { openTest } from 'lanemq/testing'

let calls = 0
let accounts
let receipts

async function wire(mq, { clock }) {
  const payments = await mq.topic('payments')
  receipts = await mq.topic('receipts')
  accounts = await mq.store('accounts')
  const book = async ({ key, value }, context) => {
    calls++
    const account = context.store('accounts')
    account.put(key, (account.get(key) ?? 0) + value.cents)
    context.send(receipts, { key, value: { cents: value.cents } })
    await clock.sleep('200ms')
  }
  await payments.subscribe('bank', book, { from: 'earliest' })
}

const test = await openTest({ wire })
await test.send('payments', { key: 'ada', value: { cents: 250 } })
await test.settle()
test.crash() // in the middle of the handler
await test.restart()
await test.advance('200ms')
console.log(calls, accounts.get('ada')) // => 2 250

// The handler is over, and nothing of it is on disk yet.
test.faults.crash({ at: 'handler:done' })
await test.send('payments', { key: 'ada', value: { cents: 50 } })
await test.advance('200ms')
test.assert.crashed()
await test.restart()
await test.drain()
console.log(calls, accounts.get('ada')) // => 4 300

const sent = []
for await (const { value } of receipts.read()) sent.push(value.cents)
console.log(sent) // => [ 250, 50 ]
await test.dispose()
