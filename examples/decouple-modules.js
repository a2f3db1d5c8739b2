// Decoupling: two modules of one service that know a topic, not each other. Either may be slow, fail or come later.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

// --- checkout: says what happened, and is done as soon as that is on disk ---
async function checkout(mq) {
  const placed = await mq.topic('orders.placed')
  return {
    async placeOrder(id, email) {
      await placed.send({ key: id, value: { id, email }, headers: { source: 'web' } })
      return 'thank you'
    },
  }
}

// --- mailer: reacts to it, at its own pace ---
async function mailer(mq, transport) {
  const placed = await mq.topic('orders.placed')
  const mail = ({ value, headers }) => transport(value.email, `order ${value.id}, placed by ${headers.source}`)
  return placed.subscribe('mailer', mail, { from: 'earliest', attempts: 5 })
}

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })

const shop = await checkout(mq)
console.log(await shop.placeOrder('o-1', 'ada@example.com')) // => thank you

// The mailer starts only now, and its first attempt fails: nothing is lost.
let isDown = true
const mails = await mailer(mq, async (to, text) => {
  if (isDown) {
    isDown = false
    throw new Error('the mail server does not answer')
  }
  console.log(`to ${to}: ${text}`) // => to ada@example.com: order o-1, placed by web
})
await mails.drain()

await mq.close()
rmSync(path, { recursive: true })
