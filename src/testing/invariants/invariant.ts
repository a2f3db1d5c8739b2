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
      const checks = invariant.begin()
      for (const kind of Object.keys(checks) as HistoryKind[]) {
        const check = checks[kind] as Check
        const list = this.#checks.get(kind) ?? []
        list.push({ name: invariant.name, check })
        this.#checks.set(kind, list)
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
