import type {
  BeginOutcome,
  BeginRequest,
  ClaimOutcome,
  IdempotencyCapabilities,
  IdempotencyStore,
  MarkOptions,
  RememberedError,
  SweepOutcome,
} from '../../src/contracts/idempotency-store.ts'
import { QueueError } from '../../src/errors.ts'
import { openMemoryIdempotencyStore, type MemoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyUnderTest } from '../../src/testing/suites/idempotency-case.ts'
import type { IdempotencySubject } from '../../src/testing/suites/idempotency-suite.ts'
import { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'

/** The store in memory, in virtual time. */
export const memoryIdempotency: IdempotencySubject = {
  features: { results: true, exactTime: true, callerClock: true },
  open: async () => {
    const runtime = new VirtualRuntime()
    const store = openMemoryIdempotencyStore(runtime)
    return {
      store,
      leaseMs: 1_000,
      advance: (ms) => runtime.advance(ms),
      jumpCallerClock: (byMs) => runtime.jumpWallClock(byMs),
      dispose: () => store.close(),
    }
  },
}

/** What a transaction does when it commits. */
export type Work = (() => Promise<unknown>)[]

/**
 * One client of a store that lives on a server: closing it leaves the data, many may be open at once, and marks can be
 * part of a transaction there. It stands for what redis and sql stores will be, so that every case of the suite runs.
 */
export class ServedStore implements IdempotencyStore<Work> {
  readonly capabilities: IdempotencyCapabilities = { durable: true, results: true, transactional: true }
  readonly maxResultBytes: number
  readonly server: MemoryIdempotencyStore
  #isClosed = false

  constructor(server: MemoryIdempotencyStore) {
    this.server = server
    this.maxResultBytes = server.maxResultBytes
  }

  async begin(key: string, request: BeginRequest): Promise<BeginOutcome> {
    return this.#open.begin(key, request)
  }

  async renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome> {
    return this.#open.renew(key, fence, leaseMs)
  }

  async complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    { ttlMs, transaction }: MarkOptions<Work>,
  ): Promise<ClaimOutcome> {
    const server = this.#open
    return within(server, key, fence, transaction, () => server.complete(key, fence, result, { ttlMs }))
  }

  async fail(
    key: string,
    fence: number,
    error: RememberedError,
    { ttlMs, transaction }: MarkOptions<Work>,
  ): Promise<ClaimOutcome> {
    const server = this.#open
    return within(server, key, fence, transaction, () => server.fail(key, fence, error, { ttlMs }))
  }

  async release(key: string, fence: number): Promise<ClaimOutcome> {
    return this.#open.release(key, fence)
  }

  async sweep(limit: number): Promise<SweepOutcome> {
    return this.#open.sweep(limit)
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  get #open(): MemoryIdempotencyStore {
    if (this.#isClosed) throw new QueueError('CLOSED', 'the client is closed')
    return this.server
  }
}

/** At once without a transaction; else the claim is held until the commit, which does it. */
async function within(
  server: MemoryIdempotencyStore,
  key: string,
  fence: number,
  transaction: Work | undefined,
  work: () => Promise<ClaimOutcome>,
): Promise<ClaimOutcome> {
  if (transaction === undefined) return work()
  const held = await server.renew(key, fence, 60_000)
  if (held.outcome === 'accepted') transaction.push(work)
  return held
}

/** A client of a server; `change` may spoil each client. */
export function servedIdempotency(
  change: (store: ServedStore, runtime: VirtualRuntime) => IdempotencyStore<Work> = (store) => store,
): IdempotencySubject {
  const open = async (): Promise<IdempotencyUnderTest> => {
    const runtime = new VirtualRuntime()
    const server = openMemoryIdempotencyStore(runtime)
    const client = (): IdempotencyStore<unknown> =>
      change(new ServedStore(server), runtime) as unknown as IdempotencyStore<unknown>
    const store = client()
    return {
      store,
      leaseMs: 1_000,
      advance: (ms) => runtime.advance(ms),
      reopen: async () => {
        await store.close()
        return client()
      },
      another: async () => client(),
      transaction: async (body) => {
        const work: Work = []
        await body(work)
        for (const one of work) await one()
      },
      jumpCallerClock: (byMs) => runtime.jumpWallClock(byMs),
      dispose: () => server.close(),
    }
  }
  const features = {
    durable: true,
    results: true,
    transactional: true,
    shared: true,
    exactTime: true,
    callerClock: true,
  }
  return { features, open }
}
