import { describe, expect, test } from 'vitest'
import { openApp, sendAll } from './app.ts'

const backoff = { type: 'fixed', delayMs: 1_000, jitter: 0 } as const

/** [attempt, virtual time] of each delivery of an offset. */
function triesOf(t: Awaited<ReturnType<typeof openApp>>, offset: number): [number, number][] {
  return t.history.of('deliver').flatMap((one) => (one.offset === offset ? [[one.attempt, one.at]] : []))
}

describe('attempts over restarts', () => {
  for (const kind of ['process', 'power'] as const) {
    test(`PROGRESS-80: a failed message keeps its attempts and its time over a ${kind} crash, and its key waits`, async () => {
      await using t = await openApp({ attempts: 4, onExhausted: 'park-key', backoff })
      t.handler('g').failTimes(2, undefined, { key: 'a' })
      await sendAll(t, 'a:1', 'a:2', 'b:1')
      await t.advance('400ms')
      t.crash(kind)
      await t.restart()
      await t.advance('599ms')
      expect(t.group('g').delivered.filter(({ key }) => key === 'a')).toHaveLength(1)
      t.assert.delivered('g', { key: 'b' }, { times: 1 })
      await t.advance(1)
      t.crash(kind)
      await t.restart()
      await t.drain()
      expect(triesOf(t, 0)).toEqual([
        [1, 0],
        [2, 1_000],
        [3, 2_000],
      ])
      expect(triesOf(t, 1)).toEqual([[1, 2_000]])
      t.assert.committed('g', { t: [3] })
    })
  }

  test('PROGRESS-81: a failure whose settlement the crash cut off was not counted', async () => {
    await using t = await openApp({ attempts: 4, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(1)
    t.faults.crash({ at: 'settle:before', group: 'g' })
    await sendAll(t, 'a:1').catch(() => {})
    await t.settle()
    t.assert.crashed()
    await t.restart()
    await t.drain()
    expect(triesOf(t, 0).map(([attempt]) => attempt)).toEqual([1, 1])
  })

  test('PROGRESS-82: a parked key stays parked over a crash, until it is told to go on with its attempts counted anew', async () => {
    await using t = await openApp({ attempts: 2, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(2, undefined, { key: 'a' })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.drain({ allowDead: 1 })
    t.crash('power')
    await t.restart()
    expect((await t.drain()).idle).toBe('parked')
    const { subscription } = t.wired
    expect(subscription.parkedKeys()).toMatchObject([{ topic: 't', partition: 0, offset: 0, key: 'a', attempts: 2 }])
    expect(subscription.release()).toBe(1)
    await t.drain()
    expect(triesOf(t, 0).map(([attempt]) => attempt)).toEqual([1, 2, 1])
    t.assert.empty('g')
  })

  test('a message that was finished, or that the group was moved past, has not failed any more', async () => {
    await using t = await openApp({ attempts: 9, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(1, undefined, { offset: 0 })
    t.handler('g').failTimes(1, undefined, { offset: 1 })
    await sendAll(t, 'a:1', 'b:1')
    await t.drain()
    t.handler('g').failTimes(1, undefined, { offset: 1 })
    await t.resolve(t.mq.group('g').seek('earliest'))
    await t.drain()
    expect(
      t
        .group('g')
        .delivered.map(({ offset, attempt }) => [offset, attempt])
        .slice(-3),
    ).toEqual([
      [0, 1],
      [1, 1],
      [1, 2],
    ])
  })

  test('fewer attempts than before stop what has used them up', async () => {
    await using t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff })
    t.handler('g').failTimes(3)
    await sendAll(t, 'a:1')
    await t.advance('2s')
    await t.resolve(t.wired.subscription.close())
    const topic = await t.mq.topic<string>('t')
    const next = await t.resolve(topic.subscribe('g', () => {}, { attempts: 3, onExhausted: 'park-key', backoff }))
    await t.settle()
    expect(next.parkedKeys()).toMatchObject([{ offset: 0, attempts: 3 }])
  })

  test('a wall clock that was set back makes no wait longer than the back-off allows', async () => {
    await using t = await openApp({ attempts: 5, onExhausted: 'park-key', backoff: { ...backoff, maxDelayMs: 2_000 } })
    t.handler('g').failTimes(1)
    await sendAll(t, 'a:1')
    await t.settle()
    t.crash()
    t.faults.wallClock('-1h')
    await t.restart()
    await t.drain()
    expect(triesOf(t, 0)).toEqual([
      [1, 0],
      [2, 2_000],
    ])
  })
})
