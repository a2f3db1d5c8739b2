import { isQueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { waitForStore } from './idempotency-policy.ts'

/**
 * The times in which an idempotency store does not do its part. Nothing is handed out then, since nothing could be done: it
 * would only fill the memory with messages that wait. After each wait a few are handed out to see whether it is back.
 */
export class StoreOutage {
  /** Stops and starts handing out. */
  hold: (isHeld: boolean) => void = () => {}
  readonly #group: string
  readonly #runtime: Runtime
  readonly #events: EventHub
  /** When it began, on the monotonic clock; undefined while all is well. */
  #since: number | undefined
  #timer: Timer | undefined
  #isClosed = false
  #isWarned = false

  constructor(group: string, runtime: Runtime, events: EventHub) {
    this.#group = group
    this.#runtime = runtime
    this.#events = events
  }

  /** The store did not do its part: nothing is handed out for a while. */
  failed(error: unknown): void {
    const waitMs = this.#noted(error)
    if (this.#timer !== undefined || this.#isClosed) return
    this.hold(true)
    this.#timer = this.#runtime.timer(waitMs, 'idempotency store', () => this.#release())
  }

  /** The store did its part. */
  answered(): void {
    if (this.#since === undefined) return
    this.#since = undefined
    this.#release()
    this.#events.emit('idempotency:available', { group: this.#group })
  }

  /** Waits before the same call is made again. Ends at once when the signal is aborted. */
  wait(error: unknown, signal: AbortSignal): Promise<void> {
    const waitMs = this.#noted(error)
    return new Promise((resolve) => {
      const over = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', over)
        resolve()
      }
      const timer = this.#runtime.timer(waitMs, 'idempotency store', over)
      signal.addEventListener('abort', over)
    })
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #noted(error: unknown): number {
    const now = this.#runtime.monotonic()
    if (this.#since === undefined) {
      this.#since = now
      this.#warn(error)
      this.#events.emit('idempotency:unavailable', { group: this.#group, error })
    }
    return waitForStore(now - this.#since, this.#runtime.random('jitter'))
  }

  /** What does not pass by itself has to be seen, also by who listens to no events. */
  #warn(error: unknown): void {
    if (this.#isWarned || (isQueueError(error) && error.retriable)) return
    this.#isWarned = true
    this.#runtime.warn(`The idempotency store of group ${this.#group} fails, and its messages wait: ${String(error)}`)
  }

  #release(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.hold(false)
  }
}
