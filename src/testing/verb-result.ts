/** What a verb did, counted since the verb before it. */
export interface VerbResult {
  /**
   * - `empty`: nothing is left to do
   * - `waiting`: what is left waits for a time: a retry, a sleep
   * - `parked`: what is left is parked or paused, and goes on only when it is told to
   * - `external`: a handler waits for something outside of the test
   */
  readonly idle: 'empty' | 'waiting' | 'parked' | 'external'
  /** Messages that were handed out. */
  readonly attempts: number
  /** Those of them that had failed before. */
  readonly retried: number
  /** Messages that were given up. */
  readonly dead: number
  /** What handlers threw, in order. */
  readonly errors: readonly unknown[]
  /** Virtual time that passed, in milliseconds. */
  readonly elapsedMs: number
  /** Things that come back for ever, and that nobody waits for: see `clock.every`. */
  readonly recurring: number
  /** Handlers that have not ended, in words. */
  readonly running: readonly string[]
}

/** The next thing that waits for its time. */
export interface NextResult extends VerbResult {
  readonly kind: 'retry' | 'sleep'
  /** In words: `retry billing`. */
  readonly label: string
  /** When it was due, in virtual milliseconds since the test began. */
  readonly at: number
}
