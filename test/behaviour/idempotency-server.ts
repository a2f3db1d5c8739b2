import type { Message } from '../../src/index.ts'
import type { IdempotencyStore } from '../../src/contracts/idempotency-store.ts'
import { QueueError } from '../../src/errors.ts'
import { openMemoryIdempotencyStore, type MemoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'

/** A store on the clock of a test: like a server, it goes on while the process is dead, or is away while the process lives. */
export class Server {
  now: () => number = () => 0
  /** What every call rejects with while the server is away. */
  away: Error | undefined
  calls = 0
  readonly inner: MemoryIdempotencyStore = openMemoryIdempotencyStore({
    now: () => this.now(),
    monotonic: () => this.now(),
    timer: () => ({ cancel: () => {} }),
    soon: () => {},
    later: () => {},
    random: () => 0,
    warn: () => {},
  })
  readonly store: IdempotencyStore = new Proxy(this.inner, {
    get: (inner, name) => {
      const found: unknown = Reflect.get(inner, name, inner)
      if (typeof found !== 'function') return found
      return async (...given: unknown[]): Promise<unknown> => {
        this.calls++
        if (this.away) throw this.away
        return (found as (...given: unknown[]) => unknown).apply(inner, given)
      }
    },
  })

  goAway(): void {
    this.away = new QueueError('STORE_UNREACHABLE', 'the server is away')
  }
}

/** The message's text up to the colon. */
export const byText = ({ value }: Message<string>): string => value.split(':')[0]!
