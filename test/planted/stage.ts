import type { MessageQueue, Subscription, SubscribeOptions, Topic, TopicOptions } from '../../src/index.ts'
import type { MemoryStorage } from '../../src/storage/memory-storage.ts'
import type { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'
import { HeldCalls } from '../behaviour/held-calls.ts'
import type { PlantedEngine } from './planted-engine.ts'

type Options = Partial<ReturnType<PlantedEngine['testing']['queueDefaults']>>

/** A queue of a planted engine in memory, with handlers that run until a scene ends them. */
export class Stage {
  readonly #engine: PlantedEngine
  runtime!: VirtualRuntime
  storage!: MemoryStorage
  mq!: MessageQueue
  calls: HeldCalls = new HeldCalls()

  private constructor(engine: PlantedEngine) {
    this.#engine = engine
  }

  static async open(engine: PlantedEngine, options: Options = {}): Promise<Stage> {
    const stage = new Stage(engine)
    stage.runtime = new engine.testing.VirtualRuntime()
    await stage.#open(engine.testing.openMemoryStorage({ runtime: stage.runtime, durable: true }), options)
    return stage
  }

  /** Loses the power, and opens what is left in a new process, with handlers of its own. */
  async crash(options: Options = {}): Promise<void> {
    this.runtime = new this.#engine.testing.VirtualRuntime()
    this.calls = new HeldCalls()
    await this.#open(this.storage.crash('power', this.runtime), options)
  }

  /** After a crash everything runs at once, so that a scene sees what is handed out; unless crashes are what it is about. */
  async #open(storage: MemoryStorage, options: Options): Promise<void> {
    const { openOn, queueDefaults } = this.#engine.testing
    this.storage = storage
    this.mq = await openOn(storage, this.runtime, { ...queueDefaults(), countCrashes: false, ...options })
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.runtime.resolve(promise)
  }

  settle(): Promise<void> {
    return this.runtime.settle()
  }

  /** Lets promise jobs run, but no commit. */
  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
  }

  topic(name = 't', options: TopicOptions<string> = {}): Promise<Topic<string>> {
    return this.run(this.mq.topic<string>(name, options))
  }

  /** The topic `t` with messages in one batch: 'k:1' has the key k, '1' has none; 'k:1@1' lies in partition 1. */
  async topicOf(...values: string[]): Promise<Topic<string>> {
    const messages = values.map(messageOf)
    const topic = await this.topic('t', { partitions: Math.max(...messages.map(({ partition = 0 }) => partition)) + 1 })
    await this.run(topic.sendBatch(messages))
    return topic
  }

  /** Subscribes `calls`, and lets them begin. */
  async consume(
    topic: Topic<string>,
    options: SubscribeOptions = {},
    calls: HeldCalls = this.calls,
  ): Promise<Subscription> {
    const all = { from: 'earliest', backoff: { type: 'fixed', delayMs: 100, jitter: 0 }, ...options } as const
    const subscription = await this.run(topic.subscribe('g', calls.handler, all as never))
    await this.settle()
    return subscription
  }

  async end(...names: string[]): Promise<void> {
    this.calls.end(...names)
    await this.settle()
  }

  async fail(name: string): Promise<void> {
    this.calls.fail(name)
    await this.settle()
  }

  /** After {@link Stage.crash}: opens the topic again and tells what its consumers are handed. */
  async handedAgain(): Promise<string[]> {
    await this.consume(await this.topic())
    return this.calls.running
  }

  get position(): number {
    return this.mq.group('g').positions()[0]!.position
  }

  get lag(): number {
    return this.mq.group('g').lag().count
  }
}

function messageOf(text: string): { key?: string; value: string; partition?: number } {
  const [value = '', partition] = text.split('@')
  const key = value.includes(':') ? { key: value.split(':')[0]! } : {}
  return { ...key, value, ...(partition === undefined ? {} : { partition: Number(partition) }) }
}
