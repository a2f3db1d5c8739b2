import { expect, test } from 'vitest'
import type { MessageQueue } from '../../src/index.ts'
import { openTest } from '../../src/testing/open-test.ts'

interface Order {
  readonly total: number
}

const charged: string[] = []

async function wire(mq: MessageQueue): Promise<void> {
  const orders = await mq.topic<Order>('orders', { partitions: 2 })
  const shipments = await mq.topic('shipments')
  await orders.subscribe(
    'billing',
    async (message) => {
      charged.push(message.key!)
      await shipments.send({ key: message.key!, value: { ok: true } })
    },
    { from: 'earliest', attempts: 3, backoff: { type: 'fixed', delayMs: 1000, jitter: 0 } },
  )
  await orders.subscribe('mail', () => {}, { from: 'earliest' })
}

test('a declined card is retried, then parked', async () => {
  const t = await openTest({ wire })
  t.handler('billing').failTimes(3)
  await t.send('orders', { key: 'o-1', value: { total: 40 } })
  const first = await t.settle()
  console.log(first)
  await t.advance('1s')
  await t.drain({ allowDead: 1 })
  console.log(t.timeline())
  console.log(t.timeline({ level: 'all' }))
  console.log(t.mermaid())
  await t.dispose()
  expect(1).toBe(1)
})

test('crash', async () => {
  for (const store of ['memory', 'lmdb-tmp'] as const) {
    const t = await openTest({ wire, store })
    t.faults.crash({ at: 'handler:done', group: 'billing', nth: 1 })
    await t.send('orders', { key: 'o-1', value: { total: 40 } })
    await t.settle()
    await t.restart()
    await t.drain()
    console.log(t.timeline({ level: 'all' }))
    await t.dispose()
  }
})
