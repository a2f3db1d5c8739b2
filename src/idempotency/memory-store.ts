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
import { integer, resolveOptions } from '../options.ts'
import type { Runtime } from '../runtime/runtime.ts'
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
import { ExpiryQueue } from './expiry-queue.ts'

/** Limits of an idempotency store in memory. */
export interface MemoryIdempotencyOptions {
  /** Claims and marks that are kept at once, from 1. @defaultValue `100_000` */
  readonly maxEntries?: number
  /** Bytes that they may take together, about, from 1024. @defaultValue `67_108_864` (64 MiB) */
  readonly maxBytes?: number
  /** Longest result, in bytes, from 0 to 16777216. @defaultValue `65_536` (64 KiB) */
  readonly maxResultBytes?: number
}

/** Figures of an idempotency store in memory. */
export interface MemoryIdempotencyStats {
  /** Claims that have not ended, lapsed ones too. */
  readonly claims: number
  /** Keys marked as done or failed. */
  readonly marks: number
  /** Bytes that all of them take, about. */
  readonly bytes: number
  /** Marks that were let go of before their time, since the store was full. */
  readonly evicted: number
}

interface Entry {
  readonly key: string
  readonly fence: number
  readonly owner: string
  readonly fingerprint: string | undefined
  /** On the monotonic clock. */
  endsAt: number
  /** `undefined` while the claim goes on. */
  mark: Mark | undefined
  bytes: number
}

type Mark =
  | { readonly outcome: 'done'; readonly result: Uint8Array | undefined }
  | { readonly outcome: 'failed'; readonly error: RememberedError }

/** What an entry takes beside its texts and bytes, about. */
const entryBytes = 256

const accepted: ClaimOutcome = Object.freeze({ outcome: 'accepted' })
const fenced: ClaimOutcome = Object.freeze({ outcome: 'fenced' })

/** An idempotency store that forgets everything with its process. */
export function openMemoryIdempotencyStore(
  runtime: Runtime,
  options?: MemoryIdempotencyOptions,
): MemoryIdempotencyStore {
  return new MemoryIdempotencyStore(runtime, options)
}

/**
 * {@link IdempotencyStore} in memory, bounded. When it is full, what has expired goes first, then the marks that were made
 * first: from then on a repeat of those is worked on again, which is counted, and said once as a warning of the process. A
 * claim whose lease runs never goes; when there is nothing else, `begin` rejects with `STORE_FULL`.
 */
export class MemoryIdempotencyStore implements IdempotencyStore {
  readonly capabilities: IdempotencyCapabilities = Object.freeze({
    durable: false,
    results: true,
    transactional: false,
  })
  readonly maxResultBytes: number
  readonly #runtime: Runtime
  readonly #maxEntries: number
  readonly #maxBytes: number
  readonly #entries = new Map<string, Entry>()
  /** Entries with a mark, in the order they were marked. */
  readonly #marked = new Set<Entry>()
  readonly #expiry = new ExpiryQueue<Entry>()
  #bytes = 0
  #lastFence = 0
  #evicted = 0
  #isClosed = false

  /** @internal Use {@link openMemoryIdempotencyStore}. */
  constructor(runtime: Runtime, options?: MemoryIdempotencyOptions) {
    const { maxEntries, maxBytes, maxResultBytes } = resolveOptions<Required<MemoryIdempotencyOptions>>(
      options,
      {
        maxEntries: integer(1, 2 ** 24, 100_000),
        maxBytes: integer(1_024, Number.MAX_SAFE_INTEGER, 64 << 20),
        maxResultBytes: integer(0, 16 << 20, 64 << 10),
      },
      'idempotency store in memory',
    )
    this.#runtime = runtime
    this.#maxEntries = maxEntries
    this.#maxBytes = maxBytes
    this.maxResultBytes = maxResultBytes
  }

  async begin(key: string, request: BeginRequest): Promise<BeginOutcome> {
    this.#checkOpen()
    checkKey(key)
    const { owner, leaseMs, fingerprint } = checkBegin(request)
    const now = this.#runtime.monotonic()
    const found = this.#entries.get(key)
    if (found !== undefined && now < found.endsAt) return answerFor(found, fingerprint, now)
    if (found !== undefined) this.#forget(found)
    const bytes = entryBytes + 2 * (key.length + owner.length + (fingerprint?.length ?? 0))
    this.#makeRoom(bytes, now)
    const entry: Entry = { key, fence: ++this.#lastFence, owner, fingerprint, endsAt: 0, mark: undefined, bytes }
    this.#entries.set(key, entry)
    this.#bytes += bytes
    this.#setEnd(entry, now + leaseMs)
    return { outcome: 'acquired', fence: entry.fence }
  }

  async renew(key: string, fence: number, leaseMs: number): Promise<ClaimOutcome> {
    const entry = this.#find(key, fence)
    checkLease(leaseMs)
    if (entry === undefined || entry.mark !== undefined) return fenced
    this.#setEnd(entry, this.#runtime.monotonic() + leaseMs)
    return accepted
  }

  async complete(
    key: string,
    fence: number,
    result: Uint8Array | undefined,
    options: MarkOptions,
  ): Promise<ClaimOutcome> {
    const entry = this.#find(key, fence)
    checkMark(options, this.capabilities)
    checkResult(result, this.maxResultBytes, this.capabilities)
    if (entry === undefined) return fenced
    if (entry.mark !== undefined) return this.#repeated(entry, 'done')
    this.#mark(entry, { outcome: 'done', result: copyOf(result) }, result?.byteLength ?? 0, options)
    return accepted
  }

  async fail(key: string, fence: number, error: RememberedError, options: MarkOptions): Promise<ClaimOutcome> {
    const entry = this.#find(key, fence)
    checkMark(options, this.capabilities)
    const kept = errorToRemember(error)
    if (entry === undefined) return fenced
    if (entry.mark !== undefined) return this.#repeated(entry, 'failed')
    const chars = kept.name.length + kept.message.length + (kept.code?.length ?? 0)
    this.#mark(entry, { outcome: 'failed', error: kept }, 2 * chars, options)
    return accepted
  }

  async release(key: string, fence: number): Promise<ClaimOutcome> {
    const entry = this.#find(key, fence)
    if (entry === undefined || entry.mark !== undefined) return fenced
    this.#forget(entry)
    return accepted
  }

  async sweep(limit: number): Promise<SweepOutcome> {
    this.#checkOpen()
    checkLimit(limit)
    const now = this.#runtime.monotonic()
    let removed = 0
    while (removed < limit && this.#forgetEnded(now)) removed++
    return { removed, more: this.#expiry.firstEnded(now) !== undefined }
  }

  /** Figures of now. */
  stats(): MemoryIdempotencyStats {
    const marks = this.#marked.size
    return { claims: this.#entries.size - marks, marks, bytes: this.#bytes, evicted: this.#evicted }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const entry of [...this.#entries.values()]) this.#forget(entry)
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new QueueError('CLOSED', 'the idempotency store is closed')
  }

  /** The entry that the fence stands for, claim or mark. */
  #find(key: string, fence: number): Entry | undefined {
    this.#checkOpen()
    checkKey(key)
    checkFence(fence)
    const entry = this.#entries.get(key)
    return entry?.fence === fence ? entry : undefined
  }

  /** The answer to an end of a claim that has one already: its caller may not have heard of it. */
  #repeated({ mark, endsAt }: Entry, outcome: Mark['outcome']): ClaimOutcome {
    return mark?.outcome === outcome && this.#runtime.monotonic() < endsAt ? accepted : fenced
  }

  #mark(entry: Entry, mark: Mark, bytes: number, { ttlMs }: MarkOptions): void {
    entry.mark = mark
    entry.bytes += bytes
    this.#bytes += bytes
    this.#marked.add(entry)
    const now = this.#runtime.monotonic()
    this.#setEnd(entry, now + ttlMs)
    // Work that is over is always marked; other marks make room for it.
    while (this.#bytes > this.#maxBytes) if (!this.#forgetEnded(now) && !this.#evict(entry)) break
  }

  #makeRoom(bytes: number, now: number): void {
    while (this.#entries.size >= this.#maxEntries || this.#bytes + bytes > this.#maxBytes) {
      if (this.#forgetEnded(now) || this.#evict()) continue
      const { claims } = this.stats()
      const message = `the idempotency store holds ${claims} running claims and has no room for another: raise maxEntries or maxBytes, or run fewer at once`
      throw new QueueError('STORE_FULL', message, { count: claims })
    }
  }

  /** Lets go of the oldest mark but `spared`. */
  #evict(spared?: Entry): boolean {
    const [oldest] = this.#marked
    if (oldest === undefined || oldest === spared) return false
    this.#forget(oldest)
    if (this.#evicted++ > 0) return true
    this.#runtime.warn(
      'The idempotency store in memory is full and forgets its oldest marks before their time: repeats of those run again. Raise maxEntries or maxBytes, or lower ttlMs.',
    )
    return true
  }

  #forgetEnded(now: number): boolean {
    const ended = this.#expiry.firstEnded(now)
    if (ended !== undefined) this.#forget(ended)
    return ended !== undefined
  }

  #setEnd(entry: Entry, endsAt: number): void {
    entry.endsAt = endsAt
    this.#expiry.set(entry)
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.key)
    this.#marked.delete(entry)
    this.#expiry.delete(entry)
    this.#bytes -= entry.bytes
  }
}

/** What someone is told who asks for a key that is not free. */
function answerFor({ mark, owner, fingerprint, endsAt }: Entry, asked: string | undefined, now: number): BeginOutcome {
  if (fingerprint !== undefined && asked !== undefined && asked !== fingerprint) {
    return { outcome: 'mismatch', fingerprint }
  }
  if (mark === undefined) return { outcome: 'busy', retryAfterMs: Math.max(1, Math.ceil(endsAt - now)), owner }
  if (mark.outcome === 'done') return { outcome: 'done', result: copyOf(mark.result) }
  return { outcome: 'failed', error: { ...mark.error } }
}

/** A copy of its own; the `slice` of a Buffer would be a view of the caller's memory. */
function copyOf(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : new Uint8Array(bytes)
}
