import type { MessageQueue } from '../client/message-queue.ts'
import type { QueueOptions } from '../client/queue-options.ts'
import { clockOf, type Clock } from './clock.ts'
import { defaultInvariants } from './invariants/all.ts'
import type { Invariant } from './invariants/invariant.ts'
import { memoryStorage } from './simulation/crashable-storage.ts'
import { countTimers } from './own-timers.ts'
import type { Life } from './simulation/life.ts'
import { Simulation, type SimulationOptions } from './simulation/simulation.ts'
import { TemporaryDisk } from './simulation/temporary-disk.ts'
import { refuseUnknown, TestError } from './test-error.ts'
import { TestQueue } from './test-queue.ts'
import { testClock } from './test-clock.ts'
import { areTimersFaked, environmentVariable, instantOf } from './real-loop.ts'

/** What a wiring gets beside the queue. */
export interface WireContext {
  /** Virtual time, to be passed to code that waits or asks what time it is. */
  readonly clock: Clock
  /** Which life of the process this is, from 1. */
  readonly life: number
}

/** The application's own wiring: opens its topics and subscribes its handlers. Called again after each restart. */
export type Wire<W = unknown> = (mq: MessageQueue, context: WireContext) => W | Promise<W>

/** Where the store of a test is. */
export type TestStore = 'memory' | 'lmdb-tmp'

/** Options of {@link openTest}. */
export interface OpenTestOptions<W = unknown> {
  /** See {@link Wire}. @defaultValue nothing is wired */
  readonly wire?: Wire<W>
  /** What the wall clock shows when the test begins: a date, an ISO text or milliseconds since 1970. @defaultValue `2030-01-01T00:00:00Z` */
  readonly start?: Date | string | number
  /** Seed of all chance: jitter of back-off. @defaultValue `1` */
  readonly seed?: number
  /**
   * - `memory`: fast, and able to lose its power.
   * - `lmdb-tmp`: the store of production in a temporary directory; the same traces.
   *
   * @defaultValue the environment variable `LANEMQ_TEST_STORE`, else `'memory'`
   */
  readonly store?: TestStore
  /** Options of the queue, as for `open`. */
  readonly queue?: QueueOptions
  /** Checked on every event beside those of the queue itself. */
  readonly invariants?: readonly Invariant[]
  /** Real time that a handler may wait for something outside of the test, in milliseconds. @defaultValue `1_000` */
  readonly externalWaitMs?: number
  /** Lets the wiring keep timers of its own, which virtual time does not move. @defaultValue `false` */
  readonly allowOwnTimers?: boolean
  /** The context of a test of node:test or vitest: the test queue is disposed when the test ends. */
  readonly context?: TestContextLike
}

/** What node:test and vitest pass to a test, as far as it is needed. */
export interface TestContextLike {
  /** node:test */
  readonly after?: (end: () => Promise<void>) => void
  /** vitest */
  readonly onTestFinished?: (end: () => Promise<void>) => void
}

/**
 * Opens a queue of its own for one test, runs the application's wiring on it, and holds time still.
 *
 * The engine is the one of production; only its clock, its chance and its store are the test's. Between verbs, what can run
 * without time passing runs by itself, so awaiting a send works as ever. Several can be open at once.
 *
 * @throws `FAKE_TIMERS` when fake timers are installed; `OWN_TIMERS`; what the wiring throws
 */
export async function openTest<W = unknown>(options: OpenTestOptions<W> = {}): Promise<TestQueue<W>> {
  refuseUnknown('openTest', options, optionNames)
  refuseFakeTimers()
  const disk = storeOf(options) === 'lmdb-tmp' ? new TemporaryDisk() : undefined
  const timers = { count: 0 }
  const simulation = new Simulation(simulationOptions(options, disk, timers))
  const test = new TestQueue<W>(simulation, testClock(simulation), false, async () => disk?.remove())
  try {
    await simulation.runtime.resolve(simulation.begin(), 'the wiring')
    if (timers.count > 0) throw ownTimers(timers.count)
  } catch (error) {
    await test.dispose().catch(() => {})
    throw error
  }
  const { context } = options
  ;(context?.onTestFinished ?? context?.after)?.call(context, () => test.dispose())
  return test
}

const optionNames: readonly (keyof OpenTestOptions)[] = [
  'wire',
  'start',
  'seed',
  'store',
  'queue',
  'invariants',
  'externalWaitMs',
  'allowOwnTimers',
  'context',
]

/** @internal */
export function simulationOptions<W>(
  { wire, start, seed, queue, invariants, externalWaitMs, allowOwnTimers }: OpenTestOptions<W>,
  disk: TemporaryDisk | undefined,
  timers: { count: number },
): SimulationOptions {
  return {
    wire: async (mq, life) => {
      let wired: W | undefined
      const run = async (): Promise<void> => {
        wired = await wire?.(mq, { clock: clockOf(life), life: life.number })
      }
      if (allowOwnTimers || wire === undefined) await run()
      else timers.count = await countTimers(run)
      return wired
    },
    openStorage: (life: Life) => disk?.open(life) ?? memoryStorage(life.runtime),
    start: start === undefined ? undefined : instant(start),
    seed: seed ?? 1,
    queue,
    invariants: invariants === undefined ? defaultInvariants : [...defaultInvariants, ...invariants],
    choose: undefined,
    isGated: false,
    isRestarting: false,
    autorun: true,
    externalWaitMs: externalWaitMs ?? 1_000,
  }
}

/** @internal */
export function storeOf({ store }: { readonly store?: TestStore }): TestStore {
  const chosen = store ?? environmentVariable('LANEMQ_TEST_STORE') ?? 'memory'
  if (chosen === 'memory' || chosen === 'lmdb-tmp') return chosen
  throw new TestError('INVALID_OPTION', `store is ${chosen}; allowed is 'memory' or 'lmdb-tmp'`)
}

/** @internal */
export function refuseFakeTimers(): void {
  if (!areTimersFaked()) return
  throw new TestError(
    'FAKE_TIMERS',
    'fake timers are installed: this kit has a clock of its own, and code that waits on a faked global would hang; uninstall them (vi.useRealTimers(), jest.useRealTimers(), clock.restore()) and give the wiring the clock from its second argument',
  )
}

function ownTimers(count: number): TestError {
  const what = count === 1 ? 'a timer' : `${count} timers`
  return new TestError(
    'OWN_TIMERS',
    `the wiring keeps ${what} of its own, which virtual time does not move: use the clock from its second argument, or pass allowOwnTimers`,
  )
}

function instant(start: Date | string | number): number {
  const ms = instantOf(start)
  if (Number.isSafeInteger(ms) && ms >= 0) return ms
  throw new TestError(
    'INVALID_OPTION',
    `start is ${String(start)}; allowed is a date, an ISO text or milliseconds since 1970`,
  )
}
