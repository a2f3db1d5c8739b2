import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool } from 'redis'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  openMemoryIdempotencyStore,
  openRedisIdempotencyStore,
  type BeginOutcome,
  type RedisIdempotencyOptions,
  type RedisIdempotencyStore,
} from '../../src/idempotency/index.ts'
import { clients, openIoredis, openNodeRedis, type OpenClient, type OpenedClient } from './redis-clients.ts'
import { noRedis, RedisServer, titleOf } from './redis-server.ts'

const request = { owner: 'o', leaseMs: 60_000 }
const forAnHour = { ttlMs: 3_600_000 }
const opened: OpenedClient[] = []
const servers: RedisServer[] = []
/** What nobody handled: a store may leave none of it behind. */
const unhandled: unknown[] = []
const remember = (reason: unknown): void => void unhandled.push(reason)

beforeAll(() => void process.on('unhandledRejection', remember))
afterAll(() => {
  process.off('unhandledRejection', remember)
  expect(unhandled).toEqual([])
})
afterEach(async () => {
  vi.useRealTimers()
  for (const { close } of opened.splice(0)) close()
  await Promise.all(servers.splice(0).map((server) => server.dispose()))
})

async function opening(openClient: OpenClient, server: RedisServer, password?: string): Promise<OpenedClient> {
  const one = await openClient(server.port, password)
  opened.push(one)
  return one
}

function started(server: RedisServer): RedisServer {
  servers.push(server)
  return server
}

function storeOn({ client }: OpenedClient, options: Partial<RedisIdempotencyOptions> = {}): RedisIdempotencyStore {
  return openRedisIdempotencyStore({ client, ...options })
}

function fenceOf(found: BeginOutcome): number {
  if (found.outcome !== 'acquired') throw new Error(`the key is ${found.outcome}`)
  return found.fence
}

const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'none',
    (error: { code?: string }) => error.code,
  )

describe('opening', () => {
  test('takes every kind of client of both packages, without a connection', () => {
    const lazy = { lazyConnect: true }
    const all = [new Redis(lazy), new Cluster([], lazy), createClient(), createClientPool()]
    for (const client of all) expect(openRedisIdempotencyStore({ client }).capabilities.durable).toBe(false)
  })

  test.each([
    ['undefined', undefined, 'is missing'],
    ['null', null, 'is null'],
    ['a URL', 'redis://localhost', 'is of the type string'],
    ['a function', () => {}, 'is of the type function'],
    ['an object', { host: 'a', port: 1 }, 'is an object with host, port'],
    ['another class', new Map(), 'is a Map'],
    ['a pipeline of ioredis', new Redis({ lazyConnect: true }).pipeline(), 'is a Pipeline'],
    ['a MULTI of node-redis', createClient().multi(), 'is a Class'],
  ])('refuses %s as a client, and says what it saw', (_, client, seen) => {
    const open = (): unknown => openRedisIdempotencyStore({ client: client as never })
    expect(open).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', option: 'client' }))
    expect(open).toThrow(seen)
  })

  test('refuses other options that make no sense', () => {
    const client = createClient()
    const wrong: [string, object][] = [
      ...['', 'a{b', 'a}b', 'a\nb', '\ud800', 'x'.repeat(101), 7].map((prefix): [string, object] => [
        'prefix',
        { prefix },
      ]),
      ...[-1, 1.5, 16_777_217, '1'].map((maxResultBytes): [string, object] => ['maxResultBytes', { maxResultBytes }]),
      ['durable', { durable: 'yes' }],
      ['ttl', { ttl: 1 }],
    ]
    for (const [option, options] of wrong) {
      const open = (): unknown => openRedisIdempotencyStore({ client, ...options })
      expect(open).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', option }))
    }
    expect(() => openRedisIdempotencyStore(undefined as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })

  test('the face has the store in memory too', async () => {
    const store = openMemoryIdempotencyStore({ maxEntries: 1 })
    expect((await store.begin('k', request)).outcome).toBe('acquired')
    await expect(store.begin('l', request)).rejects.toMatchObject({ code: 'STORE_FULL' })
  })
})

describe.skipIf(noRedis !== undefined)(titleOf('on a server'), () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server?.dispose())

  test('64 claims of one key over eight connections of both packages: one winner, fences rise from round to round', async () => {
    const connections = await Promise.all(
      [0, 1, 2, 3].flatMap(() => [opening(openIoredis, server), opening(openNodeRedis, server)]),
    )
    const stores = connections.map((one) => storeOn(one, { prefix: 'race' }))
    let last = 0
    for (let round = 0; round < 20; round++) {
      const found = await Promise.all(
        Array.from({ length: 64 }, async (_, i) => {
          const store = stores[i % stores.length]!
          return { store, outcome: await store.begin('k', { ...request, owner: `o${i}` }) }
        }),
      )
      const winners = found.filter(({ outcome }) => outcome.outcome === 'acquired')
      expect(winners).toHaveLength(1)
      expect(found.filter(({ outcome }) => outcome.outcome === 'busy')).toHaveLength(63)
      const [{ store, outcome }] = winners as [(typeof found)[number]]
      expect(fenceOf(outcome)).toBeGreaterThan(last)
      last = fenceOf(outcome)
      expect(await store.release('k', last)).toEqual({ outcome: 'accepted' })
    }
  })

  test('64 owners take a lapsed key over, over several connections: one winner, and the old owner is fenced', async () => {
    const connections = await Promise.all([openIoredis, openNodeRedis].map((open) => opening(open, server)))
    const stores = connections.map((one) => storeOn(one, { prefix: 'take-over' }))
    const old = fenceOf(await stores[0]!.begin('k', { owner: 'old', leaseMs: 50 }))
    await sleep(60)
    const found = await Promise.all(Array.from({ length: 64 }, (_, i) => stores[i % 2]!.begin('k', request)))
    const [winner, ...others] = found.filter(({ outcome }) => outcome === 'acquired')
    expect(others).toEqual([])
    expect(fenceOf(winner!)).toBeGreaterThan(old)
    for (const store of stores)
      expect(await store.complete('k', old, undefined, forAnHour)).toEqual({ outcome: 'fenced' })
    expect(await stores[1]!.complete('k', fenceOf(winner!), undefined, forAnHour)).toEqual({ outcome: 'accepted' })
  })

  describe.each(Object.entries(clients))('by %s', (name, openClient) => {
    const prefixOf = (title: string): string => `${name} ${title}`

    test('a script that the server forgot is sent again', async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('flush') })
      for (let i = 0; i < 3; i++) {
        await one.command('script', 'flush')
        const fence = fenceOf(await store.begin(`k${i}`, request))
        await one.command('script', 'flush')
        expect(await store.renew(`k${i}`, fence, 60_000)).toEqual({ outcome: 'accepted' })
        await one.command('script', 'flush')
        expect(await store.complete(`k${i}`, fence, Uint8Array.of(i), forAnHour)).toEqual({ outcome: 'accepted' })
        await one.command('script', 'flush')
        expect(await store.begin(`k${i}`, request)).toEqual({ outcome: 'done', result: Uint8Array.of(i) })
        await one.command('script', 'flush')
        expect(await store.sweep(1)).toEqual({ removed: 0, more: false })
      }
    })

    test('scripts that the server forgets in the middle of many calls disturb none of them', async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('flood') })
      const flushes = Array.from({ length: 20 }, () => one.command('script', 'flush'))
      const begun = await Promise.all(Array.from({ length: 200 }, (_, i) => store.begin(`k${i % 100}`, request)))
      await Promise.all(flushes)
      expect(begun.filter(({ outcome }) => outcome === 'acquired')).toHaveLength(100)
    })

    test('thousands of keys are claimed, marked, swept, and gone', async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('many') })
      const keys = Array.from({ length: 5_000 }, (_, i) => `key ${i}`)
      const fences = await Promise.all(keys.map(async (key) => fenceOf(await store.begin(key, request))))
      expect(new Set(fences).size).toBe(keys.length)
      const short = { ttlMs: 1 }
      const ended = await Promise.all(
        keys.map((key, i) => store.complete(key, fences[i]!, undefined, i % 2 === 0 ? short : forAnHour)),
      )
      expect(ended.every(({ outcome }) => outcome === 'accepted')).toBe(true)
      await sleep(10)
      expect(await store.sweep(1_000)).toEqual({ removed: 1_000, more: true })
      expect(await store.sweep(10_000)).toEqual({ removed: 1_500, more: false })
      const again = await Promise.all(keys.map(async (key) => (await store.begin(key, request)).outcome))
      expect(again.map((outcome) => (outcome === 'done' ? 1 : 0))).toEqual(keys.map((_, i) => i % 2))
    })

    test('stores of different prefixes have nothing to do with each other', async () => {
      const one = await opening(openClient, server)
      const prefixes = ['a', 'a:key', 'a:key:k', 'A', 'ä', '*', 'a b'].map((prefix) => prefixOf(prefix))
      const stores = prefixes.map((prefix) => storeOn(one, { prefix }))
      const fences: number[] = []
      for (const store of stores) fences.push(fenceOf(await store.begin('k', request)))
      expect(await stores[0]!.release('k', fences[1]!)).toEqual({ outcome: 'fenced' })
      expect(await stores[0]!.release('k', fences[0]!)).toEqual({ outcome: 'accepted' })
      for (const store of stores.slice(1)) expect((await store.begin('k', request)).outcome).toBe('busy')
      const { outcome } = await stores[1]!.complete('k', fences[1]!, undefined, { ttlMs: 1 })
      expect(outcome).toBe('accepted')
      await sleep(5)
      expect(await stores[2]!.sweep(9)).toEqual({ removed: 0, more: false })
      expect(await stores[1]!.sweep(9)).toEqual({ removed: 1, more: false })
      await storeOn(one, { prefix: prefixOf('a') }).close()
    })

    test("the client's clock means nothing: time is the server's", async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('clock') })
      const fence = fenceOf(await store.begin('lease', { owner: 'o', leaseMs: 300 }))
      await store.complete('mark', fenceOf(await store.begin('mark', request)), undefined, forAnHour)
      for (const year of [1971, 2199]) {
        vi.useFakeTimers({ toFake: ['Date'], now: new Date(year, 1) })
        expect(await store.begin('lease', request)).toMatchObject({ outcome: 'busy' })
        expect((await store.begin('mark', request)).outcome).toBe('done')
        expect(await store.sweep(9)).toEqual({ removed: 0, more: false })
      }
      await sleep(310)
      const next = fenceOf(await store.begin('lease', request))
      expect(next).toBeGreaterThan(fence)
      expect(next).toBeLessThan(1_000 * new Date(2150, 1).getTime())
    })

    test('Redis itself lets go of what nobody sweeps, and the list of it does not grow for ever', async () => {
      const one = await opening(openClient, server)
      const prefix = prefixOf('unswept')
      const store = storeOn(one, { prefix })
      await store.complete('mark', fenceOf(await store.begin('mark', request)), undefined, { ttlMs: 20 })
      await store.complete('kept', fenceOf(await store.begin('kept', request)), undefined, { ttlMs: Infinity })
      await store.complete('long', fenceOf(await store.begin('long', request)), undefined, {
        ttlMs: Number.MAX_SAFE_INTEGER,
      })
      await store.begin('claim', { owner: 'o', leaseMs: 1_000 })
      await sleep(30)
      const day = 86_400_000
      const lives = async (key: string): Promise<number> => Number(await one.command('pttl', `{${prefix}}:key:${key}`))
      expect([await lives('mark'), await lives('kept'), await lives('long')]).toEqual([-2, -1, -1])
      expect(await lives('claim')).toBeGreaterThan(day)
      expect(await lives('claim')).toBeLessThanOrEqual(day + 1_001)
      expect(Number(await one.command('pttl', `{${prefix}}:fences`))).toBe(-1)

      // As if a day had passed.
      const ends = `{${prefix}}:ends`
      for (let i = 0; i < 10; i++) await one.command('zadd', ends, '1', `old ${i}`)
      for (let i = 0; i < 5; i++) await store.begin(`new ${i}`, request)
      expect(Number(await one.command('zcount', ends, '-inf', '1'))).toBe(0)
      expect(Number(await one.command('zcard', ends))).toBe(7)
    })

    test('a fence rises when the counter was lost, and when the clock was set back', async () => {
      const one = await opening(openClient, server)
      const prefix = prefixOf('counter')
      const store = storeOn(one, { prefix })
      const before = fenceOf(await store.begin('k', request))
      await one.command('del', `{${prefix}}:fences`, `{${prefix}}:key:k`)
      const after = fenceOf(await store.begin('k', request))
      expect(after).toBeGreaterThan(before)
      expect(await store.complete('k', before, undefined, forAnHour)).toEqual({ outcome: 'fenced' })

      // The last fence lies an hour ahead of the clock: so does one that was given before the clock was set back.
      const ahead = after + 3_600_000_000
      await one.command('set', `{${prefix}}:fences`, `${ahead}`)
      expect(fenceOf(await store.begin('l', request))).toBe(ahead + 1)
      expect(fenceOf(await store.begin('m', request))).toBe(ahead + 2)
    })

    test.each(['string', 'ends', 'fences'])(
      'a key of another type where the store has its own is an error, and nothing changes (%s)',
      async (which) => {
        const one = await opening(openClient, server)
        const prefix = prefixOf(`type ${which}`)
        const store = storeOn(one, { prefix })
        const held = fenceOf(await store.begin('held', request))
        const name = `{${prefix}}:${which === 'string' ? 'key:k' : which}`
        await one.command('del', name)
        await one.command('rpush', name, 'of somebody else')
        const error: unknown = await store.begin('k', request).catch((reason: unknown) => reason)
        expect(error).toMatchObject({ code: 'NOT_A_STORE', retriable: false, option: 'prefix', value: prefix })
        expect((error as Error).message).toContain('choose another prefix')
        expect((error as Error).cause).toBeInstanceOf(Error)
        if (which === 'ends') {
          expect(await codeOf(store.renew('held', held, 1))).toBe('NOT_A_STORE')
          expect(await codeOf(store.complete('held', held, undefined, forAnHour))).toBe('NOT_A_STORE')
          expect(await codeOf(store.release('held', held))).toBe('NOT_A_STORE')
          expect(await codeOf(store.sweep(1))).toBe('NOT_A_STORE')
        }
        await one.command('del', name)
        expect((await store.begin('k', request)).outcome).toBe('acquired')
        expect((await store.begin('held', request)).outcome).toBe('busy')
      },
    )

    test('closing waits for calls under way, and leaves the client open', async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('close') })
      let answered = 0
      const calls = [store.begin('k', request), store.begin('l', request), store.sweep(5)]
      for (const call of calls) void call.then(() => answered++)
      await Promise.all([store.close(), store.close()])
      expect(answered).toBe(3)
      expect(await codeOf(store.begin('m', request))).toBe('CLOSED')
      expect(String(await one.command('ping'))).toBe('PONG')
    })

    test('a result that is returned shares no memory with the client', async () => {
      const one = await opening(openClient, server)
      const store = storeOn(one, { prefix: prefixOf('memory') })
      await store.complete('k', fenceOf(await store.begin('k', request)), Uint8Array.of(1, 2), forAnHour)
      const found = await store.begin('k', request)
      expect(found.outcome === 'done' && found.result?.buffer.byteLength).toBe(2)
    })
  })

  test('a prefix of the ioredis client itself goes before all keys', async () => {
    const client = new Redis({ port: server.port, host: '127.0.0.1', keyPrefix: 'app:' })
    const plain = await opening(openIoredis, server)
    opened.push({ client, command: async () => {}, close: () => client.disconnect() })
    const store = openRedisIdempotencyStore({ client, prefix: 'own' })
    await store.complete('k', fenceOf(await store.begin('k', request)), undefined, { ttlMs: 60_000 })
    const keys = (await plain.command('keys', '*{own}*')) as string[]
    expect(keys.toSorted()).toEqual(['app:{own}:ends', 'app:{own}:fences', 'app:{own}:key:k'])
    await plain.command('zadd', 'app:{own}:ends', '1', 'k')
    expect(await store.sweep(5)).toEqual({ removed: 1, more: false })
    expect((await store.begin('k', request)).outcome).toBe('acquired')
  })
})

describe.skipIf(noRedis !== undefined).each(Object.entries(clients))(
  titleOf('a server in trouble, by %s'),
  (_, openClient) => {
    test('one that crashes and comes back keeps what it wrote down: no effect twice, clear errors, and it goes on', async () => {
      const server = started(await RedisServer.startDurable())
      const one = await opening(openClient, server)
      const store = storeOn(one, { durable: true })
      const effects = new Map<string, number>()
      let refused = 0

      /** As a consumer does it: claim, effect, mark, and again until it is marked; the server is away for less than a lease. */
      const work = async (key: string): Promise<void> => {
        for (let acted = false; ;) {
          try {
            const found = await store.begin(key, { owner: 'o', leaseMs: 6_000 })
            if (found.outcome === 'done') return
            if (found.outcome === 'acquired') {
              // Its own effect survives its own retries, as that of a process that did not die.
              if (!acted) effects.set(key, (effects.get(key) ?? 0) + 1)
              acted = true
              await markUntilHeard(key, found.fence)
              continue
            }
          } catch (error) {
            refused++
            expect(error).toMatchObject({ code: 'STORE_UNREACHABLE', retriable: true })
            expect((error as Error).message).toMatch(
              /^the Redis server did not do its part, which may succeed later: ./,
            )
            expect((error as Error).cause).toBeInstanceOf(Error)
          }
          await sleep(20)
        }
      }
      const markUntilHeard = async (key: string, fence: number): Promise<void> => {
        while ((await codeOf(store.complete(key, fence, undefined, forAnHour))) !== 'none') {
          refused++
          await sleep(20)
        }
      }

      const keys = Array.from({ length: 300 }, (_, i) => `k${i}`)
      const fences: number[] = []
      for (const key of keys.slice(0, 100)) {
        const fence = fenceOf(await store.begin(key, request))
        fences.push(fence)
        await store.complete(key, fence, undefined, forAnHour)
      }
      const held = fenceOf(await store.begin('held', request))
      // Two deliveries of each message, and the server dies while they are worked on.
      const running = [...keys, ...keys].map(work)
      await sleep(5)
      await server.stop()
      await sleep(300)
      expect(refused).toBeGreaterThan(0)
      await server.start()
      await Promise.all(running)

      // What had been marked before was not done again; the rest was done once.
      expect([...effects.keys()].filter((key) => keys.indexOf(key) < 100)).toEqual([])
      expect(effects.size).toBe(200)
      expect([...effects].filter(([, times]) => times !== 1)).toEqual([])
      expect(await store.complete('held', held, undefined, forAnHour)).toEqual({ outcome: 'accepted' })
      expect(fenceOf(await store.begin('new', request))).toBeGreaterThan(Math.max(held, ...fences))
    })

    test('one that keeps nothing forgets marks and claims in a crash, and its fences rise all the same', async () => {
      const server = started(await RedisServer.start())
      const store = storeOn(await opening(openClient, server))
      const fence = fenceOf(await store.begin('k', request))
      await store.complete('k', fence, undefined, forAnHour)
      await server.stop()
      await server.start()
      await vi.waitUntil(async () => (await codeOf(store.sweep(1))) === 'none', 5_000)
      expect(fenceOf(await store.begin('k', request))).toBeGreaterThan(fence)
      expect(await store.complete('k', fence, undefined, forAnHour)).toEqual({ outcome: 'fenced' })
    })

    test('calls on a server that is gone reject at once or when the client gives up; none is left behind', async () => {
      const server = started(await RedisServer.start())
      const store = storeOn(await opening(openClient, server))
      const fence = fenceOf(await store.begin('k', request))
      server.pause(true)
      const underWay = [
        store.begin('l', request),
        store.renew('k', fence, 1_000),
        store.complete('k', fence, undefined, forAnHour),
        store.fail('k', fence, { name: 'E', message: '' }, forAnHour),
        store.release('k', fence),
        store.sweep(1),
      ]
      const ended = Promise.allSettled(underWay)
      await sleep(20)
      await server.stop()
      expect((await ended).map(({ status }) => status)).toEqual(underWay.map(() => 'rejected'))
      expect(await codeOf(store.begin('m', request))).toBe('STORE_UNREACHABLE')
      await store.close()
      expect(await codeOf(store.begin('m', request))).toBe('CLOSED')
    })

    test('one without memory refuses new claims, and takes what ends or renews one', async () => {
      const server = started(await RedisServer.start('--maxmemory-policy', 'noeviction'))
      const one = await opening(openClient, server)
      const store = storeOn(one)
      const keys = ['renewed', 'done', 'failed', 'released', 'lapsed'] as const
      const fences = new Map<string, number>()
      for (const key of keys) {
        const leaseMs = key === 'lapsed' ? 1 : 60_000
        fences.set(key, fenceOf(await store.begin(key, { owner: 'o', leaseMs })))
      }
      await one.command('config', 'set', 'maxmemory', '1')
      await expect(store.begin('new', request)).rejects.toMatchObject({ code: 'STORE_FULL', retriable: true })
      expect((await store.begin('done', request)).outcome).toBe('busy')
      const fence = (key: (typeof keys)[number]): number => fences.get(key)!
      const result = new Uint8Array(65_536).fill(7)
      expect((await store.renew('renewed', fence('renewed'), 90_000)).outcome).toBe('accepted')
      expect((await store.complete('done', fence('done'), result, forAnHour)).outcome).toBe('accepted')
      const error = { name: 'E', message: 'no', code: 'E_NO' }
      expect((await store.fail('failed', fence('failed'), error, forAnHour)).outcome).toBe('accepted')
      expect((await store.release('released', fence('released'))).outcome).toBe('accepted')
      expect(await store.sweep(9)).toEqual({ removed: 1, more: false })
      expect(await store.begin('done', request)).toEqual({ outcome: 'done', result })
      expect(await store.begin('failed', request)).toEqual({ outcome: 'failed', error })
      await one.command('config', 'set', 'maxmemory', '0')
      expect((await store.begin('new', request)).outcome).toBe('acquired')
    })

    test('one that wants a password, or lets a user do too little, is a clear error', async () => {
      const server = started(await RedisServer.start())
      const one = await opening(openClient, server)
      const store = storeOn(one)
      await one.command('acl', 'setuser', 'reader', 'on', '>secret', '~*', '+@read', '+@connection')
      await one.command('auth', 'reader', 'secret')
      const refused = { code: 'STORE_UNWRITABLE', retriable: false }
      await expect(store.begin('k', request)).rejects.toMatchObject(refused)
      await expect(store.begin('k', request)).rejects.toThrow('NOPERM')

      const locked = started(await RedisServer.start('--requirepass', 'secret'))
      const admitted = await opening(openClient, locked, 'secret')
      expect((await storeOn(admitted).begin('k', request)).outcome).toBe('acquired')
      const stranger = await openWithout(openClient, locked)
      const error: unknown = await storeOn(stranger)
        .begin('l', request)
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject(refused)
      expect((error as Error).message).toContain('NOAUTH')
    })
  },
)

/** A client without the password: one that begins with a greeting is refused there already, so it goes back to less. */
async function openWithout(openClient: OpenClient, server: RedisServer): Promise<OpenedClient> {
  if (openClient === openIoredis) return opening(openClient, server)
  const client = createClient({ RESP: 2, socket: { port: server.port, host: '127.0.0.1' }, disableClientInfo: true })
  client.on('error', () => {})
  await client.connect()
  const one = { client, command: (...words: string[]) => client.sendCommand(words), close: () => client.destroy() }
  opened.push(one)
  return one
}
