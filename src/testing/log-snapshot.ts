import type { RedriveFacts } from '../dead-letter-facts.ts'

/** Which message of which group a dead letter was. */
export interface DeadLetterOrigin {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** What a log holds at a moment. */
export interface LogSnapshot {
  readonly topic: string
  readonly partition: number
  /** First offset that can be read. */
  readonly start: number
  readonly end: number
  /** From `start` to `end`. */
  readonly records: readonly {
    readonly offset: number
    readonly key: string | undefined
    readonly value: unknown
    /** Of a dead letter: where it comes from. */
    readonly from?: DeadLetterOrigin | undefined
    /** Of a message that was sent back from the dead letters: to whom, and how often by then. */
    readonly redrive?: RedriveFacts | undefined
  }[]
}
