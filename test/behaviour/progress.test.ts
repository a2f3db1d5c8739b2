import { describe, expect, test } from 'vitest'
import { openTest } from '../../src/testing/index.ts'
import { HeldCalls } from './held-calls.ts'
import { messagesOf, virtualQueue } from './queue.ts'

describe('progress and lag', () => {
  test('PROGRESS-45: lag counts exactly what is unfinished, finished messages above the position left out', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    expect(subscription.lag()).toEqual({ count: 0, bytes: 0, oldestAgeMs: 0 })
    for (const [value, partition] of [
      ['a', 0],
      ['b', 0],
      ['c', 0],
      ['d', 1],
    ] as const) {
      await run(topic.send({ key: value, value, partition }))
      await runtime.advance(1_000)
    }
    expect(subscription.lag()).toMatchObject({ count: 4, oldestAgeMs: 4_000 })
    const all = subscription.lag().bytes
    calls.end('b', 'c')
    await runtime.settle()
    expect(subscription.lag()).toEqual({ count: 2, bytes: all, oldestAgeMs: 4_000 })
    expect(mq.group('g').positions()).toMatchObject([
      { position: 0, finishedAbove: 2, backlog: { count: 1 } },
      { position: 0, finishedAbove: 0, backlog: { count: 1 } },
    ])
    calls.end('a')
    await runtime.settle()
    const after = subscription.lag()
    expect(after).toMatchObject({ count: 1, oldestAgeMs: 1_000 })
    expect(after.bytes).toBeLessThan(all)
    expect(after.bytes).toBeGreaterThan(0)
    expect(mq.group('g').lag()).toEqual(after)
    expect(mq.stats().groups['g']).toMatchObject({ count: 1, members: 1 })
    calls.end('d')
    await run(subscription.idle())
    expect(subscription.lag()).toEqual({ count: 0, bytes: 0, oldestAgeMs: 0 })
  })

  test('PROGRESS-46: lag stays exact when messages below finished ones are trimmed', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf(...Array.from({ length: 10 }, (_, i) => `${i}:v`))))
    const fail = ({ key }: { key: string | undefined }): void => {
      if (key === '0') throw new Error('stuck')
    }
    const subscription = await run(topic.subscribe('g', fail, { from: 'earliest', attempts: 1 }))
    await run(subscription.idle())
    await run(subscription.close())
    await run(topic.trim(0, 5))
    expect(mq.group('g').lag()).toEqual({ count: 0, bytes: 0, oldestAgeMs: 0 })
    await run(topic.sendBatch(messagesOf(...Array.from({ length: 10 }, (_, i) => `${i}:w`))))
    expect(mq.group('g').lag().count).toBe(10)
  })

  test('PROGRESS-47: after a crash exactly what was not finished is handed out again, in every partition', async () => {
    const queue = await virtualQueue()
    const { run } = queue
    let topic = await run(queue.mq.topic<number>('t', { partitions: 3 }))
    const count = 3_000
    await run(topic.sendBatch(Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: i }))))
    const isStuck = (value: number): boolean => value % 7 === 3
    let finished = 0
    const before = await run(
      topic.subscribe(
        'g',
        ({ value }) => {
          if (isStuck(value)) return new Promise(() => {})
          finished++
          return undefined
        },
        { from: 'earliest', concurrency: 10_000 },
      ),
    )
    await queue.settle()
    expect(before.lag().count).toBe(count - finished)
    const mq = await queue.crash('power')
    topic = await run(mq.topic<number>('t'))
    expect(mq.group('g').lag().count).toBe(count - finished)
    const again: number[] = []
    const after = await run(topic.subscribe('g', ({ value }) => void again.push(value)))
    await run(after.drain())
    const expected = Array.from({ length: count }, (_, i) => i).filter(isStuck)
    expect(again.toSorted((a, b) => a - b)).toEqual(expected)
  })

  test('PROGRESS-48: where a subscription begins is kept before it hands out anything', async () => {
    await using t = await openTest({
      wire: async (mq, { life }) => {
        const topic = await mq.topic<string>('t', { partitions: 2 })
        if (life === 1) await topic.send({ value: 'old', partition: 0 })
        await topic.subscribe('g', () => {}, { from: life === 1 ? 'latest' : 'earliest' })
      },
    })
    t.faults.crash({ at: 'deliver', kind: 'power' })
    await t.send('t', { value: 'new', partition: 1 }).catch(() => {})
    await t.settle()
    await t.restart()
    await t.drain()
    t.assert.delivered('g', { partition: 1, offset: 0 }, { times: 2, effects: 1 })
    t.assert.none.delivered('g', { partition: 0 })
  })

  test('idle() after a subscribe to what is there already waits for all of it', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('1', '2', '3')))
    const seen: string[] = []
    const subscription = await run(topic.subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest' }))
    await run(subscription.idle())
    expect([seen.length, subscription.lag().count]).toEqual([3, 0])
  })

  test('several groups get all messages, each at its own place', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<{ n: number }>('t'))
    await run(topic.send({ value: { n: 1 } }))
    const seen: string[] = []
    for (const group of ['a', 'b', 'c']) {
      const from = group === 'c' ? 'latest' : 'earliest'
      await run(topic.subscribe(group, ({ value }) => void seen.push(`${group}${value.n}`), { from }))
    }
    await run(topic.send({ value: { n: 2 } }))
    await queueIsIdle(mq, run)
    expect(seen.toSorted()).toEqual(['a1', 'a2', 'b1', 'b2', 'c2'])
    // A value that groups share cannot be changed by one of them.
    let error: unknown
    const subscription = await run(
      topic.subscribe(
        'd',
        ({ value }) => {
          try {
            ;(value as { n: number }).n = 9
          } catch (thrown) {
            error = thrown
          }
        },
        { from: 'earliest' },
      ),
    )
    await run(subscription.idle())
    expect(error).toBeInstanceOf(TypeError)
  })
})

async function queueIsIdle(
  mq: { groups(): string[]; group(name: string): { lag(): { count: number } } },
  run: <T>(promise: Promise<T>) => Promise<T>,
): Promise<void> {
  for (const name of mq.groups()) while (mq.group(name).lag().count > 0) await run(Promise.resolve())
}
