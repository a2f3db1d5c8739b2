// One life of a process that sends dead letters back until it is killed. The first one makes the letters, the last one says
// what is in the topic, and has the group handle it.
import { open } from '../../dist/index.js'
import { live, say } from './torture-life.mjs'

const [directory, what] = process.argv.slice(2)
const keys = 40
const perKey = 60

await live(async () => {
  const mq = await open({ path: directory, minFreeBytes: 0 })
  const orders = await mq.topic('orders', { partitions: 4 })
  const never = () => {
    throw new Error('not yet')
  }
  if (what === 'seed') {
    const round = (n) => Array.from({ length: keys }, (_, i) => ({ key: `k${i}`, value: n }))
    for (let n = 0; n < perKey; n++) await orders.sendBatch(round(n))
    const subscriptions = [
      await orders.subscribe('billing', never, { from: 'earliest', attempts: 1 }),
      await orders.subscribe('audit', () => {}, { from: 'earliest' }),
    ]
    for (const subscription of subscriptions) await subscription.drain()
    return mq.close()
  }
  const letters = mq.group('billing').deadLetters()
  let isOver = false
  const result = letters.redrive().finally(() => (isOver = true))
  while (!isOver) {
    say('turn')
    await new Promise((resolve) => setImmediate(resolve))
  }
  await result
  for await (const { key, value, redriveFacts: facts } of orders.read()) {
    if (facts) say(`copy ${key} ${String(value)} ${facts.group} ${facts.origin.partition}/${facts.origin.offset}`)
  }
  const handled = (group) => (message) =>
    void (message.redriveFacts && say(`${group} ${message.key} ${String(message.value)}`))
  const subscriptions = [
    await orders.subscribe('billing', handled('billing')),
    await orders.subscribe('audit', handled('audit')),
  ]
  for (const subscription of subscriptions) await subscription.drain()
  say(`left ${await letters.count()}`)
  await mq.close()
})
