import { expect, test } from 'vitest'
import { ExpiryQueue, type Expiring } from '../../../src/idempotency/expiry-queue.ts'
import { mulberry32 } from '../../../src/testing/virtual-runtime.ts'

test('the item that ended first is answered, and stays until it is deleted', () => {
  const queue = new ExpiryQueue<Expiring>()
  const [early, late] = [{ endsAt: 5 }, { endsAt: 9 }]
  queue.set(late)
  queue.set(early)
  expect(queue.firstEnded(4)).toBeUndefined()
  expect(queue.firstEnded(5)).toBe(early)
  expect(queue.firstEnded(9)).toBe(early)
  queue.delete(early)
  expect(queue.firstEnded(8)).toBeUndefined()
  expect(queue.firstEnded(9)).toBe(late)
})

test('an item counts by its latest end, moved either way, or to never', () => {
  const queue = new ExpiryQueue<Expiring>()
  const item = { endsAt: 5 }
  queue.set(item)
  item.endsAt = 20
  queue.set(item)
  expect(queue.firstEnded(19)).toBeUndefined()
  item.endsAt = 10
  queue.set(item)
  expect(queue.firstEnded(10)).toBe(item)
  item.endsAt = Infinity
  queue.set(item)
  expect(queue.firstEnded(Number.MAX_VALUE)).toBeUndefined()
})

test('it agrees with a plain list, over any changes', () => {
  const random = mulberry32(7)
  const queue = new ExpiryQueue<Expiring>()
  const items = new Set<Expiring>()
  for (let now = 0; now < 20_000; now++) {
    const chosen = [...items][Math.floor(random() * items.size)]
    const endsAt = random() < 0.1 ? Infinity : now + Math.floor(random() * 100)
    if (chosen === undefined || (random() < 0.4 && items.size < 50)) {
      const item = { endsAt }
      items.add(item)
      queue.set(item)
    } else if (random() < 0.7) {
      chosen.endsAt = endsAt
      queue.set(chosen)
    } else {
      items.delete(chosen)
      queue.delete(chosen)
    }
    const first = Math.min(...[...items].map((item) => item.endsAt))
    expect(queue.firstEnded(now)?.endsAt).toBe(first <= now ? first : undefined)
  }
})
