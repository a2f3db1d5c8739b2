import { describe, expect, test } from 'vitest'
import type { DeadLetters, Message, RedriveFacts } from '../../src/index.ts'
import type { TestQueue } from '../../src/testing/index.ts'
import { doneBy, openApp, sendAll, type App, type AppOptions } from './app.ts'
import { messagesOf, virtualQueue } from './queue.ts'

/** Values that fail now. */
let bad: (value: string) => boolean = () => true

const openDying = (options: AppOptions = {}): Promise<TestQueue<App>> => {
  bad = () => true
  return openApp({
    handler: ({ value }) => {
      if (bad(value)) throw Object.assign(new Error(`no ${value}`), { code: `E${value.at(-1)}` })
    },
    attempts: 1,
    ...options,
  })
}

const lettersOf = (t: TestQueue<App>): DeadLetters => t.mq.group('g').deadLetters()

async function valuesIn(t: TestQueue<App>): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const { value } of lettersOf(t)) values.push(value)
  return values
}

/** What was sent back, as it lies in the topic. */
async function redrivenIn(t: TestQueue<App>): Promise<[value: string, facts: RedriveFacts][]> {
  const found: [string, RedriveFacts][] = []
  for await (const { value, redriveFacts } of t.wired.topic.read()) if (redriveFacts) found.push([value, redriveFacts])
  return found
}

describe('dead letters', () => {
  test('LOSS-90: are listed, filtered, counted and shown page by page, with their facts and raw bytes', async () => {
    await using t = await openDying()
    const letters = lettersOf(t)
    expect([await letters.count(), await t.resolve(letters.list())]).toEqual([0, { letters: [], next: undefined }])
    await sendAll(t, 'a:1', 'b:2', 'a:3')
    await t.drain({ allowDead: 3 })
    await t.resolve(t.clock.sleep(1_000))
    const since = t.clock.now()
    await sendAll(t, 'a:4')
    await t.drain({ allowDead: 4 })
    const list = async (options: Parameters<DeadLetters['list']>[0]): Promise<unknown[]> =>
      (await t.resolve(letters.list(options))).letters.map(({ value }) => value)
    expect(await list({})).toEqual(['a:1', 'b:2', 'a:3', 'a:4'])
    expect(await list({ key: 'a' })).toEqual(['a:1', 'a:3', 'a:4'])
    expect(await list({ since })).toEqual(['a:4'])
    expect(await list({ errorCode: 'E2' })).toEqual(['b:2'])
    expect(await list({ key: 'a', predicate: ({ facts }) => facts.offset > 0 })).toEqual(['a:3', 'a:4'])
    const first = await t.resolve(letters.list({ limit: 3 }))
    expect(first.next).toEqual({ partition: 0, offset: 2 })
    expect(await list({ limit: 3, after: first.next! })).toEqual(['a:4'])
    expect([await t.resolve(letters.count()), await t.resolve(letters.count({ key: 'b' }))]).toEqual([4, 1])
    const one = await t.resolve(letters.get({ partition: 0, offset: 1 }))
    expect(one).toMatchObject({ key: 'b', facts: { offset: 1, lastError: { code: 'E2' } } })
    expect(one!.bytes.toString()).toBe('"b:2"')
    expect(await t.resolve(letters.get({ partition: 0, offset: 9 }))).toBeUndefined()
    expect(await t.resolve(letters.get({ partition: 9, offset: 0 }))).toBeUndefined()
  })

  test('LOSS-91: that are deleted are gone for good, over a restart, and retention frees their room', async () => {
    await using t = await openDying()
    await sendAll(t, 'a:1', 'b:2', 'a:3')
    await t.drain({ allowDead: 3 })
    expect(await t.resolve(lettersOf(t).delete({ key: 'a' }))).toBe(2)
    expect(await valuesIn(t)).toEqual(['b:2'])
    t.crash('power')
    await t.restart()
    expect(await t.resolve(lettersOf(t).count())).toBe(1)
    expect(await t.resolve(lettersOf(t).delete())).toBe(1)
    expect(await t.resolve(lettersOf(t).delete())).toBe(0)
    const topic = t.mq.environment.broker.topic('t.g.dlq')!
    expect(topic.offsets(0)).toEqual({ start: 0, end: 3 })
    await t.resolve(t.clock.sleep(3_600_000))
    expect(topic.offsets(0)).toEqual({ start: 3, end: 3 })
  })
})

describe('a redrive', () => {
  test('LOSS-92: sends letters back once, to their group alone, with bytes, key and headers, and attempts begin anew', async () => {
    await using t = await openDying({ attempts: 2, backoff: { type: 'fixed', delayMs: 5 } })
    const others: string[] = []
    await t.resolve(
      t.wired.topic.subscribe('other', ({ value }: Message<string>) => void others.push(value), { from: 'earliest' }),
    )
    await t.send('t', { key: 'a', value: 'a:1', headers: { source: 'web' } })
    await sendAll(t, 'b:2')
    await t.drain({ allowDead: 2 })
    bad = () => false
    const progress: unknown[] = []
    const events: unknown[] = []
    t.mq.on('dead-letters:redriven', (event) => events.push(event))
    const result = await t.resolve(lettersOf(t).redrive({ onProgress: (seen) => progress.push(seen) }))
    expect(result).toEqual({ redriven: 2, exhausted: 0, isLimited: false })
    expect(progress).toEqual([{ redriven: 2, exhausted: 0 }])
    expect(events).toEqual([{ group: 'g', topic: 't', deadLetterTopic: 't.g.dlq', count: 2 }])
    await t.drain()
    expect(doneBy(t).filter((value) => value === 'a:1')).toHaveLength(2)
    expect(others).toEqual(['a:1', 'b:2'])
    expect((await redrivenIn(t))[0]).toEqual([
      'a:1',
      { group: 'g', count: 1, origin: { partition: 0, offset: 0, id: expect.any(String) as string } },
    ])
    const [copy] = t.history.of('deliver').filter(({ offset, group }) => offset === 2 && group === 'g')
    expect(copy).toMatchObject({ key: 'a', attempt: 1 })
    expect(await t.resolve(lettersOf(t).redrive())).toMatchObject({ redriven: 0 })
    t.assert.committed('other', { t: [4] })
  })

  for (const at of [
    'transaction:before',
    'send:applied',
    'settle:applied',
    'settle:flushed',
    'commit:before',
    'commit:flushed',
  ] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`LOSS-93: nothing is lost and nothing goes back twice when the ${kind} fails at ${at} of a redrive`, async () => {
        await using t = await openDying()
        await sendAll(t, 'a:1', 'b:2', 'a:3')
        await t.drain({ allowDead: 3 })
        expect(await t.resolve(lettersOf(t).count())).toBe(3)
        bad = () => false
        t.faults.crash({ at, kind })
        void lettersOf(t)
          .redrive({ rate: 20 })
          .catch(() => {})
        await t.drain({ allowDead: 3 }).catch(() => {})
        t.assert.crashed()
        await t.restart()
        const left = await t.resolve(lettersOf(t).count())
        const copies = await redrivenIn(t)
        expect(left + copies.length).toBe(3)
        await t.resolve(lettersOf(t).redrive())
        await t.drain({ allowDead: 3 })
        expect((await redrivenIn(t)).map(([value]) => value)).toEqual(['a:1', 'b:2', 'a:3'])
        expect(await t.resolve(lettersOf(t).count())).toBe(0)
      })
    }
  }

  test('LOSS-94: two at once, and a deletion beside them, share the letters: none is taken twice', async () => {
    await using t = await openDying()
    await sendAll(t, ...Array.from({ length: 600 }, (_, i) => `k${i % 7}:${i}`))
    await t.drain({ allowDead: 600 })
    bad = () => false
    const letters = lettersOf(t)
    const [one, other, deleted] = await t.resolve(
      Promise.all([letters.redrive(), lettersOf(t).redrive(), letters.delete({ key: 'k3' })]),
    )
    await t.drain({ allowDead: 600 })
    expect(one.redriven + other.redriven + deleted).toBe(600)
    const values = (await redrivenIn(t)).map(([value]) => value)
    expect(new Set(values).size).toBe(values.length)
    expect(values).toHaveLength(one.redriven + other.redriven)
    expect(await t.resolve(letters.count())).toBe(0)
  })

  test('LOSS-95: what fails again comes back with one more redrive counted, until maxRedrives leaves it where it is', async () => {
    await using t = await openDying({ attempts: 2, backoff: { type: 'fixed', delayMs: 5 } })
    await sendAll(t, 'a:1')
    await t.drain({ allowDead: 1 })
    const letters = lettersOf(t)
    const origin = { partition: 0, offset: 0, id: expect.any(String) as string }
    for (const redrives of [1, 2]) {
      expect(await t.resolve(letters.redrive({ maxRedrives: 2 }))).toMatchObject({ redriven: 1, exhausted: 0 })
      await t.drain({ allowDead: 3 })
      const { letters: all } = await t.resolve(letters.list())
      expect(all).toHaveLength(1)
      expect(all[0]!.facts).toMatchObject({ redrives, origin, attempts: 2, offset: redrives })
    }
    expect(await t.resolve(letters.redrive({ maxRedrives: 2 }))).toEqual({
      redriven: 0,
      exhausted: 1,
      isLimited: false,
    })
    expect(await t.resolve(letters.count())).toBe(1)
    expect(t.group('g').delivered).toHaveLength(6)
  })

  test('PROGRESS-120: keeps to its rate, ends at its limit, tells how far it is, and stops when its signal is aborted', async () => {
    await using t = await openDying()
    await sendAll(t, ...Array.from({ length: 30 }, (_, i) => `k:${i}`))
    await t.drain({ allowDead: 30 })
    bad = () => false
    const letters = lettersOf(t)
    const begunAt = t.clock.now()
    const seen: [ms: number, redriven: number][] = []
    const onProgress = ({ redriven }: { redriven: number }): void => void seen.push([t.clock.now() - begunAt, redriven])
    expect(await t.resolve(letters.redrive({ rate: 50, limit: 12, onProgress }))).toMatchObject({
      redriven: 12,
      isLimited: true,
    })
    expect(seen).toEqual([
      [0, 5],
      [100, 10],
      [200, 12],
    ])
    const stop = new AbortController()
    const stopped = letters.redrive({
      rate: 1,
      signal: stop.signal,
      onProgress: ({ redriven }) => redriven === 2 && stop.abort(new Error('enough')),
    })
    await expect(t.resolve(stopped)).rejects.toMatchObject({ code: 'ABORTED', count: 2 })
    expect(await t.resolve(letters.count())).toBe(16)
    await expect(t.resolve(letters.delete({ signal: stop.signal }))).rejects.toMatchObject({
      code: 'ABORTED',
      count: 0,
    })
    expect(await t.resolve(letters.redrive())).toMatchObject({ redriven: 16, isLimited: false })
    await t.drain({ allowDead: 30 })
    expect((await redrivenIn(t)).map(([value]) => value)).toEqual(Array.from({ length: 30 }, (_, i) => `k:${i}`))
  })

  test('PROGRESS-121: ends when the queue is told to close, although it waits for its rate, and handlers still run', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.subscribe('g', () => Promise.reject(new Error('no')), { from: 'earliest', attempts: 1 }))
    await run(topic.sendBatch(messagesOf('a:1', 'a:2')))
    await settle()
    let end = (): void => {}
    const hold = (): Promise<void> => new Promise((resolve) => (end = resolve))
    await run(topic.subscribe('slow', hold, { from: { offset: 1 } }))
    await settle()
    let error: unknown
    mq.group('g')
      .deadLetters()
      .redrive({ rate: 0.001 })
      .catch((thrown: unknown) => (error = thrown))
    await settle()
    expect(topic.offsets()).toMatchObject([{ end: 3 }])
    const closing = mq.close()
    await settle()
    expect(error).toMatchObject({ code: 'CLOSED' })
    end()
    await run(closing)
    expect(topic.offsets()).toMatchObject([{ end: 3 }])
  })

  test('ORDER-92: what failed again goes before the later letters of its key, slice by slice, while the group consumes', async () => {
    await using t = await openDying({ partitions: 2 })
    await sendAll(t, 'a:1', 'b:1')
    await t.drain({ allowDead: 2 })
    await t.resolve(lettersOf(t).redrive({ key: 'a' }))
    await sendAll(t, 'a:2', 'a:3')
    await t.drain({ allowDead: 5 })
    await t.resolve(lettersOf(t).redrive({ predicate: ({ value }) => value === 'a:2' || value === 'a:1' }))
    await t.drain({ allowDead: 9 })
    expect((await valuesIn(t)).filter((value) => value !== 'b:1')).toEqual(['a:3', 'a:1', 'a:2'])
    bad = () => false
    expect(await t.resolve(lettersOf(t).redrive({ rate: 1 }))).toMatchObject({ redriven: 4 })
    await t.drain({ allowDead: 9 })
    expect(doneBy(t).filter((value) => value !== 'b:1')).toEqual(['a:1', 'a:2', 'a:3'])
  })
})
