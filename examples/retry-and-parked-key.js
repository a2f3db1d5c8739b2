// Retries: a failing message is tried again and holds back its own key only; after the last attempt its key is parked.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const payments = await mq.topic('payments')

let isBlocked = true
const booked = { ada: [], bob: [] }
const book = ({ key, value }) => {
  if (key === 'bob' && isBlocked) throw new Error('account blocked')
  booked[key].push(value)
}

mq.on('message:failed', ({ key, attempt }) => console.log(`${key}: attempt ${attempt} failed`))
mq.on('key:parked', ({ key, error }) => console.log(`${key}: ${error.code}`))
// => bob: attempt 1 failed
// => bob: attempt 2 failed
// => bob: attempt 3 failed
// => bob: HANDLER_FAILED

const bank = await payments.subscribe('bank', book, {
  from: 'earliest',
  attempts: 3,
  onExhausted: 'park-key',
  backoff: { type: 'exponential', delayMs: 5 },
})
await payments.sendBatch(
  [1, 2].flatMap((value) => [
    { key: 'bob', value },
    { key: 'ada', value },
  ]),
)

// Ends when all that is left belongs to parked keys.
const { left } = await bank.drain()
console.log('left', left, booked) // => left 2 { ada: [ 1, 2 ], bob: [] }

isBlocked = false
console.log('released', bank.release('bob')) // => released 1
await bank.drain()
console.log(booked) // => { ada: [ 1, 2 ], bob: [ 1, 2 ] }

await mq.close()
rmSync(path, { recursive: true })
