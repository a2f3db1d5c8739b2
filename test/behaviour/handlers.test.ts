import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openInMemory } from '../../src/index.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('handlers and listeners that misbehave', () => {
  test('whatever a handler throws or rejects with is a failure like any other, and is reported as it is', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    const thrown = [undefined, null, 'text', 0, { a: 1 }, new Error('an error'), Symbol.for('s'), () => {}]
    await run(topic.sendBatch(messagesOf(...thrown.flatMap((_, i) => [`s${i}`, `a${i}`, `t${i}`]))))
    const subscription = await run(
      topic.subscribe(
        'g',
        ({ value, attempt }) => {
          const what = thrown[Number(value.slice(1))]
          if (attempt > 1) return undefined
          if (value.startsWith('s')) throw what
          if (value.startsWith('a')) return Promise.reject(what as Error)
          // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
          return { then: (_: unknown, reject: (error: unknown) => void) => reject(what) }
        },
        { from: 'earliest', concurrency: 100 },
      ),
    )
    await runtime.advance(10_000)
    expect(failed.map(({ error }) => error)).toEqual(expect.arrayContaining(thrown))
    expect(failed).toHaveLength(thrown.length * 3)
    expect(subscription.lag().count).toBe(0)
  })

  test('QUIET-44: a thenable that throws, throws late or calls back twice harms nobody', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const failed = eventsOf(mq, 'message:failed')
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('getter', 'throws', 'twice', 'both', 'fine')))
    const odd: Record<string, () => unknown> = {
      getter: () => ({
        get then() {
          throw new Error('getter')
        },
      }),
      throws: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
        then() {
          throw new Error('then')
        },
      }),
      twice: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
        then(resolve: () => void) {
          resolve()
          resolve()
        },
      }),
      both: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
        then(resolve: () => void, reject: (error: unknown) => void) {
          resolve()
          reject(new Error('too late'))
        },
      }),
      fine: () => undefined,
    }
    const subscription = await run(
      topic.subscribe('g', ({ value, attempt }) => (attempt === 1 ? odd[value]!() : undefined), { from: 'earliest' }),
    )
    await runtime.advance(10_000)
    expect(failed.map(({ offset }) => offset)).toEqual([0, 1])
    expect(subscription.lag().count).toBe(0)
    expect(mq.stats().subscriptions[0]).toMatchObject({ running: 0, handled: 5, failed: 2 })
  })

  test('QUIET-45: a listener that throws or rejects is told to the process, never to the engine', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const mq = await openInMemory()
    const others = eventsOf(mq, 'topic:created')
    mq.on('topic:created', () => {
      throw new Error('sync listener')
    })
    mq.on('topic:created', () => Promise.reject(new Error('async listener')) as never)
    const late = eventsOf(mq, 'topic:created')
    const topic = await mq.topic<string>('t')
    expect(await topic.send({ value: '1' })).toMatchObject({ offset: 0 })
    expect([others.length, late.length]).toEqual([1, 1])
    await mq.close()
    while (warnings.length < 2) await turn()
    expect(warnings.map(({ name, message }) => `${name} ${message}`)).toEqual([
      expect.stringContaining('LanemqWarning'),
      expect.stringContaining('LanemqWarning'),
    ])
  })

  test('a handler may send, seek, pause, change the concurrency and close its own subscription', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const out = await run(mq.topic<string>('out'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'a:3')))
    let closed: Promise<unknown> | undefined
    const subscription = await run(
      topic.subscribe(
        'g',
        async ({ value }) => {
          await out.send({ value })
          if (value === 'a:1') subscription.setConcurrency(3)
          if (value === 'a:2') closed = subscription.close()
        },
        { from: 'latest' },
      ),
    )
    await run(subscription.seek('earliest'))
    await settle()
    await run(closed!)
    expect([out.offsets()[0]!.end, mq.group('g').lag().count]).toEqual([2, 1])
  })

  test('a listener may retry a parked key at once', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const seen: string[] = []
    const handler = ({ value }: { value: string }): void => {
      seen.push(value)
      if (seen.length < 5) throw new Error('broken')
    }
    const subscription = await run(topic.subscribe('g', handler, { from: 'latest', attempts: 1 }))
    mq.on('key:parked', ({ key }) => subscription.release(key))
    await run(subscription.seek('earliest'))
    await settle()
    expect([subscription.parkedKeys(), subscription.lag().count]).toEqual([[], 0])
    expect(seen.filter((value) => value.startsWith('a')).at(-1)).toBe('a:2')
  })

  test('a message is read-only, and serializes with all its fields', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ key: 'k', value: 'v', headers: { h: '1' } }))
    const seen: unknown[] = []
    await run(
      topic.subscribe('g', (message) => void seen.push(JSON.parse(JSON.stringify(message))), { from: 'earliest' }),
    )
    await settle()
    expect(seen).toEqual([
      {
        topic: 't',
        partition: 0,
        offset: 0,
        timestamp: expect.any(Number),
        key: 'k',
        value: 'v',
        headers: { h: '1' },
        id: expect.any(String),
        attempt: 1,
      },
    ])
  })
})
