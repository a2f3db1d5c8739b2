import { describe, expect, test } from 'vitest'
import type { Codec, HandlerContext, Message, QueueEvents } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { doneBy, lasting, openApp, sendAll, sendTo, type AppOptions } from './app.ts'
import { virtualQueue } from './queue.ts'

const before = { ackMode: 'before' } as const satisfies AppOptions
/** Where a crash strikes, and how many messages it may take then, of the process and of the power. */
const places = [
  ['settle:before', { process: 0, power: 0 }],
  ['settle:applied', { process: 2, power: 0 }],
  ['settle:flushed', { process: 2, power: 2 }],
  ['deliver', { process: 2, power: 2 }],
  ['handler:start', { process: 2, power: 2 }],
  ['handler:done', { process: 2, power: 2 }],
] as const

type App = Awaited<ReturnType<typeof openApp>>

/** How often each message was handed out, in all lives. */
function timesOf(t: App): Map<string, number> {
  const times = new Map<string, number>()
  for (const { partition, offset } of t.history.of('deliver')) {
    const place = `${partition}@${offset}`
    times.set(place, (times.get(place) ?? 0) + 1)
  }
  return times
}

describe("ackMode: 'before'", () => {
  for (const kind of ['process', 'power'] as const) {
    test(`PROGRESS-130: a message is finished on disk when its handler begins, whatever crashes then: ${kind}`, async () => {
      await using t = await openApp({ ...before, handler: lasting() })
      await sendAll(t, 'a:1', 'b:1')
      await t.advance(5)
      expect(t.history.of('start')).toHaveLength(2)
      expect(t.wired.subscription.lag().count).toBe(0)
      t.crash(kind)
      await t.restart()
      await t.drain()
      expect(t.history.of('start'), 'nothing is handed out again').toHaveLength(2)
      t.assert.committed('g', { t: [2] })
    })

    for (const [at, { [kind]: mostLost }] of places) {
      test(`PROGRESS-131: no message is handed out twice, and at most ${mostLost} are lost, by a ${kind} crash at ${at}`, async () => {
        await using t = await openApp({ ...before, concurrency: 2, handler: lasting() })
        for (let nth = 1; nth < 4; nth++) {
          await t.drain()
          const from = timesOf(t).size
          t.faults.crash({ at, kind, group: 'g', nth })
          await sendAll(t, 'a:1', 'b:1', 'a:2', 'c:1', 'b:2', 'd:1').catch(() => {})
          await t.advance('1m').catch(() => {})
          t.assert.crashed()
          await t.restart()
          await t.drain()
          const times = timesOf(t)
          expect(Math.max(...times.values()), 'handed out more than once').toBe(1)
          expect(times.size - from).toBeGreaterThanOrEqual(6 - mostLost)
        }
      })
    }
  }

  test('PROGRESS-131: what an abandoned member began is not handed to another one', async () => {
    await using t = await openApp({ ...before, partitions: 2, handler: lasting({ 'a:1': 1_000 }) })
    await sendTo(t, 0, 'a:1', 'b:1')
    await sendTo(t, 1, 'c:1')
    await t.advance(1)
    const joining = t.wired.join()
    const { left } = await t.resolve(t.wired.subscription.close({ timeoutMs: 0, abandon: true }))
    expect(left).toHaveLength(3)
    await t.resolve(joining)
    await sendTo(t, 0, 'a:2')
    await t.drain()
    expect([...timesOf(t).values()]).toEqual([1, 1, 1, 1])
  })

  test('PROGRESS-132: a failure is told of and never tried again, later messages of its key go on', async () => {
    const cause = new Error('broken')
    await using t = await openApp({ ...before, handler: lasting() })
    t.handler('g').failTimes(1, () => cause, { offset: 0 })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.drain({ allowDead: 1 })
    const place = { topic: 't', partition: 0, offset: 0, key: 'a', group: 'g' }
    expect(t.history.of('failed')).toMatchObject([{ ...place, attempt: 1, error: cause, retryInMs: undefined }])
    const error = { code: 'HANDLER_FAILED', cause, offset: 0 }
    expect(t.history.of('skipped')).toMatchObject([{ ...place, attempts: 1, error, reason: 'attempts' }])
    expect(doneBy(t).toSorted()).toEqual(['a:2', 'b:1'])
    expect(t.history.of('deliver')).toHaveLength(3)
    expect(t.mq.stats().subscriptions[0]).toMatchObject({ handled: 2, failed: 1, skipped: 1 })
    t.assert.empty('g')
  })

  for (const onTimeout of ['wait', 'abandon'] as const) {
    test(`PROGRESS-132: a handler over its time is told of once, and its message not tried again (${onTimeout})`, async () => {
      const options = { ...before, handlerTimeoutMs: 50, onTimeout }
      const late: NonNullable<AppOptions['handler']> = async ({ value }, _context, clock) => {
        await clock.sleep(value === 'a:2' ? 10 : 500)
        if (value === 'b:1') throw new Error('late, and broken')
      }
      await using t = await openApp({ ...options, handler: late })
      await sendAll(t, 'a:1', 'a:2', 'b:1')
      await t.advance(60)
      expect(doneBy(t), 'only who waits holds the key').toEqual(onTimeout === 'wait' ? [] : ['a:2'])
      await t.drain({ allowDead: 2 })
      const error = { code: 'HANDLER_TIMEOUT' }
      expect(t.history.of('failed')).toMatchObject([
        { offset: 0, error },
        { offset: 2, error },
      ])
      expect(t.history.of('skipped')).toMatchObject([{ offset: 0 }, { offset: 2 }])
      expect(t.mq.stats().subscriptions[0]).toMatchObject({ handled: 1, failed: 2, skipped: 2 })
      expect(t.history.of('deliver')).toHaveLength(3)
    })
  }

  test('PROGRESS-132: a value that can not be decoded is told of, and others go on', async () => {
    const codec: Codec<string> = {
      contentType: 'text/plain',
      format: 'text',
      shared: true,
      encode: (value) => value,
      decode: (text: string) => {
        if (text === 'a:1') throw new Error('damaged')
        return text
      },
    }
    await using t = await openApp({ ...before, topic: { codec }, handler: lasting() })
    await sendAll(t, 'a:1', 'a:2')
    await t.drain({ allowDead: 1 })
    expect(t.history.of('skipped')).toMatchObject([{ offset: 0, attempts: 1, reason: 'undecodable' }])
    expect(doneBy(t)).toEqual(['a:2'])
    t.assert.empty('g')
  })

  test('PROGRESS-132: a failure is told of too while the partition is given back, and after the subscription has ended', async () => {
    const fail: AppOptions['handler'] = async (_message, _context, clock) => {
      await clock.sleep(100)
      throw new Error('broken')
    }
    await using t = await openApp({ ...before, handler: fail })
    await sendAll(t, 'a:1')
    await t.advance(50)
    await t.resolve(t.wired.subscription.seek('latest'))
    await t.drain({ allowDead: 1 })
    expect(t.history.of('skipped')).toHaveLength(1)
    await sendAll(t, 'a:2')
    await t.advance(50)
    const ending = t.mq.deleteTopic('t')
    await t.advance(100)
    await t.resolve(ending)
    expect(t.history.of('skipped')).toMatchObject([{ offset: 0 }, { offset: 1 }])
  })

  test('PROGRESS-133: a message whose acknowledgement failed is not handed out', async () => {
    const { mq, run, runtime, storage } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    const called: string[] = []
    const ended: QueueEvents['subscription:ended'][] = []
    mq.on('subscription:ended', (event) => ended.push(event))
    const handler = ({ value }: { value: string }): void => void called.push(value)
    await run(topic.subscribe('g', handler, { from: 'earliest', ackMode: 'before' }))
    await run(topic.send({ value: '1' }))
    await runtime.settle()
    expect(called).toEqual(['1'])
    let commits = 0
    // The first one has the message, the second one its acknowledgement.
    storage.faults.commit = () => (++commits > 1 ? new Error('EIO') : undefined)
    await run(topic.send({ value: '2' }))
    await runtime.settle()
    expect(ended).toMatchObject([{ group: 'g', error: { code: 'STORE_FAILED' } }])
    expect(called).toEqual(['1'])
  })

  test('PROGRESS-134: nothing can commit with a message that is finished: the context says so', async () => {
    const seen: unknown[] = []
    const ask = (context: HandlerContext): (() => unknown)[] => [
      () => context.send({ name: 't', output: () => expect.fail('collected') }, { value: '1' }),
      () => context.store('s'),
      () => context.deadLetter('no'),
      () => context.retryAt(0),
    ]
    await using t = await openApp({
      ...before,
      handler: (_message, context) => {
        for (const call of ask(context)) {
          try {
            seen.push(call())
          } catch (error) {
            seen.push((error as { code: unknown }).code)
          }
        }
        expect(context).toMatchObject({ attempt: 1, signal: { aborted: false } })
      },
    })
    await sendAll(t, '1')
    await t.drain()
    expect(seen).toEqual(['UNSUPPORTED', 'UNSUPPORTED', 'UNSUPPORTED', 'UNSUPPORTED'])
    expect(t.history.of('failed')).toEqual([])
  })

  test('PROGRESS-135: what is about messages that are not finished is refused with it', async () => {
    await using t = await openApp()
    const { topic } = t.wired
    const wrong: [string, object][] = [
      ['ackMode', { ackMode: 'never' }],
      ['attempts', { ...before, attempts: 1 }],
      ['backoff', { ...before, backoff: [1] }],
      ['onExhausted', { ...before, onExhausted: 'skip' }],
      ['retryable', { ...before, retryable: () => true }],
      ['idempotency', { ...before, idempotency: {} }],
      ['batch', { ...before, batch: { max: 2 } }],
    ]
    for (const [option, options] of wrong) {
      const refused = topic.subscribe('h', () => {}, { from: 'earliest', ...options } as never)
      await expect(t.resolve(refused), option).rejects.toMatchObject({ code: 'INVALID_OPTION', option })
    }
    const pulled = topic.subscribe('h', { from: 'earliest', ...before })
    await expect(t.resolve(pulled)).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'ackMode' })
    const after = await t.resolve(topic.subscribe('h', () => {}, { from: 'earliest', ackMode: 'after', attempts: 1 }))
    expect(after.group).toBe('h')
  })

  test('PROGRESS-136: messages of a key run one at a time and in order, others beside them, within the concurrency', async () => {
    await using t = await openApp({ ...before, concurrency: 2, handler: lasting() })
    await sendAll(t, 'a:1', 'a:2', 'b:1', 'c:1', 'b:2', 'a:3')
    await t.advance(5)
    expect(t.history.of('start').map(({ value }) => value)).toEqual(['a:1', 'b:1'])
    await t.drain()
    const done = doneBy(t)
    for (const key of ['a', 'b']) {
      const own = done.filter((value) => value.startsWith(key))
      expect(own).toEqual(own.toSorted())
    }
    expect(done).toHaveLength(6)
  })

  test('PROGRESS-137: closing calls the handlers of what is finished, and waits for them', async () => {
    await using t = await openApp({ ...before, handler: lasting() })
    let lagAtClose = -1
    t.history.listen(({ kind }) => {
      if (kind !== 'settle' || lagAtClose >= 0) return
      lagAtClose = t.wired.subscription.lag().count
      void t.wired.subscription.close()
    })
    await sendAll(t, 'a:1', 'b:1')
    await t.advance('1s')
    expect(doneBy(t).toSorted(), 'called after the close began').toEqual(['a:1', 'b:1'])
    expect(t.history.of('left')).toHaveLength(1)
  })

  test('PROGRESS-138: a message that ends the process is not handed out again, and counts against nobody', async () => {
    const t: TestQueue = await openTest({
      wire: async (mq, { clock }) => {
        const topic = await mq.topic<string>('t')
        const from = 'earliest'
        await topic.subscribe('g', () => clock.sleep(10), { from, attempts: 2 })
        const deadly = ({ key }: Message<string>): unknown => (key === 'k' ? t.crash('power') : clock.sleep(10))
        await topic.subscribe('h', deadly, { from, ...before })
      },
    })
    await using _ = t
    await sendAll(t, 'a:1', 'k:1', 'b:1', 'k:2', 'a:2').catch(() => {})
    // What is careful with others leaves no mark of these.
    t.faults.crash({ at: 'settle:flushed', kind: 'process', group: 'h', nth: 3 })
    for (let crashes = 1; crashes <= 3; crashes++) {
      await t.advance('1m').catch(() => {})
      expect(t.history.of('crash')).toHaveLength(crashes)
      await t.restart()
    }
    await t.drain()
    const counted = t.history.of('deliver').filter(({ attempt }) => attempt > 1)
    expect(counted).toEqual([])
    expect(t.history.of('failed')).toEqual([])
    const deadly = t.history.of('deliver').filter(({ group, key }) => group === 'h' && key === 'k')
    expect(deadly.map(({ offset }) => offset)).toEqual([1, 3])
    t.assert.empty('g')
    t.assert.empty('h')
  })
})
