import type { QueueOptions } from '../../client/queue-options.ts'
import { queueFields } from '../../client/resolve.ts'
import type { MessageQueue } from '../../client/message-queue.ts'
import { bytes, json, type Codec } from '../../codec.ts'
import type { EncodedRecord } from '../../contracts/broker.ts'
import type { EmbeddedTopic } from '../../embedded/embedded-topic.ts'
import type { SendResult } from '../../message.ts'
import { openOn, queueDefaults } from '../../open.ts'
import { resolveOptions } from '../../options.ts'
import { History, type HistoryEvent } from '../history.ts'
import { InvariantChecker, type Invariant } from '../invariants/invariant.ts'
import { TestError } from '../test-error.ts'
import { mulberry32, VirtualRuntime, type ReadyAction } from '../virtual-runtime.ts'
import { StoreNames } from './commit-content.ts'
import type { CrashableStorage } from './crashable-storage.ts'
import { Life, type LivingSimulation } from './life.ts'
import type { SimulatedMember } from './member.ts'
import type { ObservedLife, OpenSend } from './observed-life.ts'
import { Outside } from './outside.ts'
import type { Fault, FaultSource, Point } from './point.ts'
import { findSends, takeSnapshot } from './snapshot.ts'
import { joinLike, leaveGroup, memberAt } from './turnover.ts'

/** Opens the store of a simulation, empty. */
export type StorageOpener = (life: Life) => CrashableStorage | Promise<CrashableStorage>

export interface SimulationOptions {
  /** The application's own wiring; called in each life. */
  readonly wire: (mq: MessageQueue, life: Life) => unknown
  readonly openStorage: StorageOpener
  readonly start: number | undefined
  readonly seed: number
  readonly queue: QueueOptions | undefined
  readonly invariants: readonly Invariant[]
  /** Chooses among actions that could run now. @defaultValue the oldest */
  readonly choose: ((ready: readonly ReadyAction[]) => number) | undefined
  /** Whether handlers begin and end only when they are chosen. */
  readonly isGated: boolean
  /** Whether a crashed process starts again by itself. */
  readonly isRestarting: boolean
  /** Whether what is ready runs by itself between the verbs. */
  readonly autorun: boolean
  /** How long a handler may wait for something outside of the test, in real milliseconds. */
  readonly externalWaitMs: number
  /** Asked before each task: what it returns ends the verb under way. */
  readonly limit?: () => Error | undefined
}

/**
 * A whole application on a queue of its own, in virtual time, over as many lives of its process as faults cut it into.
 *
 * It is a loop around the production engine, not a model of it: everything goes through the engine's own seams.
 */
export class Simulation implements LivingSimulation {
  readonly runtime: VirtualRuntime
  readonly history: History
  readonly checker: InvariantChecker
  readonly names: StoreNames = new StoreNames()
  readonly codecs: Map<string, Codec<unknown>> = new Map()
  /** Asked at each point, in this order. */
  readonly sources: FaultSource[] = []
  readonly outside: Outside
  /** What the wiring returned in the present life. */
  wired: unknown
  life: Life
  /** What a wiring threw in a life that began by itself. */
  wiringFault: { readonly error: unknown } | undefined
  readonly #options: SimulationOptions
  readonly #numbers = new Map<string, number>()
  #survivors: CrashableStorage | Promise<CrashableStorage> | undefined
  /** Sends of lives that are over, whose outcome only the store knows. */
  #unknown: OpenSend[] = []
  readonly stored: Map<number, SendResult> = new Map()
  readonly #restartListeners = new Set<() => void>()
  /** Handlers that hang until the faults are lifted. */
  #hanging: (() => void)[] = []
  #isFull = false
  /** Faults that were set have ended; a new one begins anew. */
  isLifted = false
  #interleaving: (() => number) | undefined
  /** The wiring of a life is running. */
  isStarting = false

  constructor(options: SimulationOptions) {
    this.#options = options
    const { start, seed, autorun, limit } = options
    this.outside = new Outside(this, options.externalWaitMs)
    this.runtime = new VirtualRuntime({
      seed,
      autorun,
      outside: () => this.outside.look(),
      thrown: (error) => this.history.add('thrown', { error }),
      ...(start === undefined ? {} : { start }),
      limit,
      choose: (ready) => this.#choose(ready),
    })
    this.history = new History(() => this.runtime.monotonic())
    this.checker = new InvariantChecker(options.invariants)
    this.history.listen(this.checker.observe)
    this.life = new Life(this, 1)
  }

  /** Whether handlers begin and end only when they are chosen. */
  get isGated(): boolean {
    return this.#options.isGated || this.#interleaving !== undefined
  }

  /** From now on a seed chooses in which order handlers of different keys begin and end. */
  interleave(seed: number): void {
    this.#interleaving = mulberry32(seed)
  }

  /** Opens the queue and runs the wiring, in the first life. */
  async begin(): Promise<void> {
    this.life.storage = await this.#options.openStorage(this.life)
    await this.#open()
  }

  /** The next number of a kind, from 0. */
  number(what: string): number {
    const number = this.#numbers.get(what) ?? 0
    this.#numbers.set(what, number + 1)
    return number
  }

  nextNumber(what: string): number {
    return this.#numbers.get(what) ?? 0
  }

  /** How many messages were sent, in all lives. */
  get sends(): number {
    return this.nextNumber('send')
  }

  nameTopic({ name, partitionIds }: EmbeddedTopic): void {
    partitionIds.forEach((id, partition) => this.names.partitions.set(id, { topic: name, partition }))
  }

  codec(topic: string): Codec<unknown> {
    return this.codecs.get(topic) ?? json
  }

  /** The value of a record that is being sent, as a handler will see it. */
  decode(topic: string, { value, start, end }: EncodedRecord): unknown {
    const codec = this.codec(topic)
    const part =
      typeof value === 'string' ? value.slice(start, end) : Uint8Array.prototype.slice.call(value, start, end)
    try {
      // Messages are moved as bytes, whatever they are.
      if (codec.format === 'text' && typeof part !== 'string')
        return codec.decode(Buffer.from(part).toString() as never)
      return codec.contentType === bytes.contentType ? Buffer.from(part as Uint8Array) : codec.decode(part as never)
    } catch {
      // As a snapshot has it.
      return Buffer.from(part as never)
    }
  }

  // --- faults ---

  /** A point is passed: what should happen to the process happens, what should happen to the handler is returned. */
  pass(point: Point, observed: ObservedLife): readonly Fault[] {
    const life = observed as Life
    if (life.isOver) return none
    let own: Fault[] | undefined
    for (const source of this.sources) {
      for (const fault of source.strike(point)) {
        if (!this.#strike(fault, point, life)) (own ??= []).push(fault)
        if (life.isOver) return none
      }
    }
    return own ?? none
  }

  /** Ends the life at once: what is not in the store is lost, with the power also what is not flushed. */
  crash(power: boolean, at: string): void {
    const { life } = this
    if (life.isOver) return
    this.history.add('crash', { power, point: at })
    this.#unknown.push(...life.open.values())
    const next = new Life(this, life.number + 1)
    next.inherit(life)
    this.#survivors = life.storage.crash(power ? 'power' : 'process', next.runtime)
    life.end()
    this.#next = next
    if (this.#options.isRestarting) {
      this.runtime.act('restart', () => {
        this.restart().catch((error: unknown) => (this.wiringFault ??= { error }))
      })
    }
  }

  #next: Life | undefined

  get isCrashed(): boolean {
    return this.#next !== undefined
  }

  /** Begins the next life on what survived. */
  async restart(): Promise<void> {
    const next = this.#next!
    this.#next = undefined
    this.life = next
    this.history.life = next.number
    next.storage = await this.#survivors!
    this.#survivors = undefined
    await this.#open()
    for (const listener of [...this.#restartListeners]) listener()
  }

  /** Lets go of what a crash left and no life took up. */
  async discard(): Promise<void> {
    const survivors = await this.#survivors
    this.#survivors = undefined
    await survivors?.close()
  }

  onRestart(listener: () => void): () => void {
    this.#restartListeners.add(listener)
    return () => this.#restartListeners.delete(listener)
  }

  /** Resolves when the faults are lifted. */
  lifted(): Promise<void> {
    return new Promise((resolve) => this.#hanging.push(resolve))
  }

  /** Ends every fault that goes on: stuck handlers run, the store has room again, each group has a member. */
  async lift(): Promise<void> {
    this.isLifted = true
    this.#setFull(false)
    for (const go of this.#hanging.splice(0)) go()
    const { members } = this.life
    const groups = new Map<string, SimulatedMember>()
    for (const member of members) groups.set(member.group, member)
    for (const [group, member] of groups) {
      const own = members.filter((other) => other.group === group)
      // A group that the application left by itself stays as it is.
      if (own.some(({ isLeaving }) => isLeaving) && own.every(({ hasLeft, isLeaving }) => hasLeft || isLeaving))
        await joinLike(this.life, this.history, member)
    }
    for (const { dispatcher, hasLeft, isLeaving } of members)
      if (!hasLeft && !isLeaving) dispatcher?.retries.release(undefined)
  }

  /** What the store holds now; written into the history. */
  snapshot(reason: 'restart' | 'end'): void {
    const snapshot = takeSnapshot(reason, this.life, (topic) => this.codec(topic))
    for (const { group, topic, partition, position, finishedAbove } of snapshot.progress) {
      const ceiling = finishedAbove.length === 0 ? position : Infinity
      this.life.looked(group, topic, partition, { position, ceiling })
    }
    this.history.add('snapshot', snapshot)
  }

  async #open(): Promise<void> {
    const { life } = this
    const { wire, queue } = this.#options
    const given = queue === undefined ? {} : resolveOptions<QueueOptions>(queue, queueFields, 'queue')
    const options = { ...queueDefaults(), ...given, minFreeBytes: 1, bytesPerLook: 0 }
    this.isStarting = true
    try {
      if (this.#isFull) life.storage.faults.diskFreeBytes = 0
      life.mq = await this.#unlessCrashed(life, openOn(life.storage, life.runtime, options, life))
      if (life.number > 1) this.#restored()
      this.wired = await this.#unlessCrashed(life, Promise.resolve(wire(life.mq, life)))
      life.note('wired', {})
    } finally {
      this.isStarting = false
    }
  }

  /** Awaits a step of a life's beginning. Where nothing starts it again by itself, a crash in it has to be told. */
  #unlessCrashed<T>(life: Life, step: Promise<T>): Promise<T> {
    if (this.#options.isRestarting) return step
    return new Promise((resolve, reject) => {
      const forget = life.onEnd(() => {
        const { point } = this.history.of('crash').at(-1)!
        reject(
          new TestError(
            'CRASHED',
            `the process crashed (${point}) while the wiring ran: restart() begins the next one`,
          ),
        )
      })
      step.then(resolve, reject).finally(forget)
    })
  }

  /** After a crash: what survived, and which of the sends without an answer are in it. */
  #restored(): void {
    const { life, history } = this
    for (const topic of life.broker.topics()) this.nameTopic(topic as EmbeddedTopic)
    for (const topic of life.deleting) if (life.broker.topic(topic) === undefined) life.note('topic:deleted', { topic })
    this.snapshot('restart')
    life.forgetInherited()
    const { logs } = history.events.at(-1) as HistoryEvent<'snapshot'>
    for (const found of findSends(this.#unknown, logs, history)) {
      const { send, topic, partition, offset, key, acks } = found
      this.stored.set(send, { partition, offset, timestamp: this.runtime.now(), acks, duplicate: false })
      history.add('acked', { send, topic, partition, offset, key, acks })
    }
    this.#unknown = []
  }

  /** Does what concerns the whole process; false when the fault is the handler's. */
  #strike(fault: Fault, point: Point, life: Life): boolean {
    switch (fault.kind) {
      case 'crash':
        this.crash(fault.power, point.label)
        return true
      case 'join':
        joinLike(life, this.history, memberAt(point, life)).catch((error: unknown) =>
          this.history.add('thrown', { error }),
        )
        return true
      case 'leave':
        leaveGroup(life, this.history, memberAt(point, life))
        return true
      case 'full':
        this.setFullFor(fault.ms)
        return true
      case 'jump':
        this.runtime.jumpWallClock(fault.byMs)
        this.history.add('jumped', { byMs: fault.byMs })
        return true
      case 'error':
      case 'slow':
      case 'hang':
      case 'duplicate':
        this.history.add('fault', { name: fault.kind, text: `${textOf(fault)} at ${point.label}` })
        return false
    }
  }

  /** Sends find no room for so much virtual time. */
  setFullFor(ms: number): void {
    this.#setFull(true)
    this.runtime.timer(ms, 'store has room again', () => this.#setFull(false), { background: true })
    this.history.add('fault', { name: 'full', text: 'the store has no room' })
  }

  #choose(ready: readonly ReadyAction[]): number {
    const { choose } = this.#options
    if (choose !== undefined) return choose(ready)
    return this.#interleaving === undefined ? 0 : Math.floor(this.#interleaving() * ready.length)
  }

  #setFull(isFull: boolean): void {
    if (isFull === this.#isFull) return
    this.#isFull = isFull
    const { faults } = this.life.storage
    if (isFull) faults.diskFreeBytes = 0
    else delete faults.diskFreeBytes
  }
}

const none: readonly Fault[] = []

function textOf(fault: Fault): string {
  if (fault.kind === 'slow') return `slow by ${fault.ms} ms`
  return fault.kind === 'error' ? 'the handler fails' : fault.kind
}
