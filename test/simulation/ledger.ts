import type { ExploreOptions } from '../../src/testing/index.ts'
import { order, wireShop, type Shop } from './shop.ts'

/** What an application keeps outside of the queue, with the mistake that a test should find. */
export class Ledger {
  readonly #isIdempotent: boolean
  readonly #seen = new Set<string>()
  total = 0

  constructor(isIdempotent: boolean) {
    this.#isIdempotent = isIdempotent
  }

  charge(id: string, amount: number): void {
    if (this.#isIdempotent && this.#seen.has(id)) return
    this.#seen.add(id)
    this.total += amount
  }

  reset(): void {
    this.#seen.clear()
    this.total = 0
  }
}

/** What each message of {@link ledgerOptions} is worth: different sums for different sets of messages. */
export const amounts: readonly number[] = [1, 2, 4, 8, 16]

/** Charges five orders; whether one is charged twice after a crash depends on the ledger. */
export function ledgerOptions(ledger: Ledger, more: Partial<ExploreOptions<Shop>> = {}): ExploreOptions<Shop> {
  return {
    wire: wireShop((message) => ledger.charge(`${message.partition}/${message.offset}`, message.value.total)),
    reset: () => ledger.reset(),
    scenario: async (t) => {
      await Promise.all(amounts.map((total, i) => t.send('orders', order(['a', 'd', 'b', 'a', 'f'][i]!, total))))
    },
    check: () => {
      const expected = amounts.reduce((sum, amount) => sum + amount, 0)
      if (ledger.total !== expected) throw new Error(`charged ${ledger.total} instead of ${expected}`)
    },
    report: () => {},
    ...more,
  }
}
