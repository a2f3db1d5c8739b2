import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { open, type MessageQueue, type OpenOptions, type QueueEventName, type QueueEvents } from '../../src/index.ts'
import { openOn, queueDefaults } from '../../src/open.ts'
import { openMemoryStorage, type MemoryStorage } from '../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'

type Defaults = ReturnType<typeof queueDefaults>

/** A queue in memory whose time and turns a test controls. */
export class VirtualQueue {
  readonly runtime: VirtualRuntime
  storage: MemoryStorage
  mq!: MessageQueue

  constructor(runtime: VirtualRuntime, storage: MemoryStorage) {
    this.runtime = runtime
    this.storage = storage
  }

  /** Awaits a promise of the queue; time passes only when nothing else can go on. */
  readonly run = <T>(promise: Promise<T>): Promise<T> => this.runtime.resolve(promise)

  /** Lets everything happen that needs no time. */
  readonly settle = (): Promise<void> => this.runtime.settle()

  /** Ends the process without a word, and opens what it left. */
  async crash(how: 'process' | 'power', options: Partial<Defaults> = {}): Promise<MessageQueue> {
    this.storage = this.storage.crash(how)
    this.mq = await openOn(this.storage, this.runtime, { ...queueDefaults(), ...options })
    return this.mq
  }
}

export async function virtualQueue(options: Partial<Defaults> = {}, seed = 1): Promise<VirtualQueue> {
  const runtime = new VirtualRuntime({ seed })
  const storage = openMemoryStorage({ runtime, durable: true })
  const queue = new VirtualQueue(runtime, storage)
  queue.mq = await openOn(storage, runtime, { ...queueDefaults(), ...options })
  onTestFinished(() => queue.run(queue.mq.close({ timeoutMs: 0 })).then(() => {}))
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
