// Crash and restart: the process ends at a chosen place, the wiring starts again on what was stored.
import { openTest } from 'lanemq/testing'

// What the handler changes outside of the queue: it outlives the process.
const charges = []

async function wire(mq, { clock }) {
  const payments = await mq.topic('payments')
  const charge = async ({ key, value }) => {
    charges.push(`${key} ${value.cents}`)
    await clock.sleep('200ms') // the bank takes its time
  }
  await payments.subscribe('bank', charge, { from: 'earliest' })
}

// `kill -9` while the handler waits for the bank.
const killed = await openTest({ wire })
await killed.send('payments', { key: 'ada', value: { cents: 250 } })
await killed.settle()
killed.crash()
killed.assert.crashed()

await killed.restart() // the same store; `wire` runs again
await killed.drain()
console.log(charges) // => [ 'ada 250', 'ada 250' ]
killed.assert.delivered('bank', { key: 'ada' }, { times: 2, effects: 1 })
killed.assert.drained()
await killed.dispose()

// The power fails while a send is being written: it was not acknowledged, and it is gone. What was acknowledged is there.
const failed = await openTest({ wire })
await failed.send('payments', { key: 'bob', value: { cents: 100 } })
await failed.drain()
failed.faults.crash({ at: 'commit:applied', kind: 'power' })
const lost = failed.send('payments', { key: 'eve', value: { cents: 1 } }).catch((error) => error.code)
await failed.settle()
console.log(await lost) // => CRASHED

await failed.restart()
await failed.drain()
console.log(failed.group('bank').delivered.map(({ key }) => key)) // => [ 'bob' ]
await failed.dispose()
