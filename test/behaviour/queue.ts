import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import {
  open,
  type MessageQueue,
  type OpenOptions,
  type QueueEventName,
  type QueueEvents,
  type QueueOptions,
} from '../../src/index.ts'
import type { MemoryStorage } from '../../src/storage/memory-storage.ts'
import { defaultInvariants } from '../../src/testing/invariants/all.ts'
import { memoryStorage } from '../../src/testing/simulation/crashable-storage.ts'
import { Simulation } from '../../src/testing/simulation/simulation.ts'
import { timeline } from '../../src/testing/timeline.ts'
import type { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'

/** Lines of the timeline that a broken invariant shows. */
const shownLines = 40
const shownViolations = 5

/**
 * A queue in memory whose time and turns a test controls, on the simulation of `lanemq/testing`: whatever happens in it is
 * held against every invariant.
 */
export class VirtualQueue {
  readonly runtime: VirtualRuntime
  readonly #simulation: Simulation
  #isSabotaged = false

  constructor(options: QueueOptions, seed: number) {
    this.#simulation = new Simulation({
      wire: () => {},
      openStorage: ({ runtime }) => memoryStorage(runtime),
      start: undefined,
      seed,
      queue: options,
      invariants: defaultInvariants,
      choose: undefined,
      isGated: false,
      isRestarting: false,
      autorun: false,
      externalWaitMs: 0,
    })
    this.runtime = this.#simulation.runtime
  }

  /** Of the present life, as {@link VirtualQueue.storage}. */
  get mq(): MessageQueue {
    return this.#simulation.life.mq
  }

  get storage(): MemoryStorage {
    return this.#simulation.life.storage as MemoryStorage
  }

  /** Awaits a promise of the queue; time passes only when nothing else can go on. */
  readonly run = <T>(promise: Promise<T>): Promise<T> => this.runtime.resolve(promise)

  /** Lets everything happen that needs no time. */
  readonly settle = (): Promise<void> => this.runtime.settle()

  begin(): Promise<void> {
    return this.run(this.#simulation.begin())
  }

  /** Ends the process without a word, and opens what it left. */
  async crash(how: 'process' | 'power'): Promise<MessageQueue> {
    this.#simulation.crash(how === 'power', 'here')
    await this.run(this.#simulation.restart())
    return this.mq
  }

  /** Breaks the rules from outside of the queue from here on, for this reason: invariants that say so are right. */
  sabotage(_because: string): void {
    this.#isSabotaged = true
  }

  /** Looks at the store, closes the queue, opens it once more to see that all is there, and tells what was broken. */
  async end(): Promise<void> {
    const { checker, history } = this.#simulation
    await this.settle()
    if (this.#isSabotaged) return void (await this.run(this.mq.close({ timeoutMs: 0 })))
    if (this.#isOpen) this.#simulation.snapshot('end')
    await this.run(this.mq.close({ timeoutMs: 0 }))
    await this.crash('power')
    await this.run(this.mq.close())
    const { violations } = checker
    if (violations.length === 0) return
    const lines = violations.slice(0, shownViolations).map(({ invariant, text }) => `${invariant}: ${text}`)
    if (violations.length > lines.length) lines.push(`and ${violations.length - lines.length} more`)
    throw new Error(`${lines.join('\n')}\n\n${timeline(history, { level: 'all', last: shownLines })}`)
  }

  /** Whether neither the test nor a failure has closed the store. */
  get #isOpen(): boolean {
    try {
      this.storage.stats()
      return true
    } catch {
      return false
    }
  }
}

/** Fails the test when an invariant was broken in it. */
export async function virtualQueue(options: QueueOptions = {}, seed = 1): Promise<VirtualQueue> {
  const queue = new VirtualQueue(options, seed)
  await queue.begin()
  onTestFinished(() => queue.end())
  return queue
}

/** A fresh directory that goes with the test. */
export function freshDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'lanemq-behaviour-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A queue on disk, checked and closed when the test ends. */
export async function diskQueue(path: string, options: Omit<OpenOptions, 'path'> = {}): Promise<MessageQueue> {
  const mq = await open({ path, minFreeBytes: 0, ...options })
  onTestFinished(() => mq.close({ timeoutMs: 0 }).then(() => {}))
  return mq
}

/** Payloads of the events of one name, in order. */
export function eventsOf<N extends QueueEventName>(mq: MessageQueue, name: N): QueueEvents[N][] {
  const seen: QueueEvents[N][] = []
  mq.on(name, (payload) => seen.push(payload))
  return seen
}

/** 'k:1' stands for a message with key k and value 'k:1'; without a colon it has no key. */
export function messagesOf(...values: string[]): { key?: string; value: string }[] {
  return values.map((value) => {
    const colon = value.indexOf(':')
    return colon < 0 ? { value } : { key: value.slice(0, colon), value }
  })
}
