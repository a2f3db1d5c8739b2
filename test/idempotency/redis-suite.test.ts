import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { openRedisIdempotencyStore, type IdempotencyStore } from '../../src/idempotency/index.ts'
import { idempotencySuite } from '../../src/testing/index.ts'
import {
  clients,
  openIoredisCluster,
  openNodeRedisCluster,
  type OpenClient,
  type OpenedClient,
} from './redis-clients.ts'
import { noRedis, RedisServer, titleOf } from './redis-server.ts'

const realNow = Date.now

/** Long enough for some calls in a row on a busy machine, short enough to wait for. */
const leaseMs = 400

let stores = 0

/** Registers the whole suite for one way to reach a server. */
function suiteOn(name: string, openClient: OpenClient, start: () => Promise<RedisServer>): void {
  describe.skipIf(noRedis !== undefined)(titleOf(`idempotency store: Redis by ${name}`), () => {
    let server: RedisServer
    beforeAll(async () => {
      server = await start()
    })
    afterAll(() => server?.dispose())
    afterEach(() => vi.restoreAllMocks())

    const cases = idempotencySuite({
      features: { durable: true, results: true, shared: true, callerClock: true },
      open: async () => {
        const opened: OpenedClient[] = []
        const prefix = `suite ${++stores}`
        const another = async (): Promise<IdempotencyStore<unknown>> => {
          const one = await openClient(server.port)
          opened.push(one)
          const store: IdempotencyStore = openRedisIdempotencyStore({ client: one.client, prefix, durable: true })
          return store as IdempotencyStore<unknown>
        }
        const store = await another()
        let skewMs = 0
        return {
          store,
          leaseMs,
          advance: (ms) => sleep(ms + 5),
          another,
          reopen: async () => {
            await store.close()
            return another()
          },
          jumpCallerClock: (byMs) => {
            skewMs += byMs
            vi.spyOn(Date, 'now').mockImplementation(() => realNow() + skewMs)
          },
          dispose: async () => {
            for (const one of opened) one.close()
          },
        }
      },
    })
    // The cases wait for leases most of the time, and have no key in common.
    for (const { name, run, skipped, requires } of cases) {
      const one = requires === 'callerClock' ? test : test.concurrent
      ;(skipped ? test.skip : one)(name, () => run())
    }
  })
}

for (const [name, openClient] of Object.entries(clients)) suiteOn(name, openClient, () => RedisServer.start())

/** A cluster of one node: it has every slot, and refuses a call whose keys lie in more than one of them. */
async function startCluster(): Promise<RedisServer> {
  const server = await RedisServer.start('--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1')
  const { command, close } = await clients['ioredis']!(server.port)
  await command('cluster', 'addslotsrange', '0', '16383')
  await vi.waitUntil(async () => String(await command('cluster', 'info')).includes('cluster_state:ok'), 20_000)
  close()
  return server
}

suiteOn('a cluster of ioredis', openIoredisCluster, startCluster)
suiteOn('a cluster of node-redis', openNodeRedisCluster, startCluster)

test.skipIf(noRedis !== undefined)(titleOf('the cluster of the tests refuses keys of two slots'), async () => {
  const server = await startCluster()
  const { command, close } = await clients['ioredis']!(server.port)
  await expect(command('mget', 'a', 'b')).rejects.toThrow('CROSSSLOT')
  close()
  await server.dispose()
})
