import type { EncodedRecord, FinishedView } from '../../contracts/broker.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { EmbeddedTopic } from '../../embedded/embedded-topic.ts'
import type { SendResult } from '../../message.ts'
import type { EffectSource, HistoryEvents, HistoryKind } from '../history.ts'
import type { SimulatedMember } from './member.ts'
import type { Fault, Point } from './point.ts'
import type { RunningCall } from './running-call.ts'

/** A send whose outcome its caller does not know yet. */
export type OpenSend = HistoryEvents['send']

/** What those who watch a life need of the simulation around it. */
export interface ObservingSimulation {
  readonly isGated: boolean
  /** Whether the faults have ended. */
  readonly isLifted: boolean
  /** A point is passed; returns the faults that concern the handler. */
  pass(point: Point, life: ObservedLife): readonly Fault[]
  /** The next number of a kind, from 0. */
  number(what: string): number
  /** The number that {@link ObservingSimulation.number} gives next. */
  nextNumber(what: string): number
  nameTopic(topic: EmbeddedTopic): void
  decode(topic: string, record: EncodedRecord): unknown
  /** Resolves when the faults are lifted. */
  lifted(): Promise<void>
  readonly outside: {
    during<T>(wait: PromiseLike<T>): Promise<T>
    declared<T>(wait: PromiseLike<T>, later: (task: () => void) => void): Promise<T>
  }
}

/** One life of the process, as those see it who watch its broker and its handlers. */
export interface ObservedLife {
  readonly simulation: ObservingSimulation
  readonly isOver: boolean
  readonly running: Set<RunningCall>
  /** Calls of limited time, by the contexts that the engine made for them. */
  readonly limited: WeakMap<object, RunningCall>
  readonly members: readonly SimulatedMember[]
  /** Topics that are being deleted. */
  readonly deleting: Set<string>
  /** What takes effect in this very moment. */
  taking: EffectSource | undefined
  note<K extends HistoryKind>(kind: K, facts: HistoryEvents[K]): void
  sent(send: OpenSend): void
  acked(send: number, result: SendResult): void
  refused(send: number, error: unknown): void
  zombie<T>(text: string): Promise<T>
  /** A topic was made that the commit of its first message stores. */
  madeWithSend(topic: string, partitions: number): void
  takeJoining(dispatcher: Dispatcher): SimulatedMember
  /** A group is being moved: `done` when it was, `end` in any case. */
  beginSeek(group: string, where: { topic?: string; partition?: number } | undefined): { done(): void; end(): void }
  granting(group: string, topic: string, partition: number, finished: FinishedView): void
  later(label: string, task: () => void): void
  gate(label: string): Promise<void>
  sleep(ms: number): Promise<void>
}

/** A promise of a process that died. */
export function never<T>(): Promise<T> {
  return new Promise(() => {})
}
