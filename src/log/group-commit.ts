import type { CommitQueue, Contributor, Storage } from '../contracts/storage.ts'
import { QueueError } from '../errors.ts'
import type { Runtime } from '../runtime/runtime.ts'

/** At most this many commits are under way; what arrives meanwhile forms the next one. */
const maxInFlight = 2

/**
 * Turns everything that was decided in one turn into one commit of the store.
 *
 * Senders and settlements don't commit; they mark what changed and wait. So a thousand senders share one disk flush, and
 * an acknowledgement costs a share of a commit that happens anyway.
 */
export class GroupCommit implements CommitQueue {
  readonly #storage: Storage
  readonly #runtime: Runtime
  readonly #onFailure: (error: QueueError) => void
  /** Who has writes for the next commit. Invariant: no one twice. */
  #marked = new Set<Contributor>()
  /** Who waits for the next commit to be flushed, in the order of the calls. */
  #waiters: Waiter[] = []
  /** Bytes that the next commit will flush, as counted by the senders. */
  #bytes = 0
  #scheduled = false
  #inFlight = 0
  /** Bytes accepted and not flushed yet. */
  #inFlightBytes = 0
  #failure: QueueError | undefined
  #afterCommit: () => void = () => {}
  /** Resolvers of {@link GroupCommit.settled}, called when nothing is marked and nothing is under way. */
  #idleWaiters: (() => void)[] = []
  commits = 0

  constructor(storage: Storage, runtime: Runtime, onFailure: (error: QueueError) => void) {
    this.#storage = storage
    this.#runtime = runtime
    this.#onFailure = onFailure
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes
  }

  get failure(): QueueError | undefined {
    return this.#failure
  }

  /** Sets what runs after each commit, once its waiters are told. */
  set afterCommit(listener: () => void) {
    this.#afterCommit = listener
  }

  /** Asks for `contributor` to be part of the next commit. */
  mark(contributor: Contributor): void {
    this.#marked.add(contributor)
    this.#schedule()
  }

  /** Counts bytes of a send that the next commit flushes. */
  count(bytes: number): void {
    this.#bytes += bytes
    this.#inFlightBytes += bytes
  }

  /** Calls one of the functions when the next commit is over; `value` is what `resolve` gets. */
  wait<T>(resolve: (value: T) => void, reject: (error: Error) => void, value: T): void {
    if (this.#failure) return reject(this.#failure)
    this.#waiters.push({ resolve: resolve as (value: unknown) => void, reject, value })
    this.#schedule()
  }

  /** Settles when everything marked so far is flushed. */
  flush(): Promise<void> {
    if (this.#marked.size === 0 && this.#waiters.length === 0 && this.#inFlight === 0 && !this.#failure) {
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => this.wait(resolve, reject, undefined))
  }

  /** Resolves when nothing is marked and nothing is under way, or the store failed. */
  settled(): Promise<void> {
    if (this.#quiet) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.push(resolve))
  }

  get #quiet(): boolean {
    if (this.#failure) return true
    return this.#marked.size === 0 && this.#waiters.length === 0 && this.#inFlight === 0
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight === maxInFlight) return
    this.#scheduled = true
    this.#runtime.soon('commit', this.#commit)
  }

  readonly #commit = (): void => {
    this.#scheduled = false
    if (this.#failure || this.#inFlight === maxInFlight) return
    if (this.#marked.size === 0 && this.#waiters.length === 0) return
    const contributors = this.#marked
    const waiters = this.#waiters
    const bytes = this.#bytes
    this.#marked = new Set()
    this.#waiters = []
    this.#bytes = 0
    const writes = this.#storage.batch()
    try {
      for (const contributor of contributors) contributor.contribute(writes)
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error as Error)
      return this.fail(error)
    }
    this.#inFlight++
    this.commits++
    // An empty batch is committed too: its waiters are owed that everything before them is on disk.
    this.#storage.commit(writes).then(
      () => this.#flushed(contributors, waiters, bytes),
      (error: unknown) => {
        this.fail(error)
        for (const waiter of waiters) waiter.reject(this.#failure!)
      },
    )
  }

  #flushed(contributors: Set<Contributor>, waiters: Waiter[], bytes: number): void {
    this.#inFlight--
    this.#inFlightBytes -= bytes
    if (this.#failure) {
      for (const waiter of waiters) waiter.reject(this.#failure)
      return
    }
    for (const contributor of contributors) contributor.flushed?.()
    for (const waiter of waiters) waiter.resolve(waiter.value)
    this.#afterCommit()
    if (this.#marked.size > 0 || this.#waiters.length > 0) this.#schedule()
    else if (this.#quiet) this.#tellIdle()
  }

  /** Stops everything: no later commit is tried, all who wait are told that the outcome is unknown. Idempotent. */
  fail(error: unknown): void {
    if (this.#failure) return
    this.#failure =
      error instanceof QueueError
        ? error
        : new QueueError('INTERNAL', `the log could not prepare a commit: ${String(error)}`, { cause: error })
    this.#marked.clear()
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter.reject(this.#failure)
    this.#onFailure(this.#failure)
    this.#tellIdle()
  }

  #tellIdle(): void {
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const resolve of waiters) resolve()
  }
}

interface Waiter {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly value: unknown
}
