import type { SendResult } from '../message.ts'

/** Sends that are on disk, or reached the level that they asked for. */
export interface AckEvent {
  /** Number of the send: the one it was given, else counted from 1 in the order of the calls. */
  readonly sequence: number
  /** Whether every send up to and including this one is meant that nothing was told of yet, in the order of the calls. */
  readonly multiple: boolean
  /** Where the messages went: of all sends that are meant, in the order of the calls. */
  readonly results: readonly SendResult[]
}

/** Sends that failed. */
export interface NackEvent {
  /** As in {@link AckEvent}. */
  readonly sequence: number
  /** As in {@link AckEvent}; all of them failed with the same error. */
  readonly multiple: boolean
  readonly error: unknown
}

/** What is to be told of settled sends. */
export type Confirmation =
  { readonly kind: 'ack'; readonly event: AckEvent } | { readonly kind: 'nack'; readonly event: NackEvent }

/** A send between its call and the moment at which its outcome has been told. */
export interface OpenSend {
  readonly sequence: number
  /** Where it went; undefined as long as that is not known. */
  results: readonly SendResult[] | undefined
  /** Why it failed. */
  failure: { readonly error: unknown } | undefined
  isTold: boolean
}

/**
 * Sends in the order of their calls, and what is to be told of them: those at the front together, those behind one that is
 * still open each alone.
 */
export class Confirms {
  /** From `#first` on: those that are open, and those behind them that were told already. */
  #sends: OpenSend[] = []
  #first = 0
  /** How many were taken away from the front. */
  #removed = 0
  #settled: OpenSend[] = []
  /** How many are not settled. */
  open = 0

  /** How many sends were begun. */
  get begun(): number {
    return this.#removed + this.#sends.length - this.#first
  }

  /** Up to here, counted as in {@link Confirms.begun}, every send has been told of. */
  get told(): number {
    return this.#removed
  }

  /** The send that was begun last of those that are not settled; undefined when there is none. */
  get lastOpen(): OpenSend | undefined {
    for (let i = this.#sends.length - 1; i >= this.#first; i--) if (!isSettled(this.#sends[i]!)) return this.#sends[i]
    return undefined
  }

  begin(sequence: number): OpenSend {
    const send = { sequence, results: undefined, failure: undefined, isTold: false }
    this.#sends.push(send)
    this.open++
    return send
  }

  /** Returns whether it is the first one since {@link Confirms.take}. */
  settle(send: OpenSend, results: readonly SendResult[] | undefined, failure: OpenSend['failure']): boolean {
    send.results = results
    send.failure = failure
    this.open--
    return this.#settled.push(send) === 1
  }

  /** What was settled since the last call, in the order of the calls as far as nothing is open before it. */
  take(): Confirmation[] {
    const confirmations: Confirmation[] = []
    for (let run = this.#takeRun(); run.length > 0; run = this.#takeRun()) {
      const fresh = run.filter(({ isTold }) => !isTold)
      if (fresh.length > 0) confirmations.push(confirmationOf(fresh))
    }
    for (const send of this.#settled) if (!send.isTold) confirmations.push(confirmationOf([send]))
    this.#settled = []
    return confirmations
  }

  /** Takes those from the front that have one outcome in common. */
  #takeRun(): OpenSend[] {
    const run: OpenSend[] = []
    let outcome: OpenSend | undefined
    while (this.#first < this.#sends.length) {
      const send = this.#sends[this.#first]!
      if (!isSettled(send)) break
      if (!send.isTold) {
        if (outcome !== undefined && !isSame(outcome, send)) break
        outcome = send
      }
      run.push(send)
      this.#first++
    }
    this.#removed += run.length
    if (this.#first === this.#sends.length) this.#sends = []
    else if (this.#first > 1024) this.#sends = this.#sends.slice(this.#first)
    else return run
    this.#first = 0
    return run
  }
}

function isSettled({ results, failure }: OpenSend): boolean {
  return results !== undefined || failure !== undefined
}

function isSame(one: OpenSend, other: OpenSend): boolean {
  return one.failure?.error === other.failure?.error && (one.failure === undefined) === (other.failure === undefined)
}

function confirmationOf(sends: readonly OpenSend[]): Confirmation {
  for (const send of sends) send.isTold = true
  const { sequence, failure } = sends.at(-1)!
  const multiple = sends.length > 1
  if (failure) return { kind: 'nack', event: { sequence, multiple, error: failure.error } }
  return { kind: 'ack', event: { sequence, multiple, results: sends.flatMap(({ results }) => results!) } }
}
