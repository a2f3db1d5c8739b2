import type { Codec } from '../../codec.ts'
import type { MessageQueue } from '../../client/message-queue.ts'
import type { QueueObserver } from '../../client/observer.ts'
import type { Broker, FinishedView } from '../../contracts/broker.ts'
import type { CarefulTurns } from '../../dispatch/careful-turns.ts'
import type { DispatchHandler } from '../../dispatch/deliveries.ts'
import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { ConsumedTopic } from '../../dispatch/partition-intake.ts'
import type { DispatcherSettings } from '../../dispatch/settings.ts'
import type { EventHub } from '../../events.ts'
import type { SendResult } from '../../message.ts'
import type { WriteList } from '../../storage/write-list.ts'
import type { EffectSource, History, HistoryEvents, HistoryKind } from '../history.ts'
import type { VirtualRuntime } from '../virtual-runtime.ts'
import { commitPoint, type StoreNames } from './commit-content.ts'
import { LifeRuntime } from './life-runtime.ts'
import type { SimulatedMember } from './member.ts'
import type { CrashableStorage } from './crashable-storage.ts'
import { observeBroker } from './observed-broker.ts'
import { observeHandler } from './observed-handler.ts'
import { observeLimits } from './observed-limits.ts'
import { never, type ObservedLife, type ObservingSimulation, type OpenSend } from './observed-life.ts'
import type { RunningCall } from './running-call.ts'

/** What a life needs of the simulation that it is part of. */
export interface LivingSimulation extends ObservingSimulation {
  readonly runtime: VirtualRuntime
  readonly history: History
  readonly names: StoreNames
  readonly codecs: Map<string, Codec<unknown>>
  /** Sends that are known to be in the store, with their places. */
  readonly stored: Map<number, SendResult>
}

/** One life of the process: from opening the queue until it is closed or crashes. */
export class Life implements QueueObserver, ObservedLife {
  readonly simulation: LivingSimulation
  readonly number: number
  readonly runtime: LifeRuntime
  storage!: CrashableStorage
  mq!: MessageQueue
  broker!: Broker
  events!: EventHub
  turns: CarefulTurns | undefined
  /** It crashed, or was disposed: nothing of it counts any more. */
  isOver = false
  readonly members: SimulatedMember[] = []
  readonly running: Set<RunningCall> = new Set()
  readonly limited: WeakMap<object, RunningCall> = new WeakMap()
  /** Sends that were called and not answered, by their numbers. */
  readonly open: Map<number, OpenSend> = new Map()
  /** Called when the life ends by a crash. */
  readonly #onEnd = new Set<() => void>()
  /** The member whose subscription is about to join. */
  #joining: SimulatedMember | undefined
  /** Moves of groups under way. */
  readonly #seeks = new Set<Seek>()
  /** What each partition was last granted with. */
  readonly #finished = new Map<string, FinishedView>()
  /** Topics whose creation has been told of before the queue tells it. */
  readonly #told = new Set<string>()
  /** Topics that are being deleted. */
  readonly deleting: Set<string> = new Set()
  taking: EffectSource | undefined

  constructor(simulation: LivingSimulation, number: number) {
    this.simulation = simulation
    this.number = number
    this.runtime = new LifeRuntime(simulation.runtime, (name, writes) => this.#commit(name, writes))
  }

  // --- what the queue tells ---

  opened(broker: Broker, events: EventHub, turns: CarefulTurns | undefined): void {
    this.broker = broker
    this.turns = turns
    this.events = events
    observeBroker(broker, this)
    events.on('topic:created', (facts) => {
      if (!this.#told.delete(facts.topic)) this.note('topic:created', facts)
    })
    events.on('topic:deleted', (facts) => this.note('topic:deleted', facts))
    events.on('topic:trimmed', (facts) => this.note('trimmed', facts))
    events.on('group:gap', (facts) => this.note('gap', facts))
    events.on('message:failed', (facts) => this.note('failed', facts))
    events.on('message:duplicate', (facts) => this.note('duplicate', facts))
    events.on('message:deferred', (facts) => this.note('deferred', facts))
    events.on('key:parked', (facts) => this.note('parked', facts))
    events.on('message:skipped', (facts) => this.note('skipped', facts))
    events.on('prepared:checked', (facts) => this.note('checked', facts))
    events.on('message:dead-lettered', (facts) => this.note('dead-lettered', facts))
    events.on('store:full', () => this.note('store:full', {}))
    events.on('store:available', () => this.note('store:available', {}))
    events.on('store:failed', (facts) => this.note('store:failed', facts))
  }

  topic(name: string, codec: Codec<unknown>): void {
    this.simulation.codecs.set(name, codec)
  }

  handler(
    settings: DispatcherSettings,
    consumed: readonly ConsumedTopic[],
    handler: DispatchHandler,
    remembering: SimulatedMember['remembering'],
  ): DispatchHandler {
    const { group } = settings
    const name = `${group}#${this.simulation.number(`member of ${group}`) + 1}`
    const member: SimulatedMember = {
      name,
      group,
      settings,
      consumed,
      handler,
      remembering,
      dispatcher: undefined,
      membership: undefined,
      hasLeft: false,
      isLeaving: false,
      fences: new Map(),
    }
    this.members.push(member)
    this.#joining = member
    return observeHandler(member, this)
  }

  /** The member whose subscription was made just before this call to join. */
  takeJoining(dispatcher: Dispatcher): SimulatedMember {
    const member = this.#joining!
    this.#joining = undefined
    member.dispatcher = dispatcher
    const { group, name } = member
    const lost = dispatcher.lost.bind(dispatcher)
    dispatcher.lost = (error) => {
      if (dispatcher.failure === undefined && !this.isOver) {
        member.hasLeft = true
        this.note('lost', { group, member: name, error })
      }
      lost(error)
    }
    const release = dispatcher.retries.release.bind(dispatcher.retries)
    dispatcher.retries.release = (key) => {
      if (dispatcher.retries.lanes[Symbol.iterator]().next().done !== true)
        this.note('renewed', { group, member: name, key })
      return release(key)
    }
    observeLimits(dispatcher, member, this)
    const resize = dispatcher.setConcurrency.bind(dispatcher)
    dispatcher.setConcurrency = (concurrency) => {
      this.note('resized', { group, member: name, concurrency })
      resize(concurrency)
    }
    return member
  }

  // --- what is written down ---

  note<K extends HistoryKind>(kind: K, facts: HistoryEvents[K]): void {
    if (!this.isOver) this.simulation.history.add(kind, facts)
  }

  sent(send: OpenSend): void {
    this.open.set(send.send, send)
    this.note('send', send)
  }

  acked(number: number, result: SendResult): void {
    const send = this.open.get(number)
    if (send === undefined || this.isOver) return
    this.open.delete(number)
    this.simulation.stored.set(number, result)
    const { partition, offset } = result
    const { topic, key, acks } = send
    this.note(result.duplicate ? 'repeated' : 'acked', { send: number, topic, partition, offset, key, acks })
  }

  refused(number: number, error: unknown): void {
    const send = this.open.get(number)
    if (send === undefined || this.isOver) return
    this.open.delete(number)
    const { topic, partition, key } = send
    this.note('refused', { send: number, topic, partition, key, error })
  }

  /** Something of this life acts although it is over. */
  zombie<T>(text: string): Promise<T> {
    this.simulation.history.add('zombie', { text })
    return never()
  }

  /** A group is being moved. */
  beginSeek(group: string, where: SeekTarget = {}): { done(): void; end(): void } {
    const seek: Seek = { group, where, told: new Set<string>() }
    this.#seeks.add(seek)
    const done = (): void => {
      if (this.isOver) return
      for (const { topic, partition, position } of this.broker.positions(group)) {
        if (!applies(seek, group, topic, partition)) continue
        this.note('sought', { group, topic, partition, position })
        // Nobody has it now: the next grant is no second move.
        this.#finished.delete(`${group}/${topic}/${partition}`)
      }
    }
    return { done, end: () => this.#seeks.delete(seek) }
  }

  /** Whether what the life before this one had begun took effect, only the store knows. */
  inherit(dead: Life): void {
    for (const { group, where } of dead.#seeks) this.#seeks.add({ group, where, told: new Set() })
    for (const name of dead.deleting) this.deleting.add(name)
  }

  /** What was inherited is known by now. */
  forgetInherited(): void {
    this.#seeks.clear()
    this.deleting.clear()
  }

  /** A partition is granted: the engine makes a new set of finished offsets when, and only when, it moves a group. */
  granting(group: string, topic: string, partition: number, finished: FinishedView): void {
    const place = `${group}/${topic}/${partition}`
    const before = this.#finished.get(place)
    this.#finished.set(place, finished)
    if (before === finished) return
    const isMoved = this.#tellSeeks(group, topic, partition, finished)
    if (isMoved || before !== undefined) this.note('sought', { group, topic, partition, position: finished.position })
  }

  /** A look at the store found a position: a move under way may have come so far, if nothing is finished above it. */
  looked(group: string, topic: string, partition: number, finished: Pick<FinishedView, 'position' | 'ceiling'>): void {
    if (!this.#tellSeeks(group, topic, partition, finished)) return
    this.simulation.history.add('sought', { group, topic, partition, position: finished.position })
  }

  /** Whether a move is under way there of which the history has not been told. */
  #tellSeeks(
    group: string,
    topic: string,
    partition: number,
    { position, ceiling }: Pick<FinishedView, 'position' | 'ceiling'>,
  ): boolean {
    if (ceiling > position) return false
    let isAny = false
    for (const seek of this.#seeks) {
      if (!applies(seek, group, topic, partition)) continue
      seek.told.add(`${topic}/${partition}`)
      isAny = true
    }
    return isAny
  }

  madeWithSend(topic: string, partitions: number): void {
    if (this.isOver) return
    this.#told.add(topic)
    this.note('topic:created', { topic, partitions })
  }

  // --- how it lives and ends ---

  later(label: string, task: () => void): void {
    this.runtime.later(label, task)
  }

  /** Resolves when an explored schedule chooses it. */
  gate(label: string): Promise<void> {
    return new Promise((resolve) => this.runtime.later(label, resolve))
  }

  /** Resolves after so much virtual time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.runtime.timer(ms, 'sleep', resolve))
  }

  onEnd(listener: () => void): () => void {
    this.#onEnd.add(listener)
    return () => this.#onEnd.delete(listener)
  }

  /** Nothing of this life happens any more. */
  end(): void {
    this.isOver = true
    this.runtime.end()
    this.events.clear()
    for (const listener of [...this.#onEnd]) listener()
    this.#onEnd.clear()
  }

  #commit(name: string, writes: readonly WriteList[]): void {
    const stage = name.slice('commit:'.length) as 'before' | 'applied' | 'flushed'
    this.simulation.pass(commitPoint(stage, writes, this.simulation.names), this)
  }
}

interface SeekTarget {
  readonly topic?: string
  readonly partition?: number
}

/** A move of a group, and the partitions of which the history has been told. */
interface Seek {
  readonly group: string
  readonly where: SeekTarget
  readonly told: Set<string>
}

function applies({ group, where, told }: Seek, other: string, topic: string, partition: number): boolean {
  if (group !== other || told.has(`${topic}/${partition}`)) return false
  if (where.topic !== undefined && where.topic !== topic) return false
  return where.partition === undefined || where.partition === partition
}
