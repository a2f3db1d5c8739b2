import { afterEach, describe, expect, test, vi } from 'vitest'
import type { IdempotencyStore } from '../../src/contracts/idempotency-store.ts'
import { openRedisIdempotencyStore, openSqlIdempotencyStore } from '../../src/idempotency/index.ts'
import { openInMemory, type QueueEvents, type Subscription, type Topic } from '../../src/index.ts'
import { openIoredis } from './redis-clients.ts'
import { noRedis, RedisServer, titleOf } from './redis-server.ts'
import { servers, titled } from './sql-servers.ts'

interface Payment {
  readonly id: string
}

interface Given {
  /** The key of a message in its lane: twins with the same one are handed out one after the other. */
  readonly lane: (payment: Payment) => string | undefined
  readonly leaseMs?: number
  /** What the effect is beside being counted. */
  readonly effect?: (payment: Payment) => Promise<void>
}

const concurrency = 4
const patience = { timeout: 40_000, interval: 20 }
const closing: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** A subscription in real time whose effects are counted by payment, with all that could count against a message. */
class Bank {
  readonly effects = new Map<string, number>()
  readonly attempts = new Set<number>()
  readonly events: string[] = []
  duplicates = 0
  failures = 0
  unavailable: unknown
  readonly #topic: Topic<Payment>
  readonly #lane: Given['lane']
  #subscription: Subscription | undefined

  private constructor(topic: Topic<Payment>, lane: Given['lane']) {
    this.#topic = topic
    this.#lane = lane
  }

  static async open(store: IdempotencyStore, { lane, leaseMs, effect }: Given): Promise<Bank> {
    const mq = await openInMemory()
    closing.push(() => mq.close({ timeoutMs: 1_000 }))
    const bank = new Bank(await mq.topic<Payment>('payments'), lane)
    mq.on('message:duplicate', () => bank.duplicates++)
    mq.on('message:failed', () => bank.failures++)
    mq.on('idempotency:available', () => bank.events.push('available'))
    mq.on('idempotency:unavailable', ({ error }: QueueEvents['idempotency:unavailable']) => {
      bank.events.push('unavailable')
      bank.unavailable = error
    })
    const idempotency = { store, key: ({ value }: { value: Payment }) => value.id, ...(leaseMs && { leaseMs }) }
    bank.#subscription = await bank.#topic.subscribe(
      'bank',
      async ({ value, attempt }) => {
        bank.attempts.add(attempt)
        bank.effects.set(value.id, (bank.effects.get(value.id) ?? 0) + 1)
        await effect?.(value)
      },
      { from: 'earliest', concurrency, idempotency },
    )
    return bank
  }

  /** Sends each payment, and all of them a second time. */
  async sendTwice(payments: readonly Payment[]): Promise<void> {
    const twice = [...payments, ...payments]
    await this.#topic.sendBatch(
      twice.map((value) => {
        const key = this.#lane(value)
        return key === undefined ? { value } : { key, value }
      }),
    )
  }

  async drain(): Promise<void> {
    const report = await this.#subscription!.drain({ timeoutMs: patience.timeout })
    expect(report).toEqual({ left: 0 })
  }

  /** Every payment was made once, its second message was finished without a call, and no attempt was counted. */
  expectEachOnce(payments: readonly Payment[]): void {
    expect(this.effects).toEqual(new Map(payments.map(({ id }) => [id, 1])))
    expect(this.duplicates).toBe(payments.length)
    expect(this.failures).toBe(0)
    expect([...this.attempts]).toEqual([1])
  }
}

function payments(first: number, count: number): Payment[] {
  return Array.from({ length: count }, (_, i) => ({ id: `p-${first + i}` }))
}

/** The store, with a count of the calls that it did not answer. */
function counting(store: IdempotencyStore): { store: IdempotencyStore; unanswered: () => number } {
  let unanswered = 0
  const counted = new Proxy(store, {
    get: (inner, name) => {
      const found: unknown = Reflect.get(inner, name, inner)
      if (typeof found !== 'function') return found
      return async (...given: unknown[]): Promise<unknown> => {
        try {
          return await (found as (...given: unknown[]) => unknown).apply(inner, given)
        } catch (error) {
          unanswered++
          throw error
        }
      }
    },
  })
  return { store: counted, unanswered: () => unanswered }
}

describe.skipIf(noRedis)(titleOf('a subscription with a store on Redis'), () => {
  test(
    'ONCE-30: the server dies in the midst of the work and comes back: nothing is done twice, nothing is left out, no attempt counts',
    { timeout: 120_000 },
    async () => {
      const server = await RedisServer.startDurable()
      closing.push(() => server.dispose())
      const { client, close } = await openIoredis(server.port)
      closing.push(close)
      const { store, unanswered } = counting(openRedisIdempotencyStore({ client, durable: true }))
      let doneAtStop = 0
      const bank = await Bank.open(store, {
        lane: ({ id }) => id,
        // Shorter than the server is away: a claim whose answer was lost ends by itself.
        leaseMs: 1_000,
        effect: async ({ id }) => {
          if (id !== 'p-5') return
          await server.stop()
          doneAtStop = bank.effects.size
        },
      })
      const [before, meanwhile, idle, after] = [payments(0, 30), payments(30, 10), payments(40, 10), payments(50, 10)]
      await bank.sendTwice(before)
      await vi.waitFor(() => expect(bank.events).toEqual(['unavailable']), patience)
      await bank.sendTwice(meanwhile)
      await vi.waitFor(() => expect(unanswered()).toBeGreaterThan(concurrency + 3), patience)
      expect(bank.unavailable).toMatchObject({ code: 'STORE_UNREACHABLE', retriable: true })
      // Only who had its answer already.
      expect(bank.effects.size).toBeLessThanOrEqual(doneAtStop + concurrency)
      expect(bank.effects.size).toBeLessThan(before.length)
      await server.start()
      await bank.drain()
      bank.expectEachOnce([...before, ...meanwhile])
      // Once more while nothing runs: now it is the claims that get no answer.
      await server.stop()
      const earlier = unanswered()
      await bank.sendTwice(idle)
      await vi.waitFor(() => expect(unanswered()).toBeGreaterThan(earlier + concurrency + 3), patience)
      expect(bank.effects.size).toBe(before.length + meanwhile.length)
      await server.start()
      await bank.sendTwice(after)
      await bank.drain()
      bank.expectEachOnce([...before, ...meanwhile, ...idle, ...after])
      expect(bank.events).toEqual(['unavailable', 'available', 'unavailable', 'available'])
    },
  )
})

for (const server of [servers.postgres, servers.mysql, servers.nodeSqlite, servers.betterSqlite]) {
  describe.skipIf(server.missing)(`a subscription with a store in ${titled(server)}`, () => {
    test('ONCE-31: each message is sent twice, and done once, also when both are handed out at the same time', async () => {
      const place = await server.place()
      closing.push(() => place.dispose())
      const store = await place.store()
      await store.setup()
      const bank = await Bank.open(store as unknown as IdempotencyStore, { lane: () => undefined })
      const sent = payments(0, 25)
      await bank.sendTwice(sent)
      await bank.drain()
      bank.expectEachOnce(sent)
      expect(bank.events).toEqual([])
    })

    test('ONCE-32: messages wait for a table that is missing, with its code, and go on when it is there', async () => {
      const place = await server.place()
      closing.push(() => place.dispose())
      const store = await place.store()
      const bank = await Bank.open(store as unknown as IdempotencyStore, { lane: ({ id }) => id })
      const sent = payments(0, 5)
      await bank.sendTwice(sent)
      await vi.waitFor(() => expect(bank.events).toEqual(['unavailable']), patience)
      expect(bank.unavailable).toMatchObject({ code: 'NOT_A_STORE' })
      expect(bank.effects.size).toBe(0)
      await store.setup()
      await bank.drain()
      bank.expectEachOnce(sent)
      expect(bank.events).toEqual(['unavailable', 'available'])
    })
  })
}

test('ONCE-33: a client of the wrong kind is refused before anything is subscribed', async () => {
  const client = { query: () => {} }
  const refused = expect.objectContaining({ code: 'INVALID_OPTION', option: 'client' }) as Error
  expect(() => openRedisIdempotencyStore({ client: client as never })).toThrow(refused)
  expect(() => openSqlIdempotencyStore({ dialect: 'sqlite', client: client as never })).toThrow(refused)
  const mq = await openInMemory()
  closing.push(() => mq.close())
  const topic = await mq.topic<Payment>('payments')
  // The client itself is no store.
  const subscribed = topic.subscribe('bank', () => {}, { from: 'earliest', idempotency: { store: client as never } })
  await expect(subscribed).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'store' })
  expect(mq.groups()).toEqual([])
})
