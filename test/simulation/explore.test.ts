import { expect, test } from 'vitest'
import type { MessageQueue } from '../../src/index.ts'
import { explore } from '../../src/testing/explore/explore.ts'
import { openTest, type WireContext } from '../../src/testing/open-test.ts'

async function wire(mq: MessageQueue, _context: WireContext): Promise<void> {
  const orders = await mq.topic<{ total: number }>('orders', { partitions: 2 })
  const settings = { from: 'earliest' as const, attempts: 3, backoff: { type: 'fixed' as const, delayMs: 1000, jitter: 0 } }
  await orders.subscribe('billing', async () => {}, settings)
  await orders.subscribe('mail', () => {}, settings)
}

test('explore', { timeout: 60_000 }, async () => {
  const keys = ['a', 'b', 'c', 'd']
  const report = await explore({
    wire,
    scenario: (t) =>
      Promise.all(Array.from({ length: 12 }, (_, i) => t.send('orders', { key: keys[i % 4]!, value: { total: i } }))),
    budget: { ms: Number(process.env['MS'] ?? 3000) },
  })
  console.log(report)
  expect(report.schedules).toBeGreaterThan(100)
})

test('speed of a plain test', async () => {
  for (let i = 0; i < 5; i++) {
    const a = performance.now()
    const t = await openTest({ wire })
    const b = performance.now()
    await t.dispose()
    const c = performance.now()
    console.log('open', b - a, 'dispose', c - b)
  }
})
