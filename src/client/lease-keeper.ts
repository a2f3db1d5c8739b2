import type { IdempotencyStore } from '../contracts/idempotency-store.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'

/** A key that this process holds. */
export interface Claim {
  readonly key: string
  readonly fence: number
  /** Whether nobody is interested in it any more: then the lease ends by itself. */
  readonly isAbandoned: () => boolean
  /** Someone else has the key. */
  readonly lost: () => void
}

/** Renewals of one lease, spread over its length. */
const renewalsPerLease = 3

/**
 * Renews the leases of all claims that are held. One timer for all, since all leases have the same length: they become due in
 * the order in which they were begun.
 */
export class LeaseKeeper {
  readonly #store: IdempotencyStore
  readonly #leaseMs: number
  readonly #runtime: Runtime
  /** When each is to be renewed, the first one first. */
  readonly #dueAt = new Map<Claim, number>()
  /** Claims whose renewal has not been answered: there is no second one meanwhile. */
  readonly #asking = new Set<Claim>()
  #timer: Timer | undefined

  constructor(store: IdempotencyStore, leaseMs: number, runtime: Runtime) {
    this.#store = store
    this.#leaseMs = leaseMs
    this.#runtime = runtime
  }

  hold(claim: Claim): void {
    this.#dueAt.set(claim, this.#runtime.monotonic() + this.#leaseMs / renewalsPerLease)
    this.#arm()
  }

  drop(claim: Claim): void {
    this.#dueAt.delete(claim)
  }

  close(): void {
    this.#timer?.cancel()
    this.#dueAt.clear()
  }

  #arm(): void {
    const [first] = this.#dueAt.values()
    if (this.#timer !== undefined || first === undefined) return
    const delayMs = Math.max(0, first - this.#runtime.monotonic())
    this.#timer = this.#runtime.timer(delayMs, 'idempotency leases', () => this.#fire(), { background: true })
  }

  #fire(): void {
    this.#timer = undefined
    const now = this.#runtime.monotonic()
    const due: Claim[] = []
    for (const [claim, dueAt] of this.#dueAt) {
      if (dueAt > now) break
      due.push(claim)
    }
    for (const claim of due) {
      this.#dueAt.delete(claim)
      if (claim.isAbandoned()) continue
      this.#dueAt.set(claim, now + this.#leaseMs / renewalsPerLease)
      if (!this.#asking.has(claim)) void this.#renew(claim)
    }
    this.#arm()
  }

  async #renew(claim: Claim): Promise<void> {
    this.#asking.add(claim)
    try {
      const { outcome } = await this.#store.renew(claim.key, claim.fence, this.#leaseMs)
      // It may have ended while the answer was on its way.
      if (outcome === 'fenced' && this.#dueAt.delete(claim)) claim.lost()
    } catch {
      // The store is away: the next renewal may reach it, and a lease that ended is still ours until someone takes it.
    } finally {
      this.#asking.delete(claim)
    }
  }
}
