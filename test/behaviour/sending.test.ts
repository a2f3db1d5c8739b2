import { describe, expect, onTestFinished, test } from 'vitest'
import { openInMemory, type SendResult } from '../../src/index.ts'
import { messagesOf, virtualQueue } from './queue.ts'

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { code: string }) => error.code,
  )

describe('sending', () => {
  test('DURA-44: a flushed send settles when it is on disk, a buffered one before; each says which it was', async () => {
    const queue = await virtualQueue()
    const { mq, run } = queue
    const topic = await run(mq.topic<string>('t'))
    const settled: string[] = []
    const flushed = topic.send({ value: 'flushed' })
    void flushed.then(() => settled.push('flushed'))
    const buffered = topic.send({ value: 'buffered' }, { acks: 'buffered' })
    await buffered
    expect(settled).toEqual([])
    expect(await buffered).toMatchObject({ offset: 1, acks: 'buffered' })
    expect(await run(flushed)).toMatchObject({ offset: 0, acks: 'flushed', duplicate: false, partition: 0 })
    await topic.send({ value: 'never' }, { acks: 'buffered' })
    const again = await queue.crash('power')
    expect((await run(again.topic('t'))).offsets()).toEqual([{ start: 0, end: 2 }])
  })

  test('DURA-45: flush settles when everything sent before is on disk', async () => {
    const queue = await virtualQueue()
    const { mq, run } = queue
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    for (const value of ['1', '2', '3']) await topic.send({ key: value, value }, { acks: 'buffered' })
    let isFlushed = false
    const flush = mq.flush().then(() => (isFlushed = true))
    for (let turn = 0; turn < 100; turn++) await Promise.resolve()
    expect(isFlushed).toBe(false)
    await run(flush)
    const again = await queue.crash('power')
    const ends = (await run(again.topic('t'))).offsets().map(({ end }) => end)
    expect(ends[0]! + ends[1]!).toBe(3)
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
      const value = `${i}`.padEnd(200, '.')
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
    const { mq, run } = await virtualQueue({ maxInFlightBytes: 1_024, onFull: 'reject' })
    const topic = await run(mq.topic<string>('t'))
    const value = 'x'.repeat(400)
    const codes = Promise.all(Array.from({ length: 5 }, () => codeOf(topic.send({ value }))))
    const sent = await run(codes)
    expect(sent).toEqual(['ok', 'ok', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL'])
    const refused = await run(topic.send({ value }).catch((error: unknown) => error))
    expect(refused).not.toBeInstanceOf(Error)
    expect(topic.offsets()).toEqual([{ start: 0, end: 3 }])
  })

  test('BOUND-45: by default sends wait for room, at most so many; one more is refused', async () => {
    const { mq, run } = await virtualQueue({ maxInFlightBytes: 1_024, maxWaitingSends: 3 })
    const topic = await run(mq.topic<string>('t'))
    const value = 'x'.repeat(800)
    const sent = await run(Promise.all(Array.from({ length: 6 }, () => codeOf(topic.send({ value })))))
    expect(sent).toEqual(['ok', 'ok', 'ok', 'ok', 'IN_FLIGHT_FULL', 'IN_FLIGHT_FULL'])
    const large = 'x'.repeat(5_000)
    expect(await run(codeOf(topic.send({ value: large })))).toBe('ok')
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
    const { mq, run, runtime, storage } = await virtualQueue({ maxInFlightBytes: 1_024 })
    const events: string[] = []
    mq.on('store:full', ({ freeBytes }) => events.push(`full ${freeBytes}`))
    mq.on('store:available', ({ freeBytes }) => events.push(`available ${freeBytes}`))
    const topic = await run(mq.topic<string>('t', { maxValueBytes: 8_000_000 }))
    const other = await run(mq.topic<string>('other'))
    const send = (size: number): Promise<string> => codeOf(topic.send({ value: 'x'.repeat(size) }))
    const first = [send(5_000_000), send(5_000_000), send(5_000_000)]
    storage.faults.diskFreeBytes = 0
    expect(await run(send(5_000_000))).toBe('STORE_FULL')
    // Those that waited for room are not let in behind the reserve either.
    expect(await run(Promise.all(first))).toEqual(['ok', 'STORE_FULL', 'STORE_FULL'])
    expect(topic.offsets()[0]!.end).toBe(1)
    expect(await run(codeOf(other.sendBatch(messagesOf('1'))))).toBe('STORE_FULL')
    const subscription = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    await run(subscription.drain())
    expect(subscription.lag().count).toBe(0)
    await run(topic.trim(0, 1))
    await run(mq.deleteTopic('other'))
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
