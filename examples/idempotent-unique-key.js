// A unique key of the database: the id of the work is a row, in the same transaction as the effect. A repeat breaks the
// key, and the whole transaction is rolled back.
// Crash window: none in the database, since row and effect commit together. What a handler does outside of the
// transaction (a mail, a call) is still done again after a crash.
import assert from 'node:assert/strict'
import { openInMemory } from 'lanemq'
import { openDatabase } from './servers/database.js'

const { run, isRepeat, close } = await openDatabase()
await run('CREATE TEMPORARY TABLE payments (id TEXT PRIMARY KEY)')
await run('CREATE TEMPORARY TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER NOT NULL)')
await run(`INSERT INTO accounts VALUES ('ada', 0), ('bob', 0)`)

let repeats = 0
const book = async ({ value }) => {
  await run('BEGIN')
  try {
    await run('UPDATE accounts SET cents = cents + $1 WHERE name = $2', value.cents, value.name)
    await run('INSERT INTO payments VALUES ($1)', value.id)
    await run('COMMIT')
  } catch (error) {
    await run('ROLLBACK')
    if (!isRepeat(error)) throw error // tried again; a repeat is done
    repeats++
  }
}
const mq = await openInMemory()
const payments = await mq.topic('payments')
// One connection does one transaction at a time; with a pool each handler takes its own.
const bank = await payments.subscribe('bank', book, { from: 'earliest', concurrency: 1 })

const sent = ['ada', 'bob', 'ada'].map((name, i) => ({ value: { id: `payment ${i}`, name, cents: 100 } }))
await payments.sendBatch([...sent, ...sent])
await bank.drain()

const accounts = await run('SELECT name, cents FROM accounts ORDER BY name')
console.log(...accounts.flatMap(({ name, cents }) => [name, cents])) // => ada 200 bob 100
console.log('repeats:', repeats) // => repeats: 3
assert.deepEqual([accounts.map(({ cents }) => cents), repeats], [[200, 100], 3])

await mq.close()
await close()
