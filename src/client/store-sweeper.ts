import type { IdempotencyStore } from '../contracts/idempotency-store.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'

/** What one sweep removes at most. */
const slice = 200
/** How long to wait when there is more. */
const soonMs = 1_000
const laterMs = 60_000

/** Removes what has expired from a store, in small slices in the background. */
export class StoreSweeper {
  readonly #store: IdempotencyStore
  readonly #runtime: Runtime
  #timer: Timer | undefined
  #isClosed = false

  constructor(store: IdempotencyStore, runtime: Runtime) {
    this.#store = store
    this.#runtime = runtime
    this.#arm(laterMs)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #arm(delayMs: number): void {
    if (this.#isClosed) return
    // Apart from each other where several processes were started at once.
    const spreadMs = delayMs * (1 + this.#runtime.random('idempotency sweep') / 5)
    this.#timer = this.#runtime.timer(spreadMs, 'idempotency sweep', () => void this.#sweep(), { background: true })
  }

  async #sweep(): Promise<void> {
    try {
      const { more } = await this.#store.sweep(slice)
      this.#arm(more ? soonMs : laterMs)
    } catch {
      // Whoever needs the store hears of it.
      this.#arm(laterMs)
    }
  }
}
