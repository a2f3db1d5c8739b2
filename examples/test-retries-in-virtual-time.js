// Retries in virtual time: a minute of back-off passes when the test says so, and not before.
import { openTest } from 'lanemq/testing'

class Declined extends Error {}

async function wire(mq) {
  const payments = await mq.topic('payments')
  await payments.subscribe('bank', () => {}, {
    from: 'earliest',
    attempts: 4,
    backoff: { type: 'exponential', delayMs: 1_000, maxDelayMs: 60_000, jitter: 0 },
  })
}

const t = await openTest({ wire })
t.handler('bank').failTimes(2, () => new Declined('no money'))
await t.send('payments', { key: 'ada', value: { cents: 250 } })

// Everything that can happen now: time stands still.
const { attempts, idle } = await t.settle()
console.log(attempts, idle) // => 1 waiting

// Not yet.
await t.advance('999ms')
t.assert.delivered('bank', { key: 'ada' }, { times: 1 })

// To the next thing that waits for its time, whatever that is.
const { kind, at } = await t.next()
console.log(kind, 'at', at) // => retry at 1000
t.assert.pending('retry', { key: 'ada', attempt: 3, in: '2s' })

// From due time to due time, until nothing is left.
const end = await t.drain()
console.log(end.idle, 'after', t.history.events.at(-1).at, 'virtual ms') // => empty after 3000 virtual ms

console.log(
  t.timeline({ key: 'ada', topic: 'payments' }).includes('fail     bank payments[0]@0 ada #2 Declined, retry in 2s'),
) // => true
await t.dispose()
