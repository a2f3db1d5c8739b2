import { openOn, queueDefaults } from '../../src/open.ts'
import {
  partitionOf,
  type HandlerContext,
  type Message,
  type MessageQueue,
  type SubscribeOptions,
  type Subscription,
  type Topic,
} from '../../src/index.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { openMemoryStorage, type MemoryStorage } from '../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'
import { GroupModel, type MemberView, type Ordering, type Plan, type Sent } from './group-model.ts'

export interface GroupConfig {
  readonly ordering: Ordering
  readonly attempts: number
  readonly batch: { readonly max: number; readonly maxWaitMs: number } | undefined
  readonly maxBufferedMessages: number
}

interface Member extends MemberView {
  readonly group: number
  readonly subscription: Subscription
}

/** Notes what the engine's own tasks throw: in production that would end the process. */
class WatchedRuntime extends VirtualRuntime {
  readonly #thrown: (error: Error) => void

  constructor(thrown: (error: Error) => void, start: number | undefined, seed: number) {
    super({ seed, ...(start === undefined ? {} : { start }) })
    this.#thrown = thrown
  }

  override soon(label: string, task: () => void): void {
    super.soon(label, this.#watched(task))
  }

  override later(label: string, task: () => void): void {
    super.later(label, this.#watched(task))
  }

  #watched(task: () => void): () => void {
    return () => {
      try {
        task()
      } catch (error) {
        this.#thrown(error as Error)
      }
    }
  }
}

/** One store over several lives of its process, in virtual time, with everything that happened checked against a model. */
export class World {
  readonly partitions: number
  readonly groups: readonly GroupConfig[]
  readonly members: Member[] = []
  /** Violations seen by handlers; they are thrown by {@link World.check}, since a handler that throws is retried. */
  readonly violations: Error[] = []
  runtime: VirtualRuntime
  mq!: MessageQueue
  topic!: Topic<Plan>
  #storage: MemoryStorage
  readonly #logs: Sent[][]
  readonly #models: (GroupModel | undefined)[]
  #life = 0
  #messages = 0
  #joined = 0
  /** Calls that were not awaited. */
  #pending: Promise<unknown>[] = []

  constructor(partitions: number, groups: readonly GroupConfig[], seed: number) {
    this.partitions = partitions
    this.groups = groups
    this.runtime = this.#newRuntime(undefined, seed)
    this.#logs = Array.from({ length: partitions }, () => [])
    this.#models = groups.map(() => undefined)
    // The store outlives its process, so its turns go to whichever runtime is the present one.
    const current: Runtime = {
      now: () => this.runtime.now(),
      monotonic: () => this.runtime.monotonic(),
      timer: (...given) => this.runtime.timer(...given),
      soon: (...given) => this.runtime.soon(...given),
      later: (...given) => this.runtime.later(...given),
      random: (stream) => this.runtime.random(stream),
      warn: (text) => this.runtime.warn(text),
    }
    this.#storage = openMemoryStorage({ runtime: current, durable: true })
  }

  async open(): Promise<void> {
    this.mq = await this.runtime.resolve(openOn(this.#storage, this.runtime, queueDefaults()))
    this.topic = await this.runtime.resolve(this.mq.topic<Plan>('t', { partitions: this.partitions }))
  }

  send(
    key: string | undefined,
    partition: number,
    plans: readonly Omit<Plan, 'id'>[],
    acks: 'flushed' | 'buffered',
  ): void {
    const place = key === undefined ? partition % this.partitions : partitionOf(key, this.partitions)
    const log = this.#logs[place]!
    const first = log.length
    const sent = plans.map((plan) => ({ key, plan: { ...plan, id: this.#messages++ }, isFlushed: false }))
    log.push(...sent)
    const messages = sent.map(({ plan }) => ({ key, value: plan, ...(key === undefined ? { partition: place } : {}) }))
    const life = this.#life
    const call =
      messages.length === 1
        ? this.topic.send(messages[0]!, { acks }).then((result) => [result])
        : this.topic.sendBatch(messages, { acks })
    this.#later(
      call.then((results) => {
        if (life !== this.#life) return
        results.forEach((result, i) => {
          if (result.partition !== place || result.offset !== first + i || result.acks !== acks) {
            this.violations.push(new Error(`sent to ${place}/${first + i}, but told ${JSON.stringify(result)}`))
          }
          if (acks === 'flushed') sent[i]!.isFlushed = true
        })
      }),
    )
  }

  async join(group: number, concurrency: number, from: 'earliest' | 'latest'): Promise<void> {
    const config = this.groups[group]!
    const name = `g${group}`
    if (this.#models[group] === undefined) {
      await this.runtime.settle()
      const bases = this.topic.offsets().map(({ start, end }) => (from === 'earliest' ? start : end))
      this.#models[group] = new GroupModel(name, config.ordering, this.#logs, bases)
    }
    const view: MemberView = {
      name: `${name} member ${++this.#joined}`,
      concurrency,
      running: 0,
      isPaused: false,
      pausedKeys: new Set(),
      pausedPartitions: new Set(),
    }
    const { ordering, attempts, batch, maxBufferedMessages } = config
    const options = {
      from,
      ordering,
      attempts,
      concurrency,
      maxBufferedMessages,
      onGap: 'skip' as const,
      onExhausted: 'park-key' as const,
      backoff: { delayMs: 10, maxDelayMs: 50 },
      ...(batch ? { batch } : {}),
    }
    const subscription = await this.runtime.resolve(this.#subscribe(group, view, options))
    this.members.push(Object.assign(view, { group, subscription }))
  }

  /** Closes a member; true when it left nothing. */
  async leave(member: Member, timeoutMs: number): Promise<void> {
    this.members.splice(this.members.indexOf(member), 1)
    const model = this.#models[member.group]!
    const snapshot = model.snapshot()
    const { left } = await this.runtime.resolve(member.subscription.close({ timeoutMs }))
    if (left.length === 0 && this.membersOf(member.group).length === 0) model.settle(snapshot)
  }

  async idle(member: Member): Promise<void> {
    const model = this.#models[member.group]!
    // Others of its group settle for themselves.
    const alone = this.membersOf(member.group).length === 1
    const snapshot = model.snapshot()
    await this.runtime.resolve(member.subscription.idle())
    if (alone && !this.#closing.has(member.group)) model.settle(snapshot)
  }

  /** Moves a group in one partition or all, by the share of the log that lies before the new place. */
  async seek(group: number, share: number, partition: number | undefined): Promise<void> {
    const model = this.#models[group]
    if (model === undefined) return
    // A batch does not say which grant each of its messages belongs to, so there the group has to rest.
    if (this.groups[group]!.batch && this.membersOf(group).length > 0) return
    await this.runtime.settle()
    const offsets = this.topic.offsets().map(({ start, end }) => start + Math.floor((end - start) * share))
    const chosen = partition === undefined ? offsets.map((_, i) => i) : [partition % this.partitions]
    const fences = this.membersOf(group).flatMap(({ subscription }) => subscription.assignments())
    for (const one of chosen) {
      const known = fences.filter(({ partition }) => partition === one).map(({ fence }) => fence)
      model.seeks(one, offsets[one]!, Math.max(0, ...known))
    }
    const where = partition === undefined ? undefined : { partition: chosen[0]! }
    await this.runtime.resolve(this.mq.group(`g${group}`).seek({ offset: offsets }, where))
    for (const one of chosen) model.sought(one)
  }

  /** Removes the messages of a partition before a share of what it holds. */
  async trim(share: number, partition: number): Promise<void> {
    await this.runtime.settle()
    const place = partition % this.partitions
    const { start, end } = this.topic.offsets()[place]!
    const before = start + Math.floor((end - start) * share)
    for (const model of this.#models) model?.trimmed(place, before)
    await this.runtime.resolve(this.topic.trim(place, before))
  }

  /** The process dies and the next one opens what it left. */
  async crash(kind: 'process' | 'power'): Promise<void> {
    this.#life++
    this.#pending = []
    this.#closing.clear()
    this.members.length = 0
    this.#storage = this.#storage.crash(kind)
    this.runtime = this.#newRuntime(this.runtime.now(), this.#life)
    await this.open()
    const ends = this.topic.offsets().map(({ end }) => end)
    ends.forEach((end, partition) => {
      const log = this.#logs[partition]!
      const lost = log.splice(end)
      const place = lost.findIndex(({ isFlushed }) => isFlushed)
      if (place >= 0) throw new Error(`${partition}/${end + place} was acknowledged as flushed and is gone`)
    })
    await this.#readAll()
    this.#models.forEach((model, group) => {
      if (model === undefined) return
      const known = this.mq.groups().includes(`g${group}`)
      const positions = known ? this.mq.group(`g${group}`).positions() : []
      // A group whose creation was not on disk begins anew.
      if (positions.length === 0) this.#models[group] = undefined
      else
        model.crashed(
          ends,
          positions.toSorted((a, b) => a.partition - b.partition).map(({ position }) => position),
        )
    })
  }

  membersOf(group: number): Member[] {
    return this.members.filter((member) => member.group === group)
  }

  /** What holds at every moment. */
  check(): void {
    if (this.violations.length > 0) throw this.violations[0]!
    this.#models.forEach((model, group) => {
      if (model === undefined || !this.mq.groups().includes(`g${group}`)) return
      for (const { partition, position, finishedAbove } of this.mq.group(`g${group}`).positions()) {
        model.positionIs(partition, position, finishedAbove)
      }
    })
  }

  /** Lets everything come to its end: every group finishes every message, then the queue closes and leaves nothing. */
  async finish(): Promise<void> {
    for (const member of this.members) {
      member.isPaused = false
      member.subscription.resume()
      for (const key of member.pausedKeys) member.subscription.resume({ key })
      member.pausedKeys.clear()
      member.pausedPartitions.clear()
      for (let partition = 0; partition < this.partitions; partition++) member.subscription.resume({ partition })
    }
    for (let group = 0; group < this.groups.length; group++) {
      if (this.membersOf(group).length === 0) await this.join(group, 4, 'earliest')
    }
    await this.runtime.resolve(Promise.all(this.#pending))
    const isBehind = (): boolean => this.groups.some((_, group) => this.mq.group(`g${group}`).lag().count > 0)
    for (let round = 0; isBehind(); round++) {
      if (round > 200) throw new Error(`still behind: ${JSON.stringify(this.mq.stats().groups)}`)
      for (const { subscription } of this.members) subscription.release()
      await this.runtime.advance(50)
      for (const { subscription } of this.members) await this.runtime.resolve(subscription.drain({ timeoutMs: 1000 }))
      this.check()
    }
    await this.runtime.settle()
    this.check()
    for (const model of this.#models) model?.isComplete()
    const { left } = await this.runtime.resolve(this.mq.close())
    if (left.length > 0) throw new Error(`closing left ${JSON.stringify(left)}`)
    await this.runtime.settle()
    const timers = this.runtime.timers().map(({ label }) => label)
    if (timers.length > 0) throw new Error(`timers are left: ${timers.join(', ')}`)
  }

  /** Groups of which a closed member still runs something. */
  readonly #closing = new Set<number>()

  #newRuntime(start: number | undefined, seed: number): VirtualRuntime {
    const life = this.#life
    // What a dead process still does in its last microtasks concerns nobody.
    return new WatchedRuntime((error) => life === this.#life && this.violations.push(error), start, seed)
  }

  #subscribe(group: number, view: MemberView, options: SubscribeOptions): Promise<Subscription> {
    const name = `g${group}`
    const life = this.#life
    const handler = (messages: Message<Plan>[], context: HandlerContext): unknown =>
      life === this.#life ? this.#handle(group, view, messages, context) : new Promise(() => {})
    if (options.batch) return this.topic.subscribe(name, handler, { ...options, batch: options.batch })
    const { batch: _, ...single } = options
    return this.topic.subscribe(name, (message, context) => handler([message], context), single)
  }

  /** Does what the messages say, and tells the model. */
  #handle(group: number, view: MemberView, messages: Message<Plan>[], context: HandlerContext): unknown {
    const life = this.#life
    const model = this.#models[group]!
    const isBatch = this.groups[group]!.batch !== undefined
    try {
      model.started(view, messages, isBatch ? undefined : context.fence)
    } catch (error) {
      this.violations.push(error as Error)
    }
    const failing = messages.map(({ value }) => model.fails(value))
    const { kind, ms, id } = messages[0]!.value
    const asOutcomes = isBatch && id % 2 === 0
    const end = (): unknown => {
      if (life !== this.#life) return undefined
      if (!failing.includes(true)) {
        model.ended(
          view,
          messages,
          messages.map(() => true),
        )
        return undefined
      }
      if (!asOutcomes) {
        model.ended(
          view,
          messages,
          messages.map(() => false),
        )
        throw new Error('as planned')
      }
      model.ended(view, messages, finishedOf(messages, failing, model.ordering))
      return failing.map((fails) => (fails ? new Error('as planned') : undefined))
    }
    if (kind === 'sync') return end()
    if (kind === 'micro') return Promise.resolve().then(end)
    return new Promise<void>((resolve) => this.runtime.timer(ms, 'handler', resolve)).then(end)
  }

  /** Reads the whole log and compares it with what was sent. */
  async #readAll(): Promise<void> {
    const counts = this.topic.offsets().map(({ start }) => start)
    const reader = this.topic.read()
    for (;;) {
      const { value: message, done } = await this.runtime.resolve(reader.next())
      if (done) break
      const sent = this.#logs[message.partition]![message.offset]
      if (
        sent?.plan.id !== message.value.id ||
        sent.key !== message.key ||
        message.offset !== counts[message.partition]!++
      ) {
        throw new Error(
          `${message.partition}/${message.offset} holds message ${message.value.id}, not ${sent?.plan.id}`,
        )
      }
    }
    const ends = this.#logs.map(({ length }) => length)
    if (counts.join() !== ends.join()) throw new Error(`the log holds ${counts.join()} messages, not ${ends.join()}`)
  }

  #later(promise: Promise<unknown>): void {
    promise.catch((error: unknown) => this.violations.push(error as Error))
    this.#pending.push(promise)
  }
}

export const keys: readonly string[] = ['a', 'b', 'c', 'd', 'e']

/** Of a batch with failures: a failed message takes the later ones of its order back with it. */
function finishedOf(messages: readonly Message<Plan>[], failing: readonly boolean[], ordering: Ordering): boolean[] {
  const failed = new Set<unknown>()
  return messages.map(({ key, partition, offset }, i) => {
    const order =
      ordering === 'partition' ? partition : ordering === 'key' && key !== undefined ? key : `${partition}/${offset}`
    if (failing[i]) failed.add(order)
    return !failed.has(order)
  })
}
