import { describe, expect, test } from 'vitest'
import type {
  CheckAnswer,
  CheckOptions,
  MessageQueue,
  PreparedContent,
  PreparedMessage,
  Producer,
  QueueEvents,
  Topic,
} from '../../src/index.ts'
import { openTest, type OpenTestOptions, type TestQueue } from '../../src/testing/index.ts'

interface Shop {
  readonly mq: MessageQueue
  readonly orders: Topic<string>
  readonly producer: Producer
  readonly dead: QueueEvents['prepared:dead-lettered'][]
}

type Ask = (message: PreparedContent, signal: AbortSignal) => CheckAnswer | Promise<CheckAnswer>

interface ShopOptions {
  readonly checker?: Ask
  readonly check?: CheckOptions
  readonly maxPrepared?: number
  readonly maxPreparedBytes?: number
  readonly test?: Partial<OpenTestOptions<Shop>>
}

/** A topic `orders`, a group that takes everything, and a producer `shop`. */
function openShop({ checker, test: more, ...options }: ShopOptions = {}): Promise<TestQueue<Shop>> {
  return openTest<Shop>({
    ...more,
    wire: async (mq) => {
      const orders = await mq.topic<string>('orders')
      await orders.subscribe('billing', () => {}, { from: 'earliest' })
      const dead: Shop['dead'] = []
      mq.on('prepared:dead-lettered', (event) => void dead.push(event))
      const asking = checker
        ? { checker: (m: PreparedContent, c: { signal: AbortSignal }) => checker(m, c.signal) }
        : {}
      const producer = await mq.producer({ name: 'shop', ...options, ...asking })
      return { mq, orders, producer, dead }
    },
  })
}

function prepare(t: TestQueue<Shop>, value: string): Promise<PreparedMessage<string>> {
  return t.resolve(t.wired.producer.prepare(t.wired.orders, { key: value, value }))
}

/** What everyone can see, in order. */
async function visible(t: TestQueue<Shop>): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of t.wired.orders.read()) values.push(value)
  return values
}

async function waiting(t: TestQueue<Shop>, producer: Producer = t.wired.producer): Promise<unknown[]> {
  const values: unknown[] = []
  await t.resolve(
    (async () => {
      for await (const { value } of producer.prepared()) values.push(value)
    })(),
  )
  return values
}

const answers = (t: TestQueue<Shop>): string[] =>
  t.history.of('checked').map(({ at, key, check, answer }) => `${at} ${key} #${check} ${answer}`)

const ended = expect.objectContaining({ code: 'PREPARED_ENDED', producer: 'shop', retriable: false }) as unknown

const points = [
  'prepare:before',
  'decide:before',
  'prepared:applied',
  'prepared:flushed',
  'commit:before',
  'commit:applied',
  'commit:flushed',
] as const

describe('a prepared message', () => {
  test('ONCE-100: is seen by nobody until it is committed, and then where the commit put it', async () => {
    await using t = await openShop()
    const first = await prepare(t, 'a')
    expect(first).toMatchObject({ id: '1.1', topic: 'orders', key: 'a', value: 'a', checks: 0 })
    await t.send('orders', { value: 'between' })
    await t.drain()
    expect(await visible(t)).toEqual(['between'])
    expect(await waiting(t)).toEqual(['a'])
    expect(await t.resolve(first.commit())).toMatchObject({ partition: 0, offset: 1, acks: 'flushed' })
    await t.drain()
    expect(await visible(t)).toEqual(['between', 'a'])
    expect(t.group('billing').delivered.map(({ value }) => value)).toEqual(['between', 'a'])
    expect(await waiting(t)).toEqual([])
  })

  test('ONCE-101: is decided about once: again is harmless, the other way is an error', async () => {
    await using t = await openShop()
    const [kept, dropped] = [await prepare(t, 'kept'), await prepare(t, 'dropped')]
    const results = await t.resolve(Promise.all([kept.commit(), kept.commit()]))
    expect(await t.resolve(kept.commit())).toEqual(results[0])
    expect(results[1]).toEqual(results[0])
    await t.resolve(Promise.all([dropped.rollback(), dropped.rollback()]))
    await expect(t.resolve(kept.rollback())).rejects.toEqual(ended)
    await expect(t.resolve(dropped.commit())).rejects.toEqual(ended)
    const racing = await prepare(t, 'racing')
    const [rollback, commit] = await t.resolve(Promise.allSettled([racing.rollback(), racing.commit()]))
    expect([rollback.status, commit.status]).toEqual(['fulfilled', 'rejected'])
    expect(await visible(t)).toEqual(['kept'])
  })

  for (const power of [false, true]) {
    for (const at of points) {
      test(`ONCE-102: is there or visible, never both or neither, when the ${power ? 'power' : 'process'} fails at ${at}`, async () => {
        const decided = ['prepare:before', 'decide:before'].includes(at) ? [1] : [1, 2, 3]
        // The commits that prepare, commit and roll back, one after the other.
        for (const nth of decided) {
          await using t = await openShop()
          t.faults.crash({ at, kind: power ? 'power' : 'process', nth } as never)
          const { producer, orders } = t.wired
          const work = async (): Promise<void> => {
            const kept = await producer.prepare(orders, { key: 'kept', value: 'kept' })
            await kept.commit()
            const dropped = await producer.prepare(orders, { key: 'dropped', value: 'dropped' })
            await dropped.rollback()
          }
          void work()
          await t.settle()
          t.assert.crashed()
          await t.restart()
          await t.drain()
          const seen = await visible(t)
          const left = await waiting(t)
          expect([...seen, ...left].filter((value) => value === 'kept').length).toBeLessThanOrEqual(1)
          expect(seen).not.toContain('dropped')
          // Who is left decides; the invariants of the kit watch it.
          await t.resolve(
            (async () => {
              for await (const message of t.wired.producer.prepared()) await message.commit()
            })(),
          )
          await t.drain()
          expect(new Set(await visible(t)).size).toBe(seen.length + left.length)
        }
      })
    }
  }

  test('ONCE-103: survives a restart with its content, and is decided about by who opens the name', async () => {
    await using t = await openShop()
    const { producer, mq } = t.wired
    const raw = await t.resolve(mq.topic<Uint8Array>('raw', { codec: 'bytes', partitions: 3 }))
    const value = Uint8Array.of(0, 255, 128)
    await t.resolve(producer.prepare(raw, { key: 'k', value, headers: { source: 'web' }, partition: 2 }))
    t.crash('power')
    await t.restart()
    for await (const message of t.wired.producer.prepared()) {
      expect(message).toMatchObject({ topic: 'raw', key: 'k', headers: { source: 'web' }, value: Buffer.from(value) })
      expect(await t.resolve(message.commit())).toMatchObject({ partition: 2, offset: 0 })
    }
    const again = await t.resolve(t.wired.mq.topic<Uint8Array>('raw'))
    for await (const message of again.read()) {
      expect(message).toMatchObject({ key: 'k', headers: { source: 'web' }, value: Buffer.from(value) })
    }
  })

  test('ONCE-104: is refused to a producer that was fenced, and its commit as well', async () => {
    await using t = await openShop()
    const { mq, producer, orders } = t.wired
    const message = await prepare(t, 'a')
    const newer = await t.resolve(mq.producer({ name: 'shop' }))
    const fenced = { code: 'FENCED', producer: 'shop' }
    await expect(t.resolve(producer.prepare(orders, { value: 'b' }))).rejects.toMatchObject(fenced)
    await expect(t.resolve(message.commit())).rejects.toMatchObject(fenced)
    await expect(t.resolve(message.rollback())).rejects.toMatchObject(fenced)
    expect(await waiting(t, newer)).toEqual(['a'])
    for await (const found of newer.prepared()) await t.resolve(found.commit())
    expect(await visible(t)).toEqual(['a'])
    await expect(t.resolve(message.commit()), 'the fence is what it is told of').rejects.toMatchObject(fenced)
  })

  test('ONCE-105: is one of at most so many, of so many bytes', async () => {
    await using t = await openShop({ maxPrepared: 2 })
    const first = await prepare(t, 'a')
    await prepare(t, 'b')
    const full = { code: 'PREPARED_FULL', retriable: true, producer: 'shop' }
    await expect(prepare(t, 'c')).rejects.toMatchObject({
      ...full,
      option: 'maxPrepared',
      allowed: 'at most 2 messages',
    })
    t.crash('power')
    await t.restart()
    await expect(prepare(t, 'c')).rejects.toMatchObject(full)
    await expect(t.resolve(first.commit()).catch(() => 'of a process that is over')).resolves.toBeDefined()
    for await (const message of t.wired.producer.prepared()) await t.resolve(message.rollback())
    await prepare(t, 'c')
    const small = await t.resolve(t.wired.mq.producer({ name: 'small', maxPreparedBytes: 1_024 }))
    const refused = t.resolve(small.prepare(t.wired.orders, { value: 'x'.repeat(1_024) }))
    await expect(refused).rejects.toMatchObject({ ...full, producer: 'small', option: 'maxPreparedBytes' })
  })

  test('ONCE-106: is not taken by a full disk, which lets it be committed and rolled back all the same', async () => {
    await using t = await openShop()
    const [kept, dropped] = [await prepare(t, 'kept'), await prepare(t, 'dropped')]
    t.faults.storeFull({ for: '10s' })
    await expect(prepare(t, 'late')).rejects.toMatchObject({ code: 'STORE_FULL' })
    await t.resolve(Promise.all([kept.commit(), dropped.rollback()]))
    expect(await visible(t)).toEqual(['kept'])
    expect(await waiting(t)).toEqual([])
  })

  test('ONCE-107: stays prepared when its topic is gone, or holds something else', async () => {
    await using t = await openShop()
    const { mq, producer } = t.wired
    const gone = await t.resolve(mq.topic<string>('gone', { partitions: 4 }))
    const message = await t.resolve(producer.prepare(gone, { key: 'k', value: 'a', partition: 3 }))
    await t.resolve(mq.deleteTopic('gone'))
    await expect(t.resolve(producer.prepare(gone, { value: 'b' }))).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' })
    await expect(t.resolve(message.commit())).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND', topic: 'gone' })
    await t.resolve(mq.topic('gone', { codec: 'bytes' }))
    await expect(t.resolve(message.commit())).rejects.toMatchObject({ code: 'TOPIC_CONFLICT', topic: 'gone' })
    await t.resolve(mq.deleteTopic('gone'))
    await t.resolve(mq.topic('gone'))
    expect(await t.resolve(message.commit())).toMatchObject({ partition: 0, offset: 0 })
  })

  test('is only for producers with a name, of topics of this queue, and checked as a send', async () => {
    await using t = await openShop()
    const { mq, orders, producer } = t.wired
    const nameless = await t.resolve(mq.producer())
    const refused = (option: string): unknown => expect.objectContaining({ code: 'INVALID_OPTION', option })
    await expect(nameless.prepare(orders, { value: 'a' })).rejects.toEqual(refused('name'))
    expect(() => nameless.prepared()).toThrow(refused('name') as Error)
    await expect(mq.producer({ checker: () => 'commit' })).rejects.toEqual(refused('checker'))
    await expect(mq.producer({ check: { timeoutMs: 5 } })).rejects.toEqual(refused('check'))
    await expect(mq.producer({ name: 'x', checker: 5 as never })).rejects.toEqual(refused('checker'))
    await expect(mq.producer({ name: 'x', check: { timeoutMs: 0 } })).rejects.toEqual(refused('timeoutMs'))
    const inverted = { delayMs: 10, maxDelayMs: 5 }
    await expect(mq.producer({ name: 'x', check: inverted })).rejects.toEqual(refused('maxDelayMs'))
    await expect(producer.prepare('orders' as never, { value: 'a' })).rejects.toEqual(refused('topic'))
    const unknown = producer.prepare(orders, { value: 'a', kee: 1 } as never)
    await expect(unknown).rejects.toMatchObject({ code: 'INVALID_MESSAGE', option: 'kee' })
    await t.resolve(producer.close())
    await expect(t.resolve(producer.prepare(orders, { value: 'a' }))).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('a checker', () => {
  test('TIME-45: is asked when nobody decided in time, again later and later, and what it says is done', async () => {
    const said: Record<string, CheckAnswer[]> = {
      yes: ['unknown', 'unknown', 'commit'],
      no: ['unknown', 'rollback'],
      quick: [],
    }
    await using t = await openShop({
      checker: ({ key }) => said[key!]!.shift()!,
      check: { timeoutMs: 1_000, delayMs: 100, maxDelayMs: 150 },
    })
    await prepare(t, 'yes')
    await t.advance(10)
    await prepare(t, 'no')
    const quick = await prepare(t, 'quick')
    await t.advance(500)
    await t.resolve(quick.commit())
    await t.drain()
    expect(answers(t)).toEqual([
      '1000 yes #1 unknown',
      '1010 no #1 unknown',
      '1100 yes #2 unknown',
      '1110 no #2 rollback',
      '1250 yes #3 commit',
    ])
    expect(await visible(t)).toEqual(['quick', 'yes'])
    expect(await waiting(t)).toEqual([])
  })

  test('TIME-46: is asked at once after a restart, in due order, about what an earlier process prepared', async () => {
    await using t = await openShop({ checker: () => 'commit', check: { timeoutMs: 60_000, concurrency: 1 } })
    for (const value of ['a', 'b', 'c']) await prepare(t, value)
    await t.advance(1_000)
    t.crash('power')
    await t.restart()
    await t.settle()
    expect(answers(t)).toEqual(['1000 a #1 commit', '1000 b #1 commit', '1000 c #1 commit'])
    expect(await visible(t)).toEqual(['a', 'b', 'c'])
  })

  test('TIME-47: keeps its count and its back-off over a restart, and overdue ones come in due order', async () => {
    const asked: string[] = []
    const check = { timeoutMs: 100, delayMs: 1_000, attempts: 4 }
    const checker: Ask = ({ key, checks }) => {
      asked.push(`${key} #${checks}`)
      return 'unknown'
    }
    await using t = await openShop({ checker, check })
    await prepare(t, 'a')
    await t.advance(150)
    await prepare(t, 'b')
    await t.advance(150)
    expect(answers(t)).toEqual(['100 a #1 unknown', '250 b #1 unknown'])
    t.crash('power')
    await t.restart()
    await t.advance(799)
    expect(answers(t)).toHaveLength(2)
    await t.advance(1)
    expect(answers(t).slice(2)).toEqual(['1100 a #2 unknown'])
    t.crash('process')
    // Nobody is there for a while.
    await t.advance(60_000)
    await t.restart()
    await t.settle()
    expect(asked.slice(3)).toEqual(['b #2', 'a #3'])
  })

  test('ONCE-110: whose answers never decide ends in the dead letters, with everything that the message had', async () => {
    await using t = await openShop({ checker: () => 'unknown', check: { timeoutMs: 10, delayMs: 10, attempts: 3 } })
    await prepare(t, 'a')
    await t.drain()
    expect(answers(t)).toEqual(['10 a #1 unknown', '20 a #2 unknown', '40 a #3 unknown'])
    expect(t.wired.dead).toEqual([
      {
        producer: 'shop',
        id: '1.1',
        topic: 'orders',
        key: 'a',
        checks: 3,
        deadLetters: 'orders.shop.dlq',
        error: undefined,
      },
    ])
    expect(await visible(t)).toEqual([])
    expect(await waiting(t)).toEqual([])
    const letters = await t.resolve(t.wired.mq.topic<string>('orders.shop.dlq'))
    for await (const letter of letters.read()) expect(letter).toMatchObject({ key: 'a', value: 'a', offset: 0 })
    expect(letters.offsets()).toEqual([{ start: 0, end: 1 }])
    const snapshot = t.history.of('decided').at(-1)
    expect(snapshot).toMatchObject({ decision: 'give-up', id: '1.1' })
  })

  for (const at of [
    'prepared:applied',
    'prepared:flushed',
    'decide:before',
    'commit:before',
    'commit:flushed',
  ] as const) {
    for (const power of [false, true]) {
      test(`ONCE-111: gives up a message once when the ${power ? 'power' : 'process'} fails at ${at}`, async () => {
        for (const nth of [1, 2, 3, 4, 5, 6]) {
          await using t = await openShop({
            checker: () => 'unknown',
            check: { timeoutMs: 10, delayMs: 10, attempts: 2 },
          })
          await prepare(t, 'a')
          t.faults.crash({ at, kind: power ? 'power' : 'process', nth } as never)
          await t.drain()
          if (t.history.of('crash').length > 0) {
            await t.restart()
            await t.drain()
          }
          const letters = await t.resolve(t.wired.mq.topic<string>('orders.shop.dlq'))
          expect(letters.offsets()).toEqual([{ start: 0, end: 1 }])
          expect(t.history.of('checked').every(({ check }) => check <= 2)).toBe(true)
          expect(await waiting(t)).toEqual([])
        }
      })
    }
  }

  test('ONCE-112: that throws, is late or says nonsense has not decided, and the event says why', async () => {
    const said = [
      () => {
        throw new Error('database down')
      },
      () => 'maybe' as CheckAnswer,
      () => new Promise<CheckAnswer>(() => {}),
      () => Promise.resolve('commit' as const),
    ]
    const signals: AbortSignal[] = []
    await using t = await openShop({
      checker: (_message, signal) => {
        signals.push(signal)
        return said.shift()!()
      },
      check: { timeoutMs: 10, delayMs: 10, maxDelayMs: 10, answerTimeoutMs: 500 },
    })
    await prepare(t, 'a')
    await t.drain()
    expect(t.history.of('checked').map(({ at, answer, error }) => ({ at, answer, error }))).toMatchObject([
      { at: 10, answer: 'unknown', error: { message: 'database down' } },
      { at: 20, answer: 'unknown', error: { code: 'INVALID_OPTION', option: 'checker', value: 'maybe' } },
      { at: 530, answer: 'unknown', error: { code: 'ABORTED' } },
      { at: 540, answer: 'commit' },
    ])
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, true, false])
    expect(await visible(t)).toEqual(['a'])
  })

  test('ONCE-113: and the producer decide once, whoever is first', async () => {
    for (const own of ['commit', 'rollback'] as const) {
      let answer: ((answer: CheckAnswer) => void) | undefined
      await using t = await openShop({
        checker: () => new Promise((resolve) => (answer = resolve)),
        check: { timeoutMs: 10 },
      })
      // The producer while the checker thinks.
      const first = await prepare(t, 'first')
      await t.advance(10)
      await t.resolve<unknown>(first[own]())
      answer!(own === 'commit' ? 'rollback' : 'commit')
      await t.settle()
      // The checker before the producer.
      const second = await prepare(t, 'second')
      await t.advance(10)
      answer!(own)
      await t.settle()
      await expect(t.resolve(second.commit())).rejects.toEqual(ended)
      await expect(t.resolve(second.rollback())).rejects.toEqual(ended)
      expect(await visible(t)).toEqual(own === 'commit' ? ['first', 'second'] : [])
      expect(answers(t)).toEqual([`20 second #1 ${own}`])
    }
  })

  test('ONCE-114: that ends the process with each question is not asked more often than it may', async () => {
    await using t = await openShop({
      checker: () => {
        t.crash('process')
        return 'commit'
      },
      check: { timeoutMs: 10, delayMs: 10, attempts: 2, answerTimeoutMs: 10 },
    })
    await prepare(t, 'a')
    for (let life = 1; life <= 2; life++) {
      await t.drain()
      t.assert.crashed()
      await t.restart()
    }
    await t.drain()
    expect(t.wired.dead).toMatchObject([{ key: 'a', checks: 2 }])
    expect(await visible(t)).toEqual([])
  })

  test('TIME-48: is asked about so many at once, and nothing once the producer is closed', async () => {
    let [now, most] = [0, 0]
    const open: ((answer: CheckAnswer) => void)[] = []
    await using t = await openShop({
      checker: () => {
        most = Math.max(most, ++now)
        return new Promise((resolve) => open.push(resolve))
      },
      check: { timeoutMs: 10, concurrency: 2 },
    })
    for (const value of ['a', 'b', 'c', 'd']) await prepare(t, value)
    await t.advance(10)
    expect(now).toBe(2)
    open[0]!('commit')
    now--
    await t.settle()
    expect([now, most, open.length]).toEqual([2, 2, 3])
    await t.resolve(t.wired.producer.close())
    for (const answer of open) answer('commit')
    await t.advance(1_000_000)
    expect(open).toHaveLength(3)
    expect(await visible(t)).toEqual(['a'])
    expect(answers(t)).toHaveLength(1)
  })

  test('TIME-49: is asked at the right time although the wall clock jumps, forth or back, or went back while nobody was there', async () => {
    for (const byMs of ['1d', '-1d'] as const) {
      await using t = await openShop({
        checker: () => 'unknown',
        check: { timeoutMs: 1_000, delayMs: 500, maxDelayMs: 500 },
      })
      await prepare(t, 'a')
      t.faults.wallClock(byMs)
      await t.advance(999)
      expect(answers(t)).toEqual([])
      await t.advance(1)
      expect(answers(t)).toEqual(['1000 a #1 unknown'])
      t.crash('process')
      t.faults.wallClock('-1d')
      await t.restart()
      await t.advance(40_000)
      expect(answers(t).length).toBeGreaterThan(1)
    }
  })

  test('ONCE-115: who is registered later is asked about what waits already, and a fenced one changes nothing', async () => {
    const answers: ((answer: CheckAnswer) => void)[] = []
    await using t = await openShop({
      checker: () => new Promise((resolve) => answers.push(resolve)),
      check: { timeoutMs: 10 },
    })
    await prepare(t, 'a')
    await t.advance(10)
    const newer = await t.resolve(t.wired.mq.producer({ name: 'shop' }))
    answers[0]!('commit')
    await t.settle()
    expect(await visible(t)).toEqual([])
    expect(await waiting(t, newer)).toEqual(['a'])
  })

  test('ONCE-116: hundreds are asked about in pages, each once', async () => {
    const asked: string[] = []
    await using t = await openShop({
      checker: ({ key }) => {
        asked.push(key!)
        return 'commit'
      },
    })
    const { producer, orders } = t.wired
    const keys = Array.from({ length: 600 }, (_, i) => `k${i}`)
    await t.resolve(Promise.all(keys.map((key) => producer.prepare(orders, { key, value: key }))))
    t.crash('power')
    await t.restart()
    await t.drain()
    expect(asked).toEqual(keys)
    expect((await visible(t)).length).toBe(keys.length)
  })
})
