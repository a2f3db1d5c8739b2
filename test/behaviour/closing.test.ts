import { describe, expect, test } from 'vitest'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue, type VirtualQueue } from './queue.ts'

/** Timers that would hold a process open. */
const heldOpenBy = ({ runtime }: VirtualQueue): string[] =>
  runtime
    .timers()
    .filter(({ isBackground }) => !isBackground)
    .map(({ label }) => label)

describe('idle, drain and close', () => {
  test('idle does not wait for retries, stopped keys or what is paused', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('retried:1', 'stopped:1', 'paused:1', 'fine:1')))
    const attempts = 2
    const handler = ({ key }: { key: string | undefined }): void => {
      if (key !== 'fine') throw new Error(key)
    }
    const subscription = await run(
      topic.subscribe('g', handler, { from: 'earliest', attempts, backoff: { delayMs: 60_000, jitter: 0 } }),
    )
    subscription.pause({ key: 'paused' })
    const startedAt = runtime.monotonic()
    await run(subscription.idle())
    expect(runtime.monotonic()).toBe(startedAt)
    expect(subscription.lag().count).toBe(3)
  })

  test('drain waits for retries', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    const handler = ({ attempt }: { attempt: number }): void => {
      if (attempt < 4) throw new Error('again')
    }
    const options = { from: 'earliest', backoff: { delayMs: 100, jitter: 0 } } as const
    const subscription = await run(topic.subscribe('g', handler, options))
    const startedAt = runtime.monotonic()
    expect(await run(subscription.drain())).toEqual({ left: 0 })
    expect(runtime.monotonic() - startedAt).toBe(2 * (100 + 200 + 400))
  })

  test('drain ends at its deadline and says what is left; what came later is not its business', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const calls = new HeldCalls()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await runtime.settle()
    const startedAt = runtime.monotonic()
    const drain = subscription.drain({ timeoutMs: 500 })
    await run(topic.send({ key: 'c', value: 'c:1' }))
    calls.end('b:1')
    expect(await run(drain)).toEqual({ left: 2 })
    expect(runtime.monotonic() - startedAt).toBe(500)
    const second = subscription.drain({ timeoutMs: 500 })
    for (const name of ['a:1', 'a:2', 'c:1']) {
      await runtime.settle()
      calls.end(name)
    }
    expect(await run(second)).toEqual({ left: 0 })
  })

  test('drain ends when only stopped keys are left, at once', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1')))
    const handler = ({ key }: { key: string | undefined }): void => {
      if (key === 'a') throw new Error('a')
    }
    const options = { from: 'earliest', attempts: 3, backoff: { delayMs: 100, jitter: 0 } } as const
    const subscription = await run(topic.subscribe('g', handler, options))
    const startedAt = runtime.monotonic()
    expect(await run(subscription.drain({ timeoutMs: 60_000 }))).toEqual({ left: 2 })
    expect(runtime.monotonic() - startedAt).toBe(300)
  })

  test('QUIET-40: close finishes what runs, hands out nothing more, and leaves no timer', async () => {
    const queue = await virtualQueue()
    const { mq, run, settle } = queue
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2', 'b:1', 'c:1')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest', concurrency: 3 }))
    await settle()
    calls.fail('c:1')
    await settle()
    const closing = mq.close()
    await settle()
    calls.end('a:1', 'b:1')
    expect(await run(closing)).toEqual({ left: [] })
    expect(calls.started).toEqual(['a:1', 'b:1', 'c:1'])
    expect(queue.runtime.timers()).toEqual([])
    const again = await queue.crash('power')
    expect(again.group('g').lag().count).toBe(2)
  })

  test('QUIET-41: at the deadline close aborts what still runs, reports it and ends', async () => {
    const queue = await virtualQueue()
    const { mq, run, runtime } = queue
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1', 'free')))
    const calls = new HeldCalls()
    await run(topic.subscribe('g', calls.handler, { from: 'earliest' }))
    await runtime.settle()
    const { signal } = calls.context('a:1')
    const startedAt = runtime.monotonic()
    const closing = mq.close({ timeoutMs: 700 })
    await runtime.settle()
    calls.end('free')
    const { left } = await run(closing)
    expect(runtime.monotonic() - startedAt).toBe(700)
    expect(left).toEqual([
      { topic: 't', partition: 0, offset: 0, key: 'a' },
      { topic: 't', partition: 0, offset: 1, key: 'b' },
    ])
    expect([signal.aborted, (signal.reason as { code: string }).code]).toEqual([true, 'CLOSED'])
    expect(runtime.timers()).toEqual([])
    // What ends after that changes nothing, and nobody is told.
    calls.end('a:1')
    calls.fail('b:1')
    await runtime.advance(100_000)
    const again = await queue.crash('power')
    expect(again.group('g').lag().count).toBe(2)
  })

  test('QUIET-42: close ends at once with a deadline of 0, and a second close gives the same report', async () => {
    const queue = await virtualQueue()
    const { mq, run, runtime } = queue
    const topic = await run(mq.topic<string>('t'))
    await run(topic.send({ value: '1' }))
    await run(topic.subscribe('g', () => new Promise(() => {}), { from: 'earliest' }))
    await runtime.settle()
    const startedAt = runtime.monotonic()
    const first = mq.close({ timeoutMs: 0 })
    expect(await run(mq.close())).toBe(await run(first))
    expect(runtime.monotonic()).toBe(startedAt)
    expect((await first).left).toHaveLength(1)
    expect(heldOpenBy(queue)).toEqual([])
  })

  test('a closed subscription gives its partitions to the others only when its handlers have ended', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    const [old, young] = [new HeldCalls(), new HeldCalls()]
    const first = await run(topic.subscribe('g', old.handler, { from: 'earliest' }))
    await runtime.settle()
    expect((await run(first.close({ timeoutMs: 10 }))).left).toHaveLength(1)
    await run(topic.subscribe('g', young.handler))
    await runtime.advance(60_000)
    expect(young.started).toEqual([])
    old.end('a:1')
    await runtime.settle()
    expect(young.started).toEqual(['a:2'])
  })

  test('FENCE-44: an abandoned handler is fenced: its message is handed out again and its end counts for nothing', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    const [old, young] = [new HeldCalls(), new HeldCalls()]
    const first = await run(topic.subscribe('g', old.handler, { from: 'earliest' }))
    await runtime.settle()
    const { signal, fence } = old.context('a:1')
    const report = await run(first.close({ timeoutMs: 0, abandon: true }))
    expect(report.left).toMatchObject([{ offset: 0 }])
    expect(signal.aborted).toBe(true)
    const second = await run(topic.subscribe('g', young.handler))
    await runtime.settle()
    expect(young.running).toEqual(['a:1'])
    expect(young.context('a:1').fence).toBeGreaterThan(fence)
    old.end('a:1')
    await runtime.settle()
    expect([second.lag().count, young.running]).toEqual([2, ['a:1']])
    young.end('a:1')
    await runtime.settle()
    expect([second.lag().count, young.running]).toEqual([1, ['a:2']])
  })

  test('QUIET-43: a subscription that ended by itself while a settlement was under way can be closed', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch([0, 1].map((partition) => ({ value: `${partition}`, partition }))))
    const seen: string[] = []
    const subscription = await run(topic.subscribe('g', ({ value }) => void seen.push(value), { from: 'earliest' }))
    await run(subscription.idle())
    subscription.pause({ partition: 1 })
    await run(topic.sendBatch(['x', 'y'].map((value) => ({ value, partition: 1 }))))
    await run(topic.trim(1, 3))
    // Handled without a commit in between, so that one settlement is under way and more is finished.
    for (const value of ['b', 'c']) {
      void topic.send({ value, partition: 0 }, { acks: 'buffered' })
      while (seen.at(-1) !== value) await Promise.resolve()
    }
    subscription.resume({ partition: 1 })
    await runtime.settle()
    expect(subscription.failure).toMatchObject({ code: 'GAP', from: 1, to: 3, count: 2 })
    await run(subscription.close({ timeoutMs: 0 }))
    await run(mq.close({ timeoutMs: 0 }))
    expect(runtime.timers()).toEqual([])
  })

  test('QUIET-47: whoever waits for idle or drained when the subscription is closed is told, and no timer is left', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.sendBatch(messagesOf('a:1', 'b:1')))
    const calls = new HeldCalls()
    const subscription = await run(
      topic.subscribe('g', calls.handler, { from: 'earliest', backoff: { delayMs: 60_000 } }),
    )
    await runtime.settle()
    calls.fail('b:1')
    const [idle, drain] = [subscription.idle(), subscription.drain({ timeoutMs: 3_600_000 })]
    await run(subscription.close({ timeoutMs: 5 }))
    await run(idle)
    expect(await run(drain)).toEqual({ left: 2 })
    await run(mq.close({ timeoutMs: 0 }))
    expect([runtime.timers(), runtime.monotonic()]).toEqual([[], 5])
  })

  test('a signal closes the subscription, before or after it began', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const calls = new HeldCalls()
    const control = new AbortController()
    const subscription = await run(topic.subscribe('g', calls.handler, { from: 'earliest', signal: control.signal }))
    await run(topic.sendBatch(messagesOf('1')))
    await runtime.settle()
    control.abort()
    calls.end('1')
    await run(topic.sendBatch(messagesOf('2')))
    await runtime.settle()
    expect([calls.started, subscription.assignments(), mq.group('g').members()]).toEqual([['1'], [], []])
    const late = topic.subscribe('g', calls.handler, { signal: control.signal })
    await expect(run(late)).rejects.toMatchObject({ code: 'ABORTED' })
  })

  test('a subscription that begins while the queue closes is closed too', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const subscribe = topic.subscribe('g', () => {}, { from: 'earliest' })
    const [outcome] = await run(Promise.allSettled([subscribe, mq.close()]))
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'CLOSED' })
    else await expect(run(outcome.value.seek('latest'))).rejects.toMatchObject({ code: 'CLOSED' })
    expect(runtime.timers()).toEqual([])
  })

  test('after close every call is refused with CLOSED, and events are silent', async () => {
    const { mq, run } = await virtualQueue()
    const made = eventsOf(mq, 'topic:created')
    const topic = await run(mq.topic<string>('t'))
    const subscription = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    await run(mq.close())
    const refused: (() => Promise<unknown>)[] = [
      () => topic.send({ value: '1' }),
      () => topic.sendBatch(messagesOf('1')),
      () => topic.subscribe('g', () => {}),
      () => topic.trim(0, 0),
      () => topic.configure({ retention: {} }),
      () => topic.read().next(),
      () => mq.topic('u'),
      () => mq.deleteTopic('t'),
      () => mq.flush(),
      () => mq.backup('nowhere'),
      () => mq.compact(),
      () => mq.verify(),
      () => subscription.seek('earliest'),
      () => mq.group('g').seek('earliest'),
      () => mq.group('g').delete(),
    ]
    for (const call of refused) await expect(run(call()), String(call)).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => subscription.retry()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    expect(made).toHaveLength(1)
  })
})
