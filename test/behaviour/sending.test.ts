import { describe, expect, onTestFinished, test } from 'vitest'
import { openInMemory, type SendResult, type TopicOptions } from '../../src/index.ts'
import { openTest, type OpenTestOptions, type TestQueue } from '../../src/testing/index.ts'
import { messagesOf, virtualQueue } from './queue.ts'

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { code: string }) => error.code,
  )

/** A topic `t` that nobody consumes. */
function openTopic(queue: OpenTestOptions['queue'] = {}, options: TopicOptions<string> = {}): Promise<TestQueue> {
  return openTest({ wire: async (mq) => void (await mq.topic<string>('t', options)), queue })
}

/** How sends ended that were refused. */
function refusals(t: TestQueue): unknown[] {
  return t.topic('t').refused.map(({ error }) => (error as { code?: string }).code)
}

describe('sending', () => {
  test('DURA-44: a flushed send settles when it is on disk, a buffered one before; each says which it was', async () => {
    await using t = await openTopic()
    const flushed = t.send('t', { value: 'flushed' })
    const buffered = await t.send('t', { value: 'buffered' }, { acks: 'buffered' })
    expect(buffered).toMatchObject({ offset: 1, acks: 'buffered' })
    expect([t.topic('t').pendingSends, t.topic('t').published]).toMatchObject([
      [{ value: 'flushed' }],
      [{ value: 'buffered' }],
    ])
    expect(await flushed).toMatchObject({ offset: 0, acks: 'flushed', duplicate: false, partition: 0 })
    await t.send('t', { value: 'never' }, { acks: 'buffered' })
    t.crash('power')
    await t.restart()
    expect((await t.resolve(t.mq.topic('t'))).offsets()).toEqual([{ start: 0, end: 2 }])
  })

  test('DURA-44: a flushed send that the power cuts off was not acknowledged; after its answer it is there', async () => {
    for (const [at, kind, left] of [
      ['send:applied', 'process', 1],
      ['send:applied', 'power', 0],
      ['send:flushed', 'power', 1],
    ] as const) {
      await using t = await openTopic()
      t.faults.crash({ at, kind })
      const sent = t.send('t', { value: 'v' })
      await expect(sent).rejects.toMatchObject({ code: 'CRASHED' })
      t.assert.none.published('t')
      await t.restart()
      // What is found in the store counts as acknowledged from here on.
      t.assert.published('t', { value: 'v' }, { times: left })
    }
  })

  test('DURA-45: flush settles when everything sent before is on disk', async () => {
    await using t = await openTopic({}, { partitions: 2 })
    const values = Array.from({ length: 3 }, (_, i) => `${i}`)
    for (const value of values) await t.send('t', { key: value, value }, { acks: 'buffered' })
    let isFlushed = false
    const flush = t.mq.flush().then(() => (isFlushed = true))
    for (let turn = 0; turn < 100; turn++) await Promise.resolve()
    expect(isFlushed).toBe(false)
    await t.resolve(flush)
    t.crash('power')
    await t.restart()
    const [log] = t.history.of('snapshot')
    expect(log!.logs.flatMap(({ records }) => records.map(({ value }) => String(value))).toSorted()).toEqual(values)
  })

  test('DURA-46: a queue in memory says so, and reports acks as memory', async () => {
    const mq = await openInMemory()
    onTestFinished(() => mq.close().then(() => {}))
    expect(mq.durability).toBe('memory')
    const topic = await mq.topic<string>('t')
    expect(await topic.send({ value: '1' })).toMatchObject({ acks: 'memory' })
    expect(await topic.send({ value: '2' }, { acks: 'buffered' })).toMatchObject({ acks: 'memory' })
    expect(await topic.sendBatch(messagesOf('3'))).toMatchObject([{ acks: 'memory', offset: 2 }])
    await expect(mq.backup('nowhere')).rejects.toMatchObject({ code: 'UNSUPPORTED' })
  })

  test('ORDER-54: sends take effect in the order of their calls, whatever they wait for', async () => {
    const { mq, run } = await virtualQueue({ maxInFlightBytes: 1_024 })
    const topic = await run(mq.topic<string>('t'))
    const sends: Promise<SendResult | SendResult[]>[] = []
    for (let i = 0; i < 40; i++) {
      // A small one would find room where a large one before it waits.
      const value = `${i}`.padEnd(i % 4 === 0 ? 700 : 20, '.')
      if (i % 5 === 4) sends.push(topic.sendBatch([{ value }]))
      else sends.push(topic.send({ value }, { acks: i % 3 === 0 ? 'buffered' : 'flushed' }))
    }
    expect(mq.stats().store.waitingSends).toBeGreaterThan(0)
    const results = (await run(Promise.all(sends))).flat()
    expect(results.map(({ offset }) => offset)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    const seen: number[] = []
    for await (const { value } of topic.read()) seen.push(Number.parseInt(value, 10))
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i))
  })

  test('a message goes to the partition given, else where its key hashes to, and without a key they take turns', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 4 }))
    expect((await run(topic.send({ key: 'k', value: '', partition: 3 }))).partition).toBe(3)
    const first = await run(topic.send({ key: 'k', value: '' }))
    const second = await run(topic.send({ key: 'k', value: '' }))
    expect(second.partition).toBe(first.partition)
    const value = 'x'.repeat(50_000)
    const results = await run(topic.sendBatch(Array.from({ length: 20 }, () => ({ value }))))
    expect(new Set(results.map(({ partition }) => partition)).size).toBe(4)
  })

  test('BOUND-44: when too much waits for the disk a send is refused at once, if that was chosen', async () => {
    await using t = await openTopic({ maxInFlightBytes: 1_024, onFull: 'reject' })
    const sends = Array.from({ length: 5 }, (_, i) => codeOf(t.send('t', { value: `${i}`.padEnd(400, '.') })))
    expect(await Promise.all(sends)).toEqual(['ok', 'ok', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL'])
    t.assert.published('t', { offset: 1 }, { times: 1 })
    expect(await codeOf(t.send('t', { value: 'again' }))).toBe('ok')
    expect(refusals(t)).toEqual(['IN_FLIGHT_FULL', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL'])
    t.assert.published('t', {}, { times: 3 })
  })

  test('BOUND-45: by default sends wait for room, at most so many; one more is refused', async () => {
    await using t = await openTopic({ maxInFlightBytes: 1_024, maxWaitingSends: 3 })
    const sends = Array.from({ length: 6 }, (_, i) => codeOf(t.send('t', { value: `${i}`.padEnd(800, '.') })))
    expect(await Promise.all(sends)).toEqual(['ok', 'ok', 'ok', 'ok', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL'])
    expect(t.topic<string>('t').published.map(({ value }) => value[0])).toEqual(['0', '1', '2', '3'])
    expect(t.topic<string>('t').refused.map(({ value }) => value[0])).toEqual(['4', '5'])
    // One that is larger than the room there is goes alone.
    expect(await codeOf(t.send('t', { value: 'x'.repeat(5_000) }))).toBe('ok')
  })

  test('a send that waits for room can be taken back by its signal; one that was accepted cannot', async () => {
    const { mq, run } = await virtualQueue({ maxInFlightBytes: 1_024 })
    const topic = await run(mq.topic<string>('t'))
    const value = 'x'.repeat(1_000)
    const control = new AbortController()
    const { signal } = control
    const sends = [1, 2, 3].map(() => codeOf(topic.send({ value }, { signal })))
    const other = codeOf(topic.send({ value: 'other' }))
    control.abort()
    expect(await run(Promise.all([...sends, other]))).toEqual(['ok', 'ABORTED', 'ABORTED', 'ok'])
    expect(await run(codeOf(topic.send({ value }, { signal })))).toBe('ABORTED')
    expect(topic.offsets()[0]!.end).toBe(2)
  })

  test('sends that wait for room when the queue closes are refused with CLOSED', async () => {
    const { mq, run } = await virtualQueue({ maxInFlightBytes: 1_024 })
    const topic = await run(mq.topic<string>('t'))
    const sends = Array.from({ length: 4 }, () => codeOf(topic.send({ value: 'x'.repeat(1_000) })))
    const closing = mq.close()
    const codes = await run(Promise.all(sends))
    await run(closing)
    expect(codes[0]).toBe('ok')
    expect(codes.at(-1)).toBe('CLOSED')
    expect(await codeOf(topic.send({ value: 'late' }))).toBe('CLOSED')
  })

  test('BOUND-46: when the disk is nearly full sends are refused, and acknowledging, trimming and deleting go on', async () => {
    await using t = await openTest({
      wire: async (mq) => {
        const topic = await mq.topic<string>('t', { retention: { maxAgeMs: 1_000 } })
        await mq.topic('other')
        await topic.subscribe('g', () => {}, { from: 'earliest', backoff: { delayMs: 100, jitter: 0 } })
        return topic
      },
      queue: { retentionCheckMs: 100 },
    })
    t.handler('g').failTimes(1)
    await t.send('t', { value: 'before' })
    t.faults.storeFull({ for: '5s' })
    await expect(t.send('t', { value: 'during' })).rejects.toMatchObject({ code: 'STORE_FULL' })
    await expect(t.send('other', { value: 'during' })).rejects.toMatchObject({ code: 'STORE_FULL' })
    await t.drain()
    t.assert.committed('g', { t: [1] })
    await t.advance('2s')
    expect(t.wired.offsets()).toEqual([{ start: 1, end: 1 }])
    await t.resolve(t.mq.deleteTopic('other'))
    await expect(t.send('t', { value: 'still' })).rejects.toMatchObject({ code: 'STORE_FULL' })
    await t.advance('3s')
    await t.send('t', { value: 'after' })
    await t.drain()
    t.assert.delivered('g', { value: 'after' }, { times: 1 })
    expect(t.timeline()).toMatchInlineSnapshot(`
      "+0s     send     t[0]@0                     'before'
              fault    error: the handler fails at handler:start g t[0]@0
              start    g t[0]@0 #1
              fail     g t[0]@0 #1 InjectedFailure, retry in 100ms
              fault    full: the store has no room
              full     store
              refuse   t[0] STORE_FULL
              refuse   other[0] STORE_FULL
      +100ms  start    g t[0]@0 #2
              done     g t[0]@0 #2
      idle    empty after 100ms virtual
      +1.1s   trim     t[0] below @1
      +2.1s   delete   other
              refuse   t[0] STORE_FULL
      +5.1s   free     store
              send     t[0]@1                     'after'
              start    g t[0]@1 #1
              done     g t[0]@1 #1
      idle    empty after 5.1s virtual"
    `)
  })

  test('BOUND-46: those that wait for room are not let in behind the reserve of the disk either', async () => {
    const { mq, run, runtime, storage } = await virtualQueue({ maxInFlightBytes: 1_024 })
    const events: string[] = []
    mq.on('store:full', ({ freeBytes }) => events.push(`full ${freeBytes}`))
    mq.on('store:available', ({ freeBytes }) => events.push(`available ${freeBytes}`))
    const topic = await run(mq.topic<string>('t', { maxValueBytes: 8_000_000 }))
    const send = (size: number): Promise<string> => codeOf(topic.send({ value: 'x'.repeat(size) }))
    const first = [send(5_000_000), send(5_000_000), send(5_000_000)]
    storage.faults.diskFreeBytes = 0
    expect(await run(send(5_000_000))).toBe('STORE_FULL')
    expect(await run(Promise.all(first))).toEqual(['ok', 'STORE_FULL', 'STORE_FULL'])
    expect(topic.offsets()[0]!.end).toBe(1)
    expect(await run(codeOf(topic.sendBatch(messagesOf('1'))))).toBe('STORE_FULL')
    storage.faults.diskFreeBytes = 5_000
    expect(await run(send(10))).toBe('ok')
    await runtime.settle()
    expect(events).toEqual(['full 0', 'available 5000'])
  })

  test('a commit that fails stops the queue: who waits is told that the outcome is unknown, and nothing goes on', async () => {
    const { mq, run, runtime, storage } = await virtualQueue()
    const failures: string[] = []
    mq.on('store:failed', ({ error }) => failures.push(error.code))
    const topic = await run(mq.topic<string>('t'))
    const subscription = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    storage.faults.commit = () => new Error('EIO')
    expect(await run(codeOf(topic.send({ value: '1' })))).toBe('STORE_FAILED')
    storage.faults.commit = undefined
    expect(await run(codeOf(topic.send({ value: '2' })))).toBe('STORE_FAILED')
    expect(await run(codeOf(mq.flush()))).toBe('STORE_FAILED')
    await runtime.settle()
    expect(subscription.failure?.code).toBe('STORE_FAILED')
    expect(failures).toEqual(['STORE_FAILED'])
    await run(mq.close())
    expect(runtime.timers()).toEqual([])
  })
})
