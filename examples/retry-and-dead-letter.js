// Dead letters: a message that is tried no more is set aside with everything that is known of it, and its key goes on.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open, UnrecoverableError } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const payments = await mq.topic('payments')

const booked = []
const book = ({ key, value }, context) => {
  if (value.cents < 0) throw new UnrecoverableError('a negative amount')
  if (value.cents === 0) return context.deadLetter('nothing to book')
  if (key === 'bob') throw new TypeError('account blocked')
  booked.push(`${key} ${value.cents}`)
}

mq.on('message:dead-lettered', ({ key, attempts, reason }) => console.log(`${key}: ${reason} after ${attempts}`))
// => ada: unrecoverable after 1
// => ada: nothing to book after 1
// => bob: attempts after 3

const bank = await payments.subscribe('bank', book, {
  from: 'earliest',
  attempts: 3,
  backoff: { type: 'exponential', delayMs: 20 },
})
await payments.sendBatch([
  { key: 'bob', value: { cents: 1 } },
  { key: 'ada', value: { cents: -5 } },
  { key: 'ada', value: { cents: 0 } },
  { key: 'ada', value: { cents: 7 } },
])
await bank.drain()
console.log(booked) // => [ 'ada 7' ]

const letters = mq.group('bank').deadLetters()
const { letters: page } = await letters.list({ limit: 10 })
for (const { key, bytes, facts } of page) console.log(key, bytes.toString(), facts.offset, facts.lastError?.name)
// => ada {"cents":-5} 1 UnrecoverableError
// => ada {"cents":0} 2 undefined
// => bob {"cents":1} 0 TypeError

await mq.close()
rmSync(path, { recursive: true })
