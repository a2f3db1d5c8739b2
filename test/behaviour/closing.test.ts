import { describe, expect, test } from 'vitest'
import type { HandlerContext } from '../../src/index.ts'
import { doneBy, lasting, openApp, running, runsOf, sendAll } from './app.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue, type VirtualQueue } from './queue.ts'

/** Timers that would hold a process open. */
const heldOpenBy = ({ runtime }: VirtualQueue): string[] =>
  runtime
    .timers()
    .filter(({ isBackground }) => !isBackground)
    .map(({ label }) => label)

describe('idle, drain and close', () => {
  test('idle does not wait for retries, parked keys or what is paused', async () => {
    await using t = await openApp({ attempts: 2, onExhausted: 'park-key', backoff: { delayMs: 60_000, jitter: 0 } })
    const { subscription } = t.wired
    subscription.pause({ key: 'paused' })
    t.handler('g').failTimes(2, undefined, { key: 'parked' })
    t.handler('g').failTimes(1, undefined, { key: 'retried' })
    await sendAll(t, 'parked:1')
    await t.drain({ allowDead: 1 })
    await sendAll(t, 'retried:1', 'paused:1', 'fine:1')
    await t.resolve(subscription.idle())
    t.assert.pending('retry', { key: 'retried', in: '1m' }, { times: 1 })
    t.assert.dead('g', { key: 'parked' }, { times: 1 })
    expect([doneBy(t), subscription.lag().count]).toEqual([['fine:1'], 3])
    subscription.resume({ key: 'paused' })
    subscription.release('parked')
    expect((await t.drain()).elapsedMs).toBe(60_000)
    t.assert.drained()
  })

  test('drain waits for retries', async () => {
    await using t = await openApp({ backoff: { delayMs: 100, jitter: 0 } })
    t.handler('g').failTimes(3, undefined, { offset: 0 })
    t.handler('g').failTimes(3, undefined, { offset: 1 })
    await sendAll(t, 'a:1', 'a:2')
    expect(await t.resolve(t.wired.subscription.drain())).toEqual({ left: 0 })
    t.assert.delivered('g', { key: 'a' }, { times: 8, effects: 2 })
    expect(runsOf(t).at(-1)).toBe('a:2 1400-1400')
    expect((await t.settle()).elapsedMs).toBe(2 * (100 + 200 + 400))
  })

  test('drain ends at its deadline and says what is left; what came later is not its business', async () => {
    await using t = await openApp({ handler: lasting({ 'a:1': 600, 'b:1': 490, 'c:1': 1_000 }) })
    const { subscription } = t.wired
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    const drain = subscription.drain({ timeoutMs: 500 })
    await sendAll(t, 'c:1')
    expect(await t.resolve(drain)).toEqual({ left: 2 })
    expect((await t.settle()).elapsedMs).toBe(500)
    // It does not wait for what came after it was called either.
    const second = subscription.drain({ timeoutMs: 505 })
    await sendAll(t, 'd:1')
    t.faults.stuck('g', { key: 'e' })
    await sendAll(t, 'e:1')
    expect(await t.resolve(second)).toEqual({ left: 0 })
    expect((await t.settle()).elapsedMs).toBe(500)
    expect(running(t)).toEqual(['e:1'])
    await t.faults.lift()
    await t.drain()
  })

  test('drain ends when only parked keys are left, at once', async () => {
    await using t = await openApp({ attempts: 3, onExhausted: 'park-key', backoff: { delayMs: 100, jitter: 0 } })
    t.handler('g').failTimes(3, undefined, { key: 'a' })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    expect(await t.resolve(t.wired.subscription.drain({ timeoutMs: 60_000 }))).toEqual({ left: 2 })
    expect(await t.settle()).toMatchObject({ elapsedMs: 300, dead: 1, idle: 'parked' })
    t.assert.dead('g', { offset: 0, attempts: 3 })
    await t.faults.lift()
    await t.drain({ allowDead: 1 })
    t.assert.drained()
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
    await using t = await openApp({ handler: lasting() })
    t.faults.stuck('g')
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.advance(10)
    const { left } = await t.resolve(t.wired.subscription.close({ timeoutMs: 10 }))
    expect(left).toEqual([{ topic: 't', partition: 0, offset: 0, key: 'a' }])
    await t.resolve(t.wired.join())
    await sendAll(t, 'c:1')
    expect(await t.advance('1h')).toMatchObject({ attempts: 0, idle: 'parked' })
    expect(doneBy(t)).toEqual(['b:1'])
    await t.faults.lift()
    await t.drain()
    expect([doneBy(t, 'g#1'), doneBy(t, 'g#2').toSorted()]).toEqual([
      ['b:1', 'a:1'],
      ['a:2', 'c:1'],
    ])
    t.assert.delivered('g', {}, { times: 4 })
  })

  test('FENCE-44: an abandoned handler is fenced: its message is handed out again and its end counts for nothing', async () => {
    const contexts: HandlerContext[] = []
    await using t = await openApp({
      handler: ({ value }, context, clock) => {
        contexts.push(context)
        return clock.sleep(contexts.length === 1 ? 50 : value === 'a:1' ? 100 : 10)
      },
    })
    await sendAll(t, 'a:1', 'a:2')
    await t.settle()
    const report = await t.resolve(t.wired.subscription.close({ timeoutMs: 0, abandon: true }))
    expect(report.left).toMatchObject([{ offset: 0 }])
    expect(contexts[0]!.signal.aborted).toBe(true)
    const second = await t.resolve(t.wired.join())
    // The old one ends at 50, in the middle of the new one.
    await t.advance(99)
    expect([doneBy(t, 'g#1'), running(t), second.lag().count]).toEqual([['a:1'], ['a:1'], 2])
    t.assert.committed('g', { t: [0] })
    await t.advance(1)
    expect(contexts[1]!.fence).toBeGreaterThan(contexts[0]!.fence)
    expect([running(t), second.lag().count, contexts[1]!.signal.aborted]).toEqual([['a:2'], 1, false])
    await t.drain()
    expect(runsOf(t)).toEqual(['a:1 0-50', 'a:1 0-100', 'a:2 100-110'])
    t.assert.drained()
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
    await using t = await openApp({ handler: lasting({ 'a:1': 100 }), backoff: { delayMs: 60_000 } })
    const { subscription } = t.wired
    t.handler('g').failTimes(1, undefined, { key: 'b' })
    await sendAll(t, 'a:1', 'b:1')
    await t.settle()
    t.assert.pending('retry', { key: 'b' })
    const [idle, drain] = [subscription.idle(), subscription.drain({ timeoutMs: 3_600_000 })]
    const all = t.resolve(Promise.all([subscription.close({ timeoutMs: 5 }), idle, drain]))
    expect((await all)[2]).toEqual({ left: 2 })
    expect((await t.settle()).elapsedMs).toBe(5)
    // What ran is waited for, and then nothing is left that takes time.
    expect(await t.drain()).toMatchObject({ elapsedMs: 95, attempts: 0, idle: 'empty' })
    expect(await t.next()).toBeUndefined()
    // The retry is stored: the next member goes on with it.
    t.assert.pending('retry', { key: 'b' })
  })

  test('QUIET-40: what a member handles when the process is told to end is settled; what it retries is left', async () => {
    await using t = await openApp({ concurrency: 2, handler: lasting({ 'a:1': 40 }), backoff: { delayMs: 5 } })
    let isDown = true
    t.handler('g').failWhen({ key: 'b', where: () => isDown })
    await sendAll(t, 'a:1', 'b:1', 'a:2', 'c:1')
    await t.settle()
    const { left } = await t.resolve(t.wired.subscription.close({ timeoutMs: 60_000 }))
    expect([left, (await t.settle()).elapsedMs, doneBy(t)]).toEqual([[], 40, ['c:1', 'a:1']])
    expect(await t.advance('1h')).toMatchObject({ attempts: 0, idle: 'empty' })
    t.crash('power')
    const before = runsOf(t).length
    isDown = false
    await t.restart()
    await t.drain()
    expect(
      t
        .group('g')
        .delivered.slice(before)
        .map(({ value }) => value),
    ).toEqual(['b:1', 'a:2'])
    t.assert.drained()
  })

  test('a signal closes the subscription, before or after it began', async () => {
    const control = new AbortController()
    await using t = await openApp({ handler: lasting(), signal: control.signal })
    await sendAll(t, '1')
    await t.settle()
    control.abort()
    await sendAll(t, '2')
    await t.drain()
    expect([doneBy(t), t.wired.subscription.assignments(), t.mq.group('g').members()]).toEqual([['1'], [], []])
    t.assert.committed('g', { t: [1] })
    await expect(t.resolve(t.wired.join())).rejects.toMatchObject({ code: 'ABORTED' })
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
    expect(() => subscription.release()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    expect(made).toHaveLength(1)
  })
})
