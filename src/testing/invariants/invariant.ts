import type { HistoryEvent, HistoryKind } from '../history.ts'

/** Looks at the events of the kinds it names; returns what is wrong, in one line, or nothing. */
export type EventChecks = {
  readonly [K in HistoryKind]?: (event: HistoryEvent<K>) => string | undefined | void
}

/** Something that must hold in every history. */
export interface Invariant {
  /** A short name, as in `key-order`. */
  readonly name: string
  /** What it says, in one sentence. */
  readonly about: string
  /** Begins to look at one history, from its first event. */
  begin(): EventChecks
}

/** An invariant that does not hold. */
export interface Violation {
  readonly invariant: string
  readonly text: string
  /** Number of the event at which it showed. */
  readonly seq: number
}

type Check = (event: HistoryEvent) => string | undefined | void

/** Checks invariants on every event of one history. */
export class InvariantChecker {
  readonly violations: Violation[] = []
  /** Only the checks that want a kind are called for it. */
  readonly #checks = new Map<HistoryKind, { readonly name: string; readonly check: Check }[]>()

  constructor(invariants: readonly Invariant[]) {
    for (const invariant of invariants) {
      for (const [kind, check] of Object.entries(invariant.begin())) {
        const list = this.#checks.get(kind as HistoryKind) ?? []
        list.push({ name: invariant.name, check: check as Check })
        this.#checks.set(kind as HistoryKind, list)
      }
    }
  }

  readonly observe = (event: HistoryEvent): void => {
    const checks = this.#checks.get(event.kind)
    if (checks === undefined) return
    for (const { name, check } of checks) {
      const text = check(event)
      if (text) this.violations.push({ invariant: name, text, seq: event.seq })
    }
  }
}
