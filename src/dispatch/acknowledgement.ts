import { QueueError } from '../errors.ts'
import { Deferral } from './deferral.ts'
import type { PartitionIntake } from './partition-intake.ts'

/**
 * What was said by hand of a message. It lies in the context of the handler call, which ends with it; the engine answers when
 * the outcome is durable, or why it never will be.
 */
export class Acknowledgement {
  /** Whether the message is finished; it failed otherwise. */
  readonly isDone: boolean
  /** The outcome is settled. */
  readonly settled: () => void
  readonly #refused: (error: unknown) => void

  constructor(isDone: boolean, settled: () => void, refused: (error: unknown) => void) {
    this.isDone = isDone
    this.settled = settled
    this.#refused = refused
  }

  /** It does not count: the message is not the acknowledger's any more. */
  refuse(why: string, cause?: unknown): void {
    this.#refused(new QueueError('FENCED', `the acknowledgement does not count: ${why}`, { cause }))
  }

  /** It does not count: what was to be done with it can't be, and the message is handed out again. */
  fail(error: unknown): void {
    if (error === undefined) this.refuse('the subscription has ended')
    else this.#refused(error instanceof Deferral ? error.cause : error)
  }
}

/** An acknowledgement whose outcome is on its way to the store. */
export interface PendingAcknowledgement {
  /** Undefined where the broker has accepted the outcome already. */
  readonly intake: PartitionIntake | undefined
  readonly acknowledgement: Acknowledgement
}
