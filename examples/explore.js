// Exploring: the machine looks for the crash or schedule that breaks a handler, and tells it as a short story.
import { explore } from 'lanemq/testing'

// A table in some database, by message: it outlives the process.
const rows = new Map()
const total = () => [...rows.values()].flat().reduce((sum, cents) => sum + cents, 0)

const wireLedger = (book) => async (mq) => {
  const payments = await mq.topic('payments')
  await payments.subscribe('ledger', async ({ id, value }) => book(id, value.cents), { from: 'earliest' })
}

const exploration = {
  name: 'every payment is booked once',
  budget: { runs: 300 },
  reset: () => rows.clear(), // before each run
  async scenario(t) {
    await t.send('payments', { key: 'ada', value: { cents: 250 } })
    await t.send('payments', { key: 'bob', value: { cents: 100 } })
  },
  check() {
    if (total() !== 350) throw new Error(`booked ${total()} instead of 350`)
  },
}

// Books again when the message comes again.
const twice = wireLedger((id, cents) => rows.set(id, [...(rows.get(id) ?? []), cents]))
try {
  await explore({ ...exploration, wire: twice, faults: ['crash'] })
} catch (error) {
  const [found, , deviation, what] = error.message.split('\n')
  console.log(found) // => every payment is booked once: check broken, found in run …, shrunk 1 -> 1 deviation (…)
  console.log(deviation.trim()) // => 1. process crash at "handler:done ledger payments[0]@0"
  console.log(what.trim()) // => booked 600 instead of 350
  console.log(error.message.includes('LANEMQ_REPLAY=')) // => true
}

// Books by the id of the message: right under every single fault of every kind.
const once = wireLedger((id, cents) => rows.set(id, [cents]))
const { depth, landed } = await explore({ ...exploration, wire: once, report: () => {} })
console.log(depth, landed.crash > 0, landed.duplicate > 0) // => 1 true true
