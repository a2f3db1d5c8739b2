import type {
  BeginOutcome,
  BeginRequest,
  ClaimOutcome,
  IdempotencyCapabilities,
  IdempotencyStore,
  MarkOptions,
  RememberedError,
  SweepOutcome,
} from '../contracts/idempotency-store.ts'
import { QueueError } from '../errors.ts'
import { custom, flagged, integer, invalid, required, resolveOptions } from '../options.ts'
import {
  checkBegin,
  checkFence,
  checkKey,
  checkLease,
  checkLimit,
  checkMark,
  checkResult,
  errorToRemember,
} from './claim-arguments.ts'
import { nameOfClient, runnerOf, type RedisClient, type RunScript } from './redis-client.ts'
import { redisFailure } from './redis-failure.ts'
import {
  beginScript,
  endedScript,
  forgetScript,
  markScript,
  releaseScript,
  renewScript,
  type RedisScript,
} from './redis-scripts.ts'

/** Which Redis an idempotency store uses, and how. */
export interface RedisIdempotencyOptions {
  /**
   * A client that the application connected and will close: of ioredis 6 or node-redis 6, for a single server, Sentinel or
   * a cluster. Reconnecting, and how long a call waits for a server that is away, are its settings.
   */
  readonly client: RedisClient
  /**
   * Begins the names of all keys in Redis; stores with different ones have nothing to do with each other. 1 to 100
   * characters without braces and control characters. @defaultValue `'lanemq'`
   */
  readonly prefix?: string
  /** Longest result, in bytes, from 0 to 16777216. @defaultValue `65_536` (64 KiB) */
  readonly maxResultBytes?: number
  /**
   * Whether the server keeps what it acknowledged when it restarts or fails over. Nobody can ask it that: it is what the
   * application knows of the server's settings, and it becomes the capability of the store. @defaultValue `false`
   */
  readonly durable?: boolean
}

const where = 'idempotency store on Redis'
const fields = {
  client: required(custom<RedisClient>('a client', () => true)),
  prefix: custom<string>('a text of 1 to 100 characters without braces and control characters', isPrefix, 'lanemq'),
  maxResultBytes: integer(0, 16_777_216, 65_536),
  durable: flagged(false),
}

/** Entries that one script forgets: Redis does nothing else meanwhile. */
const sweepSlice = 256

/**
 * Remembers in Redis what was done, for all processes that use the same server and prefix. Nothing is sent before the first
 * call on the store.
 *
 * @throws `INVALID_OPTION` for an unknown option, a wrong one, or a client that is neither of ioredis nor of node-redis
 */
export function openRedisIdempotencyStore(options: RedisIdempotencyOptions): RedisIdempotencyStore {
  const resolved = resolveOptions<Required<RedisIdempotencyOptions>>(options, fields, where)
  const run = runnerOf(resolved.client)
  if (run !== undefined) return new RedisIdempotencyStore(run, resolved)
  const allowed = 'a client of ioredis 6, or one of node-redis 6 (the package redis)'
  throw invalid(where, 'client', resolved.client, allowed, `is ${nameOfClient(resolved.client)}`)
}

/**
 * {@link IdempotencyStore} on a Redis server. Every call is one script there, so it is atomic, and time is the server's;
 * all keys lie in one slot of a cluster.
 *
 * A call that gets no answer rejects when the client gives it up, as the client's settings say, and may have taken effect.
 * The store recovers as soon as the client does.
 */
export class RedisIdempotencyStore implements IdempotencyStore {
  readonly capabilities: IdempotencyCapabilities
  readonly maxResultBytes: number
  readonly #runScript: RunScript
  readonly #prefix: string
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  /** @internal */
  constructor(run: RunScript, { prefix, maxResultBytes, durable }: Required<RedisIdempotencyOptions>) {
    this.#runScript = run
    this.#prefix = prefix
    this.maxResultBytes = maxResultBytes
    this.capabilities = Object.freeze({ durable, results: true, transactional: false })
  }

  async begin(key: string, request: BeginRequest): Promise<BeginOutcome> {
    this.#checkOpen()
    checkKey(key)
    const { owner, leaseMs, fingerprint = '' } = checkBegin(request)
    const keys = [this.#entry(key), this.#ends, `{${this.#prefix}}:fences`]
    return outcomeOf(await this.#run(beginScript, keys, [key, owner, String(leaseMs), fingerprint]))
  }

  async renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome> {
    this.#checkClaim(key, fence)
    checkLease(leaseMs)
    return this.#onClaim(renewScript, key, fence, String(leaseMs))
  }

  async complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    options: MarkOptions,
  ): Promise<ClaimOutcome> {
    this.#checkClaim(key, fence)
    checkMark(options, this.capabilities)
    checkResult(result, this.maxResultBytes, this.capabilities)
    const carried = result === undefined ? [] : ['result', Buffer.from(result)]
    return this.#onClaim(markScript, key, fence, 'done', ttlOf(options), ...carried)
  }

  async fail(key: string, fence: number, error: RememberedError, options: MarkOptions): Promise<ClaimOutcome> {
    this.#checkClaim(key, fence)
    checkMark(options, this.capabilities)
    const { name, message, code } = errorToRemember(error)
    const carried = ['name', name, 'message', message, ...(code === undefined ? [] : ['code', code])]
    return this.#onClaim(markScript, key, fence, 'failed', ttlOf(options), ...carried)
  }

  async release(key: string, fence: number): Promise<ClaimOutcome> {
    this.#checkClaim(key, fence)
    return this.#onClaim(releaseScript, key, fence)
  }

  /**
   * Removes at most `limit` marks and claims whose time is over. Where nobody sweeps, Redis lets go of a mark at its end and
   * of a claim a day after its lease.
   */
  async sweep(limit: number): Promise<SweepOutcome> {
    this.#checkOpen()
    checkLimit(limit)
    return this.#watched(this.#sweep(limit))
  }

  /** Waits for calls under way. The client stays open: it is the application's. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
  }

  async #sweep(limit: number): Promise<SweepOutcome> {
    for (let removed = 0; ;) {
      const slice = String(Math.min(limit - removed, sweepSlice))
      const names = (await this.#ask(endedScript, [this.#ends], [slice])) as Buffer[]
      if (names.length === 0) return { removed, more: false }
      const keys = names.map((name) => Buffer.concat([Buffer.from(this.#entry('')), name]))
      const [count, more] = (await this.#ask(forgetScript, [this.#ends, ...keys], names)) as [Buffer, Buffer]
      removed += Number(count)
      if (String(more) !== 'more') return { removed, more: false }
      if (removed >= limit) return { removed, more: true }
    }
  }

  get #ends(): string {
    return `{${this.#prefix}}:ends`
  }

  #entry(key: string): string {
    return `{${this.#prefix}}:key:${key}`
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new QueueError('CLOSED', 'the idempotency store is closed')
  }

  #checkClaim(key: string, fence: number): void {
    this.#checkOpen()
    checkKey(key)
    checkFence(fence)
  }

  async #onClaim(script: RedisScript, key: string, fence: number, ...more: (string | Buffer)[]): Promise<ClaimOutcome> {
    const [outcome] = await this.#run(script, [this.#entry(key), this.#ends], [key, String(fence), ...more])
    return { outcome: String(outcome) === 'accepted' ? 'accepted' : 'fenced' }
  }

  async #run(script: RedisScript, keys: string[], values: (string | Buffer)[]): Promise<Buffer[]> {
    return (await this.#watched(this.#ask(script, keys, values))) as Buffer[]
  }

  async #ask(script: RedisScript, keys: (string | Buffer)[], values: (string | Buffer)[]): Promise<unknown> {
    try {
      return await this.#runScript(script, keys, values)
    } catch (error) {
      throw redisFailure(error, this.#prefix)
    }
  }

  /** For {@link RedisIdempotencyStore.close}, which waits for it. */
  async #watched<T>(call: Promise<T>): Promise<T> {
    this.#underWay.add(call)
    try {
      return await call
    } finally {
      this.#underWay.delete(call)
    }
  }
}

function isPrefix(value: unknown): boolean {
  // Control characters are what it looks for; braces would end the hash tag.
  return typeof value === 'string' && /^[^{}\u0000-\u001f\u007f-\u009f]{1,100}$/.test(value) && value.isWellFormed()
}

/** In the script's words: nothing for ever. */
function ttlOf({ ttlMs }: MarkOptions): string {
  return ttlMs === Infinity ? '' : String(ttlMs)
}

/** Reads what the script of `begin` returned. */
function outcomeOf([outcome, ...rest]: Buffer[]): BeginOutcome {
  const [first = '', second = '', code] = rest.map(String)
  switch (String(outcome)) {
    case 'acquired':
      return { outcome: 'acquired', fence: Number(first) }
    case 'busy':
      return { outcome: 'busy', retryAfterMs: Number(first), owner: second }
    case 'mismatch':
      return { outcome: 'mismatch', fingerprint: first }
    case 'failed':
      return { outcome: 'failed', error: { name: first, message: second, ...(code !== undefined && { code }) } }
    case 'done':
      // A copy: clients return windows into a buffer that holds other answers too.
      return { outcome: 'done', result: rest[0] && new Uint8Array(rest[0]) }
    default:
      throw new QueueError('INTERNAL', `the script of begin returned ${String(outcome)}`)
  }
}
