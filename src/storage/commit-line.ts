import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { QueueError } from '../errors.ts'
import { storeClosed, storeFailed } from './failure.ts'
import type { WriteList } from './write-list.ts'

interface PendingCommit {
  readonly writes: WriteList
  /** When the store got it, on the monotonic clock; `Infinity` before. */
  startedAt: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** What a {@link CommitLine} needs from its driver. */
export interface CommitLineOptions {
  readonly path: string
  readonly runtime: Runtime
  readonly timeoutMs: number
  /**
   * Hands a batch to the store; resolves to false when an earlier batch was not applied and so this one was not either.
   * Throws when the store must stop and has not been given the batch.
   */
  readonly write: (writes: WriteList) => Promise<boolean>
  /** Finds the true reason of a failed commit. */
  readonly explain: (error: unknown) => Promise<unknown>
}

/**
 * The commits under way, in order, and the rule that the first failed or overdue one stops the store for good.
 *
 * Invariants: commits settle in the order of the calls; after a failure nothing reaches the store again, because the
 * system reports a failed write once and a later one would look like a success.
 */
export class CommitLine {
  readonly #options: CommitLineOptions
  /** Calls that have not settled, oldest first. */
  readonly #pending = new Set<PendingCommit>()
  /** Calls that wait for {@link CommitLine.release}; `undefined` while the line moves. */
  #held: PendingCommit[] | undefined
  /** Batches handed to the store that it has not answered, even when their callers have been told of a failure. */
  #inStore = 0
  #stopped = false
  /** A batch that the store was given failed or is overdue. */
  #broken = false
  #closed = false
  #failure: QueueError | undefined
  #deadline: Timer | undefined
  #idleWaiters: (() => void)[] = []
  #failureListeners: ((error: Error) => void)[] = []

  constructor(options: CommitLineOptions) {
    this.#options = options
  }

  /** Why the store stopped. */
  get failure(): QueueError | undefined {
    return this.#failure
  }

  /**
   * Whether the native store may be used and closed. Not after a failure inside of it, nor while it has not answered: a
   * thread may still write.
   */
  get sound(): boolean {
    return this.#inStore === 0 && !this.#broken
  }

  commit(writes: WriteList): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#closed) return Promise.reject(storeClosed(this.#options.path))
    return new Promise((resolve, reject) => {
      const commit = { writes, startedAt: Infinity, resolve, reject }
      this.#pending.add(commit)
      // Between the failure and its explanation calls only wait for the error that all of them get.
      if (this.#stopped) return
      if (this.#held === undefined) this.#write(commit)
      else this.#held.push(commit)
    })
  }

  /** Holds later commits back and resolves when the store has answered the earlier ones. */
  hold(): Promise<void> {
    this.#held ??= []
    return this.idle()
  }

  /** Lets the line move again, in order. */
  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const commit of held) if (!this.#stopped) this.#write(commit)
  }

  /** Resolves when nothing is in the store, or when the store has stopped. */
  idle(): Promise<void> {
    if (this.#inStore === 0 || this.#failure !== undefined) return Promise.resolve()
    return new Promise((resolve) => this.#idleWaiters.push(resolve))
  }

  /** Stops the store for a reason that is not a commit. */
  fail(reason: unknown): void {
    this.#broken = true
    this.#finish(reason)
  }

  /** Refuses commits from now on. */
  close(): void {
    this.#closed = true
  }

  dispose(): void {
    this.#rest()
  }

  onFailure(listener: (error: Error) => void): void {
    if (this.#failure === undefined) this.#failureListeners.push(listener)
    else listener(this.#failure)
  }

  #write(commit: PendingCommit): void {
    this.#inStore++
    commit.startedAt = this.#options.runtime.monotonic()
    let answer: Promise<boolean>
    try {
      this.#options.runtime.point?.('commit:before')
      answer = this.#options.write(commit.writes)
    } catch (error) {
      this.#stopped = true
      this.#answered()
      // What is under way is sound and may settle first.
      void this.idle().then(() => this.#finish(error))
      return
    }
    answer.then(
      (applied) => {
        this.#answered()
        if (applied) this.#settle(commit)
        else this.#stop(new Error('an earlier commit was not applied'))
      },
      (error: unknown) => {
        this.#answered()
        this.#stop(error)
      },
    )
    this.#watch()
  }

  #settle(commit: PendingCommit): void {
    this.#options.runtime.point?.('commit:flushed')
    // Told already that its outcome is unknown.
    if (!this.#pending.delete(commit)) return
    if (this.#pending.size === 0) this.#rest()
    commit.resolve()
  }

  #answered(): void {
    if (--this.#inStore === 0) this.#wake()
  }

  #wake(): void {
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const wake of waiters) wake()
  }

  #rest(): void {
    this.#deadline?.cancel()
    this.#deadline = undefined
  }

  /**
   * One timer for all commits: it looks at the oldest one when it fires. It holds the process open while a commit is under
   * way, because lmdb may lose an answer, and a process that ends in silence would be the worst of all.
   */
  #watch(): void {
    const { runtime, timeoutMs } = this.#options
    if (this.#deadline !== undefined || timeoutMs === Infinity) return
    const startedAt = this.#oldestStart()
    if (startedAt === Infinity) return
    const waitMs = Math.max(0, startedAt + timeoutMs - runtime.monotonic())
    this.#deadline = runtime.timer(waitMs, 'commit deadline', () => this.#check())
  }

  #check(): void {
    const { runtime, timeoutMs } = this.#options
    this.#deadline = undefined
    const overdue = runtime.monotonic() - this.#oldestStart() >= timeoutMs
    if (overdue) this.#broken = true
    if (overdue && this.#stopped) this.#finish(new Error('a commit failed for an unknown reason'))
    else if (overdue) this.#finish(new Error(`a commit took longer than commitTimeoutMs (${timeoutMs} ms)`))
    else this.#watch()
  }

  /** Commits that wait behind {@link CommitLine.hold} have not started: they wait for our upkeep, not for the disk. */
  #oldestStart(): number {
    const [oldest] = this.#pending
    return oldest?.startedAt ?? Infinity
  }

  #stop(error: unknown): void {
    // Every failure is explained, also one that nobody asks about: its reason may be a promise that rejects.
    this.#broken = true
    const explained = this.#options.explain(error).catch(() => error)
    if (this.#stopped) return
    this.#stopped = true
    void explained.then((reason) => this.#finish(reason))
  }

  /** Tells everyone. Later answers of the store change nothing. */
  #finish(reason: unknown): void {
    if (this.#failure !== undefined) return
    this.#stopped = true
    this.#failure = storeFailed(this.#options.path, reason, this.#pending.size, this.#broken)
    for (const commit of this.#pending) commit.reject(this.#failure)
    this.#pending.clear()
    this.#rest()
    this.#held = undefined
    this.#wake()
    for (const listener of this.#failureListeners) listener(this.#failure)
    this.#failureListeners = []
  }
}
