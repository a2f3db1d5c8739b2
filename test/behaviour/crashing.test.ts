import { describe, expect, test } from 'vitest'
import type { Message } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { lasting, openApp, runsOf, running, sendAll } from './app.ts'

const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0 } as const
const kinds = ['process', 'power'] as const
const innocents = ['a:1', 'b:1', 'c:1', 'd:1', 'a:2', 'e:1']

/** Goes on until nothing is left; each crash on the way is a life more. Returns how often the process died. */
async function untilDone(t: TestQueue): Promise<number> {
  for (let crashes = 0; crashes < 100; crashes++) {
    await t.advance('1m').catch(() => {})
    if (t.history.of('crash').length === crashes) return crashes
    await t.restart().catch(() => {})
  }
  throw new Error('the process dies for ever')
}

function attemptsOf(t: TestQueue, group: string, value: string): number[] {
  return t
    .group(group)
    .delivered.filter((one) => one.value === value)
    .map(({ attempt }) => attempt)
}

/** Everyone but the guilty one was handed out as a first attempt only, and is done. */
function expectInnocent(t: TestQueue, group: string): void {
  for (const value of innocents) expect(new Set(attemptsOf(t, group, value)), value).toEqual(new Set([1]))
}

describe('a message that ends the process', () => {
  for (const kind of kinds) {
    test(`PROGRESS-100: it is parked after its attempts, what ran beside it is done and was never counted: ${kind}`, async () => {
      await using t = await openApp({
        attempts: 3,
        backoff,
        onExhausted: 'park-key',
        concurrency: 4,
        handler: lasting(),
      })
      t.faults.crashLoop({ at: 'handler:start', kind, group: 'g', key: 'k', nth: 1, times: 50 })
      await sendAll(t, 'a:1', 'b:1', 'k:1', 'c:1', 'k:2', 'd:1', 'a:2', 'e:1').catch(() => {})
      // The first end counts for nobody.
      expect(await untilDone(t)).toBe(4)
      expect(attemptsOf(t, 'g', 'k:1')).toEqual([1, 1, 2, 3])
      expectInnocent(t, 'g')
      expect(t.wired.subscription.parkedKeys()).toMatchObject([{ offset: 2, key: 'k', attempts: 3 }])
      const failures = t.history.of('failed')
      expect(failures.map(({ offset, attempt }) => [offset, attempt])).toEqual([
        [2, 1],
        [2, 2],
        [2, 3],
      ])
      for (const { error } of failures) expect(error).toMatchObject({ code: 'PROCESS_ENDED', offset: 2 })
      expect(t.wired.subscription.lag()).toMatchObject({ count: 2 })
    })

    test(`PROGRESS-101: of two groups and arrays only the guilty one is counted, whoever is served first: ${kind}`, async () => {
      const t: TestQueue = await openTest({
        wire: async (mq, { clock }) => {
          const topic = await mq.topic<string>('t', { partitions: 2 })
          const settings = { from: 'earliest', attempts: 2, backoff, onExhausted: 'skip' } as const
          await topic.subscribe('g', () => clock.sleep(10), { ...settings, concurrency: 2 })
          const handle = (messages: readonly Message<string>[]): Promise<void> => {
            if (messages.some(({ key }) => key === 'k')) t.crash(kind)
            return clock.sleep(5)
          }
          await topic.subscribe('h', handle, { ...settings, concurrency: 2, batch: { max: 3, maxWaitMs: 20 } })
        },
      })
      await using _ = t
      await sendAll(t, 'a:1', 'b:1', 'k:1', 'c:1', 'd:1', 'a:2', 'e:1').catch(() => {})
      await untilDone(t)
      for (const group of ['g', 'h']) expectInnocent(t, group)
      expect(t.history.of('failed').map(({ group, key, attempt }) => [group, key, attempt])).toEqual([
        ['h', 'k', 1],
        ['h', 'k', 2],
      ])
      expect(t.history.of('skipped')).toHaveLength(1)
      await t.drain({ allowDead: 1 })
      t.assert.drained()
    })
  }

  test('PROGRESS-102: an end while several ran counts for nobody, however often it comes', async () => {
    await using t = await openApp({ attempts: 2, backoff, concurrency: 4, handler: lasting() })
    await sendAll(t, 'a:1', 'b:1', 'c:1')
    for (let life = 0; life < 8; life++) {
      await t.advance('1s')
      await sendAll(t, 'a:1', 'b:1', 'c:1')
      await t.advance(5)
      expect(running(t)).toHaveLength(3)
      t.crash()
      await t.restart()
    }
    await t.drain()
    expect(t.history.of('failed')).toEqual([])
    expect(new Set(t.group('g').delivered.map(({ attempt }) => attempt))).toEqual(new Set([1]))
    t.assert.drained()
  })

  test('PROGRESS-103: one that starts late is found too: each end that tells nothing makes the next start look at more', async () => {
    await using t = await openApp({
      attempts: 2,
      backoff,
      onExhausted: 'park-key',
      concurrency: 2,
      handler: lasting({ 'a1:1': 100 }),
    })
    const hot = Array.from({ length: 40 }, (_, i) => `a:${i}`)
    t.wired.subscription.pause()
    await sendAll(t, ...hot, 'k:1')
    t.faults.crashLoop({ at: 'handler:start', kind: 'power', group: 'g', key: 'k', times: 50 })
    t.wired.subscription.resume()
    const crashes = await untilDone(t)
    expect(crashes).toBeGreaterThan(3)
    expect(crashes).toBeLessThan(10)
    expect(t.wired.subscription.parkedKeys()).toMatchObject([{ key: 'k', attempts: 2 }])
    for (const value of hot) expect(new Set(attemptsOf(t, 'g', value)), value).toEqual(new Set([1]))
  })
})

describe('after an end of the process that nobody expected', () => {
  test('PROGRESS-104: what is handed out first runs alone, in the whole process; then messages run side by side again', async () => {
    await using t = await openApp({ concurrency: 3, handler: lasting() })
    await sendAll(t, 'a:1', 'b:1')
    await t.advance(5)
    t.crash()
    const before = t.group('g').delivered.length
    await t.restart()
    await sendAll(t, 'c:1', 'd:1', 'e:1', 'f:1')
    await t.drain()
    const runs = runsOf(t).slice(before)
    expect(runs.map((run) => run.split(' ')[1])).toEqual(['5-15', '15-25', '25-35', '35-45', '35-45', '35-45'])
  })

  test('after a close nothing is marked', async () => {
    await using t = await openApp({ concurrency: 3, handler: lasting() })
    await sendAll(t, 'a:1')
    await t.resolve(t.mq.close())
    t.crash()
    await t.restart()
    await sendAll(t, 'b:1', 'c:1', 'd:1')
    await t.drain()
    expect(runsOf(t).slice(1)).toEqual(['b:1 10-20', 'c:1 10-20', 'd:1 10-20'])
    expect(t.history.of('settle').flatMap(({ partitions }) => partitions.flatMap(({ marked }) => marked))).toEqual([])
  })

  test('PROGRESS-108: subscriptions take turns: a busy one keeps nobody waiting', async () => {
    const t: TestQueue = await openTest({
      wire: async (mq) => {
        const topic = await mq.topic<string>('t', { partitions: 2 })
        const settings = { from: 'earliest', concurrency: 4 } as const
        // Returns at once, so that its next message is at hand as soon as one is done.
        await topic.subscribe('busy', () => {}, settings)
        await topic.subscribe('g', () => Promise.resolve(), settings)
        await topic.subscribe('h', () => Promise.resolve(), { ...settings, batch: { max: 2 } })
      },
    })
    await using _ = t
    await t.settle()
    t.faults.crash({ at: 'handler:start', group: 'busy', nth: 1 })
    await sendAll(t, ...Array.from({ length: 40 }, (_, i) => `k${i % 8}:${i}`)).catch(() => {})
    await t.settle().catch(() => {})
    const before = t.history.of('start').length
    await t.restart()
    await t.drain()
    const groups = t.history
      .of('start')
      .slice(before)
      .map(({ group }) => group)
    // The first one joins, and begins, before the others are there.
    const joined = groups.indexOf('h') + 1
    expect(joined).toBeLessThan(6)
    expect(groups.slice(joined, joined + 6)).toEqual(['busy', 'g', 'h', 'busy', 'g', 'h'])
  })

  test('PROGRESS-109: however often it comes, no more than 4,096 messages of a subscription run alone', async () => {
    await using t = await openApp({ concurrency: 100, handler: () => {} })
    for (let life = 0; life < 10; life++) {
      await t.drain()
      t.crash()
      await t.restart()
    }
    const values = Array.from({ length: 4_200 }, (_, i) => `k${i % 100}:${i}`)
    t.wired.subscription.pause()
    await sendAll(t, ...values)
    t.crash()
    await t.restart()
    await t.drain()
    const settled = t.history.of('settle').flatMap(({ partitions }) => partitions.flatMap(({ marked }) => marked))
    expect(settled).toHaveLength(4_096)
  })

  test('PROGRESS-109: nor do they for more than a minute', async () => {
    const times = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}:1`, 4_000]))
    await using t = await openApp({ concurrency: 40, handler: lasting(times) })
    await sendAll(t, ...Object.keys(times))
    t.crash()
    await t.restart()
    await t.advance('59s')
    expect(running(t)).toHaveLength(1)
    await t.advance('2s')
    expect(running(t)).toHaveLength(25)
    await t.drain()
    t.assert.drained()
  })

  test('PROGRESS-105: a handler that runs long lets the others go on beside it, and is not counted', async () => {
    await using t = await openApp({ attempts: 2, backoff, concurrency: 2, handler: lasting({ 'a:1': 60_000 }) })
    await sendAll(t, 'a:1', 'b:1', 'c:1')
    await t.settle()
    t.crash()
    await t.restart()
    await t.advance('4s')
    expect(running(t)).toEqual(['a:1'])
    await t.advance('2s')
    expect(running(t)).toEqual(['a:1'])
    t.assert.delivered('g', { key: 'c' }, { times: 1 })
    t.crash()
    await t.restart()
    await t.drain()
    expect(t.history.of('failed')).toEqual([])
    t.assert.drained()
  })

  test('PROGRESS-106: an attempt that does not count does not count by its mark either', async () => {
    let hasMet = false
    await using t = await openApp({
      attempts: 2,
      handler: async ({ value }, context) => {
        if (value !== 'a:1') return
        context.store('s').put('k', Number(context.store('s').get('k') ?? 0) + 1)
        if (hasMet) return
        hasMet = true
        const store = await t.mq.store('s')
        await store.put('k', 10)
      },
    })
    t.wired.subscription.pause()
    await sendAll(t, 'a:1')
    t.crash()
    // Of the mark, and of its end.
    t.faults.crash({ at: 'settle:flushed', group: 'g', nth: 2 })
    await t.restart()
    await t.settle()
    t.assert.crashed()
    await t.restart()
    await t.drain()
    expect(t.history.of('deferred')).toHaveLength(1)
    expect(t.history.of('failed')).toEqual([])
    expect(new Set(attemptsOf(t, 'g', 'a:1'))).toEqual(new Set([1]))
  })

  test('with countCrashes: false nothing is marked, counted or held back', async () => {
    const test = { queue: { countCrashes: false } }
    await using t = await openApp({ attempts: 2, backoff, concurrency: 3, handler: lasting(), test })
    await sendAll(t, 'a:1', 'b:1', 'c:1')
    for (let life = 0; life < 5; life++) {
      await t.advance(5)
      expect(running(t)).toHaveLength(3)
      t.crash()
      await t.restart()
    }
    await t.drain()
    expect(t.history.of('failed')).toEqual([])
    t.assert.drained()
  })
})
