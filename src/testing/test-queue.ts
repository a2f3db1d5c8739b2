import type { MessageQueue } from '../client/message-queue.ts'
import type { SendOptions } from '../client/options.ts'
import type { OutgoingMessage, SendResult } from '../message.ts'
import { Assertions } from './assertions.ts'
import type { Clock } from './clock.ts'
import { DeliveryLimit } from './delivery-limit.ts'
import { Drainer, type DrainOptions } from './drainer.ts'
import { durationMs, type Duration } from './duration.ts'
import { FaultDesk, HandlerFaults } from './fault-desk.ts'
import type { History } from './history.ts'
import { Inspection, type GroupView, type TopicView } from './inspect.ts'
import { mermaid } from './mermaid.ts'
import { Patience } from './patience.ts'
import { instantOf, isoText } from './real-loop.ts'
import type { Simulation } from './simulation/simulation.ts'
import { TestError } from './test-error.ts'
import { timeline, timelineJson, type TimelineOptions } from './timeline.ts'
import type { NextResult, VerbResult } from './verb-result.ts'

/** Timers that stand for messages or for code of the test, by the first word of their label. */
const messageTimers = ['retry', 'sleep'] as const

/** An application on a queue of its own, in virtual time. Made by {@link openTest}. */
export class TestQueue<W = unknown> {
  /** What the test says about its outcome; each throws an `AssertionError` with a difference that runners print. */
  readonly assert: Assertions
  /** What goes wrong on purpose. */
  readonly faults: FaultDesk
  readonly #simulation: Simulation
  readonly #inspection: Inspection
  readonly #clock: Clock
  readonly #patience: Patience
  readonly #drainer: Drainer
  readonly #limit: DeliveryLimit
  readonly #dispose: () => Promise<void>
  readonly #isPatient: boolean
  /** The verb under way, and its end. */
  #verb: string | undefined
  /** @internal */
  underWay: Promise<unknown> | undefined
  /** Number of the first event that no verb has counted, and its time. */
  #counted = { seq: 0, at: 0 }
  /** Violations that a verb has thrown already. */
  #told = 0
  #disposing: Promise<void> | undefined

  /** @internal */
  constructor(simulation: Simulation, clock: Clock, isPatient: boolean, dispose: () => Promise<void>) {
    this.#simulation = simulation
    this.#clock = clock
    this.#dispose = dispose
    this.#isPatient = isPatient
    this.#inspection = new Inspection(simulation.history, () => simulation.runtime.monotonic())
    this.faults = new FaultDesk(simulation)
    this.assert = new Assertions({
      inspection: this.#inspection,
      // A story of the explorer has a timeline of its own.
      timeline: () => (isPatient ? '' : this.timeline()),
      now: () => simulation.runtime.monotonic(),
    })
    this.#patience = new Patience(simulation, isPatient)
    this.#limit = new DeliveryLimit(simulation)
    this.#drainer = new Drainer(simulation, this.#inspection, this.#limit)
  }

  /** The queue of the present life. @throws `CRASHED` between a crash and {@link TestQueue.restart} */
  get mq(): MessageQueue {
    this.#assertAlive()
    return this.#simulation.life.mq
  }

  /** What the wiring returned in the present life. */
  get wired(): W {
    return this.#simulation.wired as W
  }

  /** Everything that happened, as typed events. */
  get history(): History {
    return this.#simulation.history
  }

  /**
   * Time for the body of the test. It moves only by {@link TestQueue.advance}, {@link TestQueue.next} and
   * {@link TestQueue.drain}; a sleep that nobody advances rejects with `WOULD_HANG`.
   */
  get clock(): Clock {
    return this.#clock
  }

  /** Handlers that waited for something outside of the test without saying so (see `context.external`): such a run can't be repeated exactly. */
  get impure(): readonly string[] {
    return [...this.#simulation.outside.undeclared]
  }

  // --- what comes in ---

  /**
   * Sends a message as a client outside of the process would. Resolves when it is acknowledged.
   *
   * @throws `CRASHED` when the process dies before it answers, else as `send` of a topic
   */
  async send<V = unknown>(topic: string, message: OutgoingMessage<V>, options?: SendOptions): Promise<SendResult> {
    // A patient client outlives the process.
    if (!this.#isPatient) this.#assertAlive()
    return this.#patience.send(topic, message as OutgoingMessage<unknown>, options)
  }

  // --- the four verbs ---

  /** Runs everything that can run now, with all that follows from it; time stands still. */
  settle(): Promise<VerbResult> {
    return this.#asVerb('settle', () => this.#simulation.runtime.settle())
  }

  /** Lets so much time pass: every timer due in it fires at its time, in order, those set meanwhile too. */
  async advance(duration: Duration): Promise<VerbResult> {
    const ms = durationMs(duration, 'duration')
    return this.#asVerb('advance', () => this.#simulation.runtime.advance(ms))
  }

  /** As {@link TestQueue.advance}, until the wall clock shows `time` (a date, an ISO text or milliseconds since 1970). */
  async advanceTo(time: Date | string | number): Promise<VerbResult> {
    const { runtime } = this.#simulation
    const until = instantOf(time)
    const ms = until - runtime.now()
    if (!(ms >= 0)) {
      const now = isoText(runtime.now())
      throw new TestError('INVALID_OPTION', `advanceTo: time is ${String(time)}; allowed is a time from ${now} on`)
    }
    return this.#asVerb('advanceTo', () => runtime.advance(ms))
  }

  /** Lets time pass until the next retry or sleep is due, and says what it was; undefined when nothing waits for a time. */
  async next(): Promise<NextResult | undefined> {
    const { runtime } = this.#simulation
    let found: { label: string; at: number } | undefined
    const result = await this.#asVerb('next', async () => {
      await runtime.settle()
      // What has to happen before it (a settlement that gathers, a batch that waits) happens on the way.
      const timer = runtime.nextTimer(({ label }) => messageTimers.some((kind) => label.startsWith(kind)))
      if (timer === undefined) return
      found = { label: timer.label, at: timer.dueAt }
      await runtime.advance(timer.dueAt - runtime.monotonic())
    })
    if (found === undefined) return undefined
    const kind = messageTimers.find((name) => found!.label.startsWith(name))!
    return { ...result, ...found, kind }
  }

  /**
   * Lets time pass until no finite work is left: nothing is ready, runs, or waits for a retry or a sleep. What comes back for
   * ever is not waited for.
   *
   * @throws `UNEXPECTED_FAILURES` when messages were given up that `allowDead` does not cover, `ENDLESS` beyond its limits,
   * with the cycle that repeats, `WOULD_HANG` when a handler never ends
   */
  drain(options: DrainOptions = {}): Promise<VerbResult> {
    return this.#asVerb('drain', () => this.#drainer.drain(options))
  }

  /** What was given up until now is no failure of a later drain: faults were on. @internal */
  forgive(): void {
    this.#drainer.forgive()
  }

  /** Awaits a promise of the queue, letting time pass as needed: `await t.resolve(subscription.drain())`. */
  async resolve<T>(promise: Promise<T>): Promise<T> {
    let value: T | undefined
    this.#assertAlive()
    await this.#alone('resolve', async () => {
      value = await this.#simulation.runtime.resolve(promise, 'resolve: the promise')
    })
    return value as T
  }

  // --- lives ---

  /** Ends the process here and now. */
  crash(kind: 'process' | 'power' = 'process'): void {
    this.#assertAlive()
    this.#simulation.crash(kind === 'power', 'here')
  }

  /**
   * Begins the next life on what survived, and runs the wiring again. It may crash again while it does.
   *
   * @throws `CRASHED` when the process is alive
   */
  async restart(): Promise<void> {
    if (this.#disposing) this.#assertAlive()
    if (!this.#simulation.isCrashed) throw new TestError('CRASHED', 'restart: the process is alive; crash it first')
    await this.#alone('restart', async () => {
      try {
        await this.#simulation.runtime.resolve(this.#simulation.restart(), 'restart: the wiring')
      } catch (error) {
        // A process that dies again while it starts is dead again: `assert.crashed()` tells, the next restart goes on.
        if (!(error instanceof TestError && error.code === 'CRASHED')) throw error
      }
    })
  }

  // --- what happened ---

  /** What was sent to a topic. */
  topic<V = unknown>(name: string): TopicView<V> {
    return this.#inspection.topic<V>(name)
  }

  /** What a group was handed, and how far it is. */
  group(name: string): GroupView {
    return this.#inspection.group(name)
  }

  /** Messages that wait for their time. */
  pending(): ReturnType<Inspection['pending']> {
    return this.#inspection.pending()
  }

  /** Messages that were given up. */
  dead(): ReturnType<Inspection['dead']> {
    return this.#inspection.dead()
  }

  /** Lets the handlers of a group fail, or those of one of its topics: `t.handler('billing').failTimes(2)`. */
  handler(group: string, topic?: string): HandlerFaults {
    return new HandlerFaults(this.faults, group, topic)
  }

  /** What happened, as a text that is the same in every run: for snapshots. */
  timeline(options?: TimelineOptions): string {
    return timeline(this.#simulation.history, options)
  }

  /** The history as JSON lines. */
  timelineJson(): string {
    return timelineJson(this.#simulation.history)
  }

  /** The history as a sequence diagram in Mermaid's language. */
  mermaid(): string {
    return mermaid(this.#simulation.history)
  }

  // --- the end ---

  /**
   * Closes the queue and checks every invariant once more. Idempotent.
   *
   * @throws `INVARIANT`; `LEFT_RUNNING` when handlers had not ended (the queue is closed all the same)
   */
  dispose(): Promise<void> {
    return (this.#disposing ??= this.#end())
  }

  /** As {@link TestQueue.dispose}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #end(): Promise<void> {
    // A verb is finite by its limits: it ends first.
    await this.underWay?.catch(() => {})
    let running: readonly string[]
    try {
      running = await this.#closeQueue()
    } finally {
      // Whatever fails on the way: nothing of the process goes on, and nothing stays on the disk.
      if (!this.#simulation.life.isOver) this.#simulation.life.end()
      await this.#dispose()
    }
    this.#checkInvariants()
    if (running.length === 0) return
    const what = running.join(', ')
    throw new TestError('LEFT_RUNNING', `disposed while handlers were running: ${what}; settle or drain before the end`)
  }

  /** Closes the queue as far as there is one; returns the handlers that were running, in words. */
  async #closeQueue(): Promise<readonly string[]> {
    const { life, outside, runtime, isCrashed } = this.#simulation
    if (isCrashed) await this.#simulation.discard()
    if (isCrashed || this.#limit.isBroken) return []
    await runtime.settle()
    const running = outside.waiting()
    this.#simulation.snapshot('end')
    // Closing commits too, and is not part of the test: no fault strikes there.
    this.#simulation.sources.length = 0
    await runtime.resolve(life.mq.close({ timeoutMs: 0 }))
    return running
  }

  /** Runs a verb and tells what it did. A verb on a dead process is no error: time passes, nothing happens. */
  async #asVerb(name: string, verb: () => Promise<void>): Promise<VerbResult> {
    await this.#alone(name, verb)
    return this.#result()
  }

  /** One verb at a time. */
  async #alone(name: string, verb: () => Promise<void>): Promise<void> {
    if (this.#disposing) throw new TestError('DISPOSED', `${name}: the test queue was disposed`)
    if (this.#verb !== undefined) {
      throw new TestError('VERB_RUNNING', `${name}: ${this.#verb} has not ended; await it first`)
    }
    this.#verb = name
    this.#limit.begin(name)
    try {
      await (this.underWay = verb())
    } finally {
      this.#verb = undefined
      this.underWay = undefined
    }
    this.#checkInvariants()
  }

  #result(): VerbResult {
    const { runtime, history, outside } = this.#simulation
    const { attempts, retried, dead, errors } = this.#inspection.counts(this.#counted.seq)
    const now = runtime.monotonic()
    const elapsedMs = now - this.#counted.at
    this.#counted = { seq: history.events.length, at: now }
    const recurring = runtime.timers().filter(({ label }) => label.startsWith('every ')).length
    const running = outside.waiting()
    return { idle: this.#drainer.idle(), attempts, retried, dead, errors, elapsedMs, recurring, running }
  }

  #checkInvariants(): void {
    const { violations } = this.#simulation.checker
    const fresh = violations.slice(this.#told)
    this.#told = violations.length
    const { wiringFault } = this.#simulation
    if (wiringFault) {
      this.#simulation.wiringFault = undefined
      throw wiringFault.error
    }
    if (fresh.length === 0) return
    const lines = fresh.map(({ invariant, text }) => `${invariant}: ${text}`)
    throw new TestError('INVARIANT', `${lines.join('\n')}\n\n${this.timeline({ last: 20 })}`)
  }

  #assertAlive(): void {
    if (this.#disposing) throw new TestError('DISPOSED', 'the test queue was disposed')
    if (!this.#simulation.isCrashed) return
    const { point } = this.#simulation.history.of('crash').at(-1)!
    throw new TestError('CRASHED', `the process crashed (${point}): restart() begins the next one`)
  }
}
