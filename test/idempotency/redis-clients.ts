import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster } from 'redis'
import type { RedisClient } from '../../src/idempotency/index.ts'

/** A client that a test opened, as an application does. */
export interface OpenedClient {
  readonly client: RedisClient
  /** Sends any command past the store. */
  command(...words: string[]): Promise<unknown>
  close(): void
}

/** Reconnects quickly, and gives a call up when the server is away. */
export type OpenClient = (port: number, password?: string) => Promise<OpenedClient>

export async function openIoredis(port: number, password?: string): Promise<OpenedClient> {
  const client = new Redis({
    port,
    host: '127.0.0.1',
    ...(password !== undefined && { password }),
    retryStrategy: () => 50,
    maxRetriesPerRequest: 0,
  })
  client.on('error', () => {})
  return {
    client,
    command: (name = '', ...words) => client.call(name, ...words),
    close: () => client.disconnect(),
  }
}

export async function openNodeRedis(port: number, password?: string): Promise<OpenedClient> {
  const client = createClient({
    socket: { port, host: '127.0.0.1', reconnectStrategy: () => 50 },
    disableOfflineQueue: true,
    ...(password !== undefined && { password }),
  })
  client.on('error', () => {})
  await client.connect()
  return { client, command: (...words) => client.sendCommand(words), close: () => client.destroy() }
}

export async function openIoredisCluster(port: number): Promise<OpenedClient> {
  const client = new Cluster([{ port, host: '127.0.0.1' }])
  client.on('error', () => {})
  return {
    client,
    command: (name = '', ...words) => client.call(name, ...words),
    close: () => client.disconnect(),
  }
}

export async function openNodeRedisCluster(port: number): Promise<OpenedClient> {
  const client = createCluster({ rootNodes: [{ socket: { port, host: '127.0.0.1' } }] })
  client.on('error', () => {})
  await client.connect()
  return {
    client,
    command: (...words) => client.sendCommand(undefined, false, words),
    close: () => client.destroy(),
  }
}

/** Both packages, each on a single server. */
export const clients: Record<string, OpenClient> = { ioredis: openIoredis, 'node-redis': openNodeRedis }
