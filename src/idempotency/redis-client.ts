import { isObject } from '../options.ts'
import type { RedisScript } from './redis-scripts.ts'

/** What the store uses of an ioredis client, `Redis` or `Cluster`. */
export interface IoredisClient {
  /** Sends a command; what it answers comes as bytes. */
  callBuffer(command: string, words: (string | Buffer | number)[]): Promise<unknown>
  /** Told apart by it from a pipeline; never called. */
  disconnect(): void
}

/** What the store uses of a node-redis client: of `createClient`, `createClientPool`, `createCluster` or `createSentinel`. */
export interface NodeRedisClient {
  /** The same client, with answers as bytes. */
  withTypeMapping(mapping: { 36: BufferConstructor }): {
    /** Runs a script that the server knows. */
    evalSha(sha1: string, options: NodeRedisEvalOptions): Promise<unknown>
    /** Runs a script, which the server knows from then on. */
    eval(script: string, options: NodeRedisEvalOptions): Promise<unknown>
  }
}

/** Keys and arguments of a script, as node-redis takes them. */
export interface NodeRedisEvalOptions {
  keys: (string | Buffer)[]
  arguments: (string | Buffer)[]
}

/** A connected client of the user's: of ioredis 6 or of node-redis 6 (the package `redis`). */
export type RedisClient = IoredisClient | NodeRedisClient

type Values = (string | Buffer)[]

/** Runs a script on the server. */
export type RunScript = (script: RedisScript, keys: Values, values: Values) => Promise<unknown>

/** RESP's type of what holds bytes, `RESP_TYPES.BLOB_STRING` of node-redis. */
const bytesAsBuffers = { 36: Buffer } as const

/** How to run a script by a client; `undefined` for what is none. */
export function runnerOf(client: unknown): RunScript | undefined {
  if (isIoredis(client)) {
    return withFallback(
      // In lower case, or ioredis would not find the keys, which it has to prefix or to look up a slot for.
      (sha1, keys, values) => client.callBuffer('evalsha', [sha1, keys.length, ...keys, ...values]),
      (text, keys, values) => client.callBuffer('eval', [text, keys.length, ...keys, ...values]),
    )
  }
  if (!isNodeRedis(client)) return undefined
  const inBytes = client.withTypeMapping(bytesAsBuffers)
  return withFallback(
    (sha1, keys, values) => inBytes.evalSha(sha1, { keys, arguments: values }),
    (text, keys, values) => inBytes.eval(text, { keys, arguments: values }),
  )
}

/** What was given in place of a client, in a few words. */
export function nameOfClient(client: unknown): string {
  if (!isObject(client)) return client === null ? 'null' : `of the type ${typeof client}`
  const { constructor } = client
  const name = typeof constructor === 'function' ? constructor.name : ''
  const fields = Object.keys(client).slice(0, 5).join(', ') || 'no fields'
  return name === '' || name === 'Object' ? `an object with ${fields}` : `a ${name}`
}

/** By name first: a server knows a script from its first run until its scripts are flushed or it restarts. */
function withFallback(
  byName: (sha1: string, keys: Values, values: Values) => Promise<unknown>,
  byText: (text: string, keys: Values, values: Values) => Promise<unknown>,
): RunScript {
  return async ({ sha1, text }, keys, values) => {
    try {
      return await byName(sha1, keys, values)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    }
    return byText(text, keys, values)
  }
}

/** A pipeline of ioredis has the call too, but it answers with itself; it can't disconnect. */
function isIoredis(client: unknown): client is IoredisClient {
  return hasMethods(client, 'callBuffer', 'disconnect')
}

function isNodeRedis(client: unknown): client is NodeRedisClient {
  return hasMethods(client, 'withTypeMapping', 'evalSha', 'eval')
}

function hasMethods(client: unknown, ...names: string[]): boolean {
  return isObject(client) && names.every((name) => typeof client[name] === 'function')
}
