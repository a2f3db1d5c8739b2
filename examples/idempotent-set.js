// Naturally idempotent: a message says what the value is, not by how much it changes. Setting it twice changes nothing.
// Crash window: none for the value. A crash between SET and the acknowledgement sets it again. The lane of a key repeats
// in order, so an older value is seen at most until the newer ones of its key have been repeated too.
import assert from 'node:assert/strict'
import { openInMemory } from 'lanemq'
import { startRedis } from './servers/redis.js'

const { client, stop } = await startRedis()
const mq = await openInMemory()
const stock = await mq.topic('stock')

let calls = 0
const handle = async ({ key, value }) => {
  calls++
  await client.set(`stock:${key}`, value.left) // what is left
  await client.incrby(`counted:${key}`, value.came) // what came: each repeat counts again
}
const shelf = await stock.subscribe('shelf', handle, { from: 'earliest' })

const sent = [
  { key: 'kettle', value: { came: 5, left: 5 } },
  { key: 'teapot', value: { came: 2, left: 2 } },
  { key: 'kettle', value: { came: 3, left: 8 } },
]
for (const message of sent) await Promise.all([stock.send(message), stock.send(message)])
await shelf.drain()

const left = await client.mget('stock:kettle', 'stock:teapot')
const counted = await client.mget('counted:kettle', 'counted:teapot')
console.log(calls, 'calls') // => 6 calls
console.log('set:', ...left) // => set: 8 2
console.log('added up:', ...counted, 'is wrong') // => added up: 16 4 is wrong
assert.deepEqual([calls, left, counted], [6, ['8', '2'], ['16', '4']])

await mq.close()
await stop()
