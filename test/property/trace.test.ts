import * as fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Storage } from '../../src/contracts/storage.ts'
import type { Subscription } from '../../src/index.ts'
import { openOn, queueDefaults } from '../../src/open.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'
import { openMemoryStorage } from '../../src/storage/memory-storage.ts'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import { VirtualRuntime } from '../../src/testing/virtual-runtime.ts'
import { runs } from '../runs.ts'

interface Scenario {
  readonly partitions: number
  /** Keys of messages that are sent together, one round after the other; a failing one fails so often. */
  readonly rounds: readonly (readonly { readonly key: string; readonly fails: number; readonly ms: number }[])[]
  readonly concurrency: number
  /** After which round the queue is closed and opened again. */
  readonly reopenAfter: number
}

const scenario: fc.Arbitrary<Scenario> = fc.record({
  partitions: fc.integer({ min: 1, max: 3 }),
  rounds: fc.array(
    fc.array(
      fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), fails: fc.constantFrom(0, 0, 0, 1, 2), ms: fc.nat(20) }),
      { minLength: 1, maxLength: 12 },
    ),
    { minLength: 1, maxLength: 5 },
  ),
  concurrency: fc.integer({ min: 1, max: 4 }),
  reopenAfter: fc.nat(4),
})

/**
 * Every round runs in virtual time from the moment at which its messages are on disk until all of them are finished.
 * When a commit completes is not part of the trace: a disk takes what time it takes, so what could be decided while a
 * commit is under way (who joins or sends then) is left to the model test on the store in memory.
 */
async function trace(
  storage: Storage,
  reopen: () => Promise<Storage>,
  given: Scenario,
  seed: number,
): Promise<string[]> {
  const lines: string[] = []
  const disk = new Disk()
  let current = disk.watch(storage)
  let runtime = new VirtualRuntime({ seed })
  let mq = await openOn(current, runtime, queueDefaults())
  const failed = new Map<number, number>()
  const subscribe = async (): Promise<{ subscription: Subscription; topic: Awaited<ReturnType<typeof open>> }> => {
    const topic = await open()
    const subscription = await real(
      runtime,
      topic.subscribe(
        'g',
        async (message, context) => {
          const { id, fails, ms } = message.value
          lines.push(
            `start ${message.partition}/${message.offset} ${message.key} ${id} attempt ${context.attempt} ${message.id}`,
          )
          await new Promise<void>((resolve) => runtime.timer(ms, 'handler', resolve))
          const times = failed.get(id) ?? 0
          failed.set(id, times + 1)
          lines.push(`end ${message.partition}/${message.offset} ${times < fails ? 'failed' : 'done'}`)
          if (times < fails) throw new Error('as planned')
        },
        { from: 'earliest', concurrency: given.concurrency, backoff: { delayMs: 10, jitter: 0.5 } },
      ),
    )
    return { subscription, topic }
  }
  const open = () =>
    real(runtime, mq.topic<{ id: number; fails: number; ms: number }>('t', { partitions: given.partitions }))
  let { subscription, topic } = await subscribe()
  let sent = 0
  for (const [round, messages] of given.rounds.entries()) {
    subscription.pause()
    const values = messages.map(({ key, fails, ms }) => ({ key, value: { id: sent++, fails, ms } }))
    const results = await real(runtime, topic.sendBatch(values))
    lines.push(
      `sent ${results.map(({ partition, offset, timestamp }) => `${partition}/${offset}@${timestamp}`).join(' ')}`,
    )
    subscription.resume()
    // Time moves from one timer to the next, and only while no commit is under way.
    for (await disk.quiet(runtime); subscription.lag().count > 0; await disk.quiet(runtime)) {
      const next = runtime.timers().find(({ isBackground }) => !isBackground)
      await runtime.advance(next!.inMs)
    }
    await real(runtime, subscription.idle())
    const positions = mq.group('g').positions()
    lines.push(`positions ${positions.map(({ position, finishedAbove }) => `${position}+${finishedAbove}`).join(' ')}`)
    if (round !== given.reopenAfter) continue
    lines.push(`closed ${JSON.stringify(await real(runtime, mq.close()))}`)
    current = disk.watch(await reopen())
    runtime = new VirtualRuntime({ seed: seed + 1, start: runtime.now() })
    mq = await openOn(current, runtime, queueDefaults())
    ;({ subscription, topic } = await subscribe())
  }
  await real(runtime, mq.close())
  return lines
}

/** Knows which commits are under way. */
class Disk {
  #underWay = 0

  watch(storage: Storage): Storage {
    const commit = storage.commit.bind(storage)
    storage.commit = async (batch) => {
      this.#underWay++
      await commit(batch).finally(() => this.#underWay--)
    }
    return storage
  }

  /** Resolves when nothing can go on without time passing. */
  async quiet(runtime: VirtualRuntime): Promise<void> {
    do {
      await realTurn()
      await runtime.settle()
    } while (this.#underWay > 0)
  }
}

/** Awaits what needs the disk: time stands still meanwhile. */
async function real<T>(runtime: VirtualRuntime, promise: Promise<T>): Promise<T> {
  let isOver = false
  const mark = (): void => void (isOver = true)
  promise.then(mark, mark)
  while (!isOver) {
    await runtime.settle()
    await realTurn()
  }
  return promise
}

function realTurn(): Promise<void> {
  return new Promise((resolve) => realRuntime.later('test', resolve))
}

test('PROGRESS-26: the same scenario gives the same trace on the store in memory and on LMDB, over a restart too', async () => {
  const { seed, numRuns } = runs(15)
  await fc.assert(
    fc.asyncProperty(scenario, async (given) => {
      // The store's turns are real on both sides; only the engine's time is virtual.
      const memory = openMemoryStorage({ runtime: realRuntime, durable: true })
      const inMemory = await trace(memory, async () => memory.crash('power'), given, seed)
      const path = mkdtempSync(join(tmpdir(), 'lanemq-trace-'))
      try {
        const open = (): Promise<Storage> => openLmdbStorage({ path: join(path, 'store'), runtime: realRuntime })
        expect(await trace(await open(), open, given, seed)).toEqual(inMemory)
      } finally {
        rmSync(path, { recursive: true, force: true })
      }
    }),
    { seed, numRuns },
  )
})
