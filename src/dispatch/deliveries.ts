import type { RecordBatch } from '../contracts/broker.ts'
import type { State } from '../contracts/state.ts'
import type { QueueError } from '../errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { Acknowledgement } from './acknowledgement.ts'
import type { CollectedEffects } from './collected-effects.ts'
import type { DeliveredEntry, LeftRunning } from './delivered-entry.ts'
import type { HandlerContext } from './handed-message.ts'
import { HandedMessage } from './handed-message.ts'
import type { Histogram } from './histogram.ts'
import type { KeyLanes, Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'
import type { TimeLimit } from './time-limit.ts'

/** Handles one message, or an array of them where batches are asked for. */
export type DispatchHandler = (input: never, context: HandlerContext) => unknown

/** Why a message that its handler is done with is not finished: the handler has to run again. */
export interface Refusal {
  readonly error: unknown
}

/** What handing out needs of the loop around it. */
export interface DeliveryHost {
  readonly runtime: Runtime
  readonly handler: DispatchHandler
  readonly lanes: KeyLanes
  readonly latency: Histogram
  /** Undefined where calls may take as long as they like. */
  readonly timeLimit: TimeLimit | undefined
  /** Whether keys order the messages, so that a lane's key is the message's. */
  readonly isByKey: boolean
  /** Whether messages are finished before they are handed out, so that a failure is never their next owner's. */
  readonly isAtMostOnce?: boolean
  /** Whether the membership is over, so that outcomes mean nothing any more. */
  readonly isOver: () => boolean
  /** Where handlers find their stores; undefined where the broker keeps no state. */
  readonly state: State | undefined
  /** The message is done. */
  readonly finish: (intake: PartitionIntake, offset: number) => void
  /** The messages are done together with effects; returns why not, if they can't be: then nothing has changed. */
  readonly accept: (entries: readonly DeliveredEntry[], effects: CollectedEffects) => Refusal | undefined
  /** The handler is done and wants the message in the dead letters, with its effects. The caller refreshes the lane. */
  readonly deadLetter: (lane: Lane, entry: DeliveredEntry, effects: CollectedEffects) => void
  /** The handler failed, or was not called (`isUnread`): decides what comes next. The caller refreshes the lane. */
  readonly fail: (lane: Lane, entry: DeliveredEntry, error: unknown, isUnread?: boolean) => void
  /** The outcome was given by hand: answers when it is durable, or why it never will be. */
  readonly acknowledge: (intake: PartitionIntake | undefined, acknowledgement: Acknowledgement) => void
  /** A failed message that was about to be handed out again waits once more, with its attempts counted. */
  readonly again: (lane: Lane, entry: DeliveredEntry) => void
  /** A handler call that took time has ended. */
  readonly ended: () => void
}

/** Chooses among messages that were gathered. */
export type GatheredMatch = (intake: PartitionIntake, key: string | undefined) => boolean

/** Hands messages to the handler and takes the outcome: one by one, or in arrays. */
export interface Deliveries {
  /** Handler calls that have not returned. */
  readonly running: number
  /** Messages that were taken out of their lanes and wait for a call. */
  readonly gathered: number
  /** Stands for the array being gathered; undefined where there is none. */
  readonly gathering: object | undefined
  /** Hands out a message. `lane` is undefined while nothing else of its key is known. */
  start(
    lane: Lane | undefined,
    intake: PartitionIntake,
    batch: RecordBatch,
    index: number,
    laneKey: string | undefined,
    attempt: number,
  ): void
  /** Calls the handler with what was gathered, if its time has come. */
  flush(): void
  /** Calls the handler with what was gathered, whether its time has come or not. */
  push(): void
  /** Puts what was gathered and not handed out back into its lanes, where `matches` says so of its partition and key. */
  release(matches: GatheredMatch): void
  /** As {@link Deliveries.release}, but forgets it: its partition has gone, or nothing is handed out any more. */
  drop(matches: GatheredMatch): void
  /** Aborts the signals of what runs, and says what that is. Nothing of it is late any more. */
  abort(reason: QueueError): LeftRunning[]
  /** Aborts the signals of the running calls that have a message of which `matches` says so; returns how many. */
  cancel(matches: (entry: DeliveredEntry) => boolean, reason: QueueError): number
}

/** Reads a message out of its batch. @throws `DECODING_FAILED`, `VALIDATION_FAILED` */
export function readMessage(
  intake: PartitionIntake,
  batch: RecordBatch,
  index: number,
  key: string | undefined,
  attempt: number,
): HandedMessage {
  const { consumed, assignment } = intake
  const value = batch.valueAt(index, consumed.codec)
  if (consumed.check) consumed.check(value)
  return new HandedMessage(assignment.topic.name, assignment.partition, batch, index, key, value, attempt)
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function'
}

/** A native promise is used as it is; a foreign thenable may throw, or call back twice. */
export function promised(value: PromiseLike<unknown>): Promise<unknown> {
  return value instanceof Promise ? value : Promise.resolve(value)
}
