import { describe, expect, test } from 'vitest'
import type { BatchHandler, HandlerContext, Message, MessageQueue, Topic } from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'

interface Pipeline {
  readonly mq: MessageQueue
  readonly input: Topic<number>
  readonly output: Topic<string>
}

type Handler = (message: Message<number>, context: HandlerContext, pipeline: Pipeline) => unknown

/** Counts each key in a store and sends on what it counted. */
const counting: Handler = (message, context, { output }) => {
  const counts = context.store<number>('counts')
  const count = (counts.get(message.key!) ?? 0) + message.value
  counts.put(message.key!, count)
  context.send(output, { key: message.key!, value: `${message.key} ${count}` })
}

function openPipeline(handler: Handler = counting): Promise<TestQueue<Pipeline>> {
  return openTest<Pipeline>({
    wire: async (mq) => {
      const pipeline = { mq, input: await mq.topic<number>('in'), output: await mq.topic<string>('out') }
      const handle = (message: Message<number>, context: HandlerContext): unknown => handler(message, context, pipeline)
      await pipeline.input.subscribe('count', handle, { from: 'earliest', backoff: { delayMs: 10 } })
      return pipeline
    },
  })
}

async function countsOf(t: TestQueue<Pipeline>): Promise<Record<string, number>> {
  const store = await t.resolve(t.wired.mq.store<number>('counts'))
  return Object.fromEntries(store.range().map(({ key, value }) => [key, value]))
}

async function outputsOf(t: TestQueue<Pipeline>): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of t.wired.output.read()) values.push(value)
  return values
}

const sendOnes = (t: TestQueue<Pipeline>, ...keys: string[]): Promise<unknown> =>
  Promise.all(keys.map((key) => t.send('in', { key, value: 1 })))

describe('outputs and state of a handler', () => {
  test('ONCE-50: happen with the acknowledgement, and later messages of the key see them', async () => {
    await using t = await openPipeline()
    await sendOnes(t, 'a', 'a', 'b', 'a')
    await t.drain()
    expect(await countsOf(t)).toEqual({ a: 3, b: 1 })
    expect((await outputsOf(t)).sort()).toEqual(['a 1', 'a 2', 'a 3', 'b 1'])
  })

  test('TEST-150: of a message that a fault hands out once more are those of its second run alone', async () => {
    await using t = await openPipeline()
    t.faults.duplicate('count', { key: 'a' })
    await sendOnes(t, 'a')
    await t.drain()
    expect(await countsOf(t)).toEqual({ a: 1 })
    expect(await outputsOf(t)).toEqual(['a 1'])
  })

  test('TEST-157: a history tells whose outputs and rows they are, and a timeline shows them', async () => {
    await using t = await openPipeline()
    await sendOnes(t, 'a')
    await t.drain()
    await t.resolve(t.wired.mq.transaction((transaction) => void transaction.send(t.wired.output, { value: 'end' })))
    const refused = t.wired.mq.transaction(() => Promise.reject(new Error('no')))
    await expect(t.resolve(refused)).rejects.toThrow('no')
    const [state] = t.history.of('state')
    const [first, second] = t.history.of('accepted')
    expect(state).toMatchObject({ store: 'counts', key: 'a', value: 1, of: first!.of })
    expect(first!.of).toEqual({ settlement: t.history.of('settle').find(({ group }) => group === 'count')!.settlement })
    expect(second!.of).toEqual({ transaction: 0 })
    const sources = t.history.of('send').map(({ of }) => of)
    expect(sources).toEqual([undefined, first!.of, second!.of])
    expect(t.history.of('transaction:committed')).toMatchObject([{ transaction: 0 }])
    const lines = t
      .timeline({ level: 'all' })
      .split('\n')
      .map((line) => line.slice(8))
    expect(lines.some((line) => /^set +counts a by settlement \d+ +1$/.test(line))).toBe(true)
    expect(lines.some((line) => /^begin +transaction 0, 1 sends, 0 settlements$/.test(line))).toBe(true)
    expect(lines.some((line) => /^accept +transaction 0 out\[0\]@1$/.test(line))).toBe(true)
    expect(lines.some((line) => /^commit +transaction 0$/.test(line))).toBe(true)
  })

  test('ONCE-51: of a handler that fails do not happen', async () => {
    await using t = await openPipeline(async (message, context, pipeline) => {
      await counting(message, context, pipeline)
      if (message.attempt < 3) throw new Error('not yet')
    })
    await sendOnes(t, 'a')
    await t.drain()
    expect(await countsOf(t)).toEqual({ a: 1 })
    expect(await outputsOf(t)).toEqual(['a 1'])
  })

  for (const at of ['settle:before', 'settle:applied', 'settle:flushed', 'commit:before', 'commit:flushed'] as const) {
    for (const power of [false, true]) {
      test(`ONCE-52: happen exactly once when the ${power ? 'power' : 'process'} fails at ${at}`, async () => {
        await using t = await openPipeline()
        await sendOnes(t, 'a')
        await t.drain()
        t.faults.crash({
          at,
          kind: power ? 'power' : 'process',
          ...(at.startsWith('settle') ? { group: 'count' } : {}),
        })
        await sendOnes(t, 'a', 'b', 'a').catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        await t.drain()
        const counts = await countsOf(t)
        const outputs = await outputsOf(t)
        // What was not acknowledged to its sender may be in the log or not; what is there has been counted once.
        const { end } = t.wired.input.offsets()[0]!
        expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(end)
        expect(outputs).toHaveLength(end)
        expect(new Set(outputs).size).toBe(end)
      })
    }
  }

  test('ONCE-53: run again when what was read has changed, and the attempt does not count', async () => {
    const attempts: number[] = []
    await using t = await openPipeline(async (message, context, { mq }) => {
      const counts = context.store<number>('counts')
      const seen = counts.get('total') ?? 0
      attempts.push(message.attempt)
      // Someone else comes between.
      if (attempts.length === 1) {
        await mq.transaction((tx) => tx.store<number>('counts').put('total', 100))
      }
      counts.put('total', seen + message.value)
    })
    await sendOnes(t, 'a')
    await t.drain()
    expect(attempts).toEqual([1, 1])
    expect(await countsOf(t)).toEqual({ total: 101 })
  })

  test('ONCE-54: of an array happen when the whole array is done', async () => {
    let fails = 2
    await using t = await openTest<Pipeline>({
      wire: async (mq) => {
        const pipeline = { mq, input: await mq.topic<number>('in'), output: await mq.topic<string>('out') }
        const handle: BatchHandler<number> = (messages, context) => {
          for (const { key } of messages) context.send(pipeline.output, { value: key! })
          return messages.map((_, i) => (i === 1 && fails-- > 0 ? new Error('one of them') : undefined))
        }
        const options = { from: 'earliest', batch: { max: 3 }, backoff: { delayMs: 10 }, attempts: 4 } as const
        await pipeline.input.subscribe('count', handle, options)
        return pipeline
      },
    })
    await sendOnes(t, 'a', 'b', 'c')
    await t.drain()
    expect((await outputsOf(t)).sort()).toEqual(['a', 'b', 'c'])
  })

  test('ONCE-55: are refused once the handler is over', async () => {
    let context: HandlerContext | undefined
    await using t = await openPipeline((_, given) => {
      context = given
    })
    await sendOnes(t, 'a')
    await t.drain()
    const ended = expect.objectContaining({ code: 'TRANSACTION_ENDED' })
    expect(() => context!.send(t.wired.output, { value: 'late' })).toThrow(ended)
    expect(() => context!.store('counts')).toThrow(ended)
  })
})

describe('a transaction', () => {
  test('ONCE-60: commits sends to several topics and state together, and says where they went', async () => {
    await using t = await openPipeline(() => {})
    const { mq, input, output } = t.wired
    const { value, sends } = await t.resolve(
      mq.transaction(async (tx) => {
        expect(tx.send(input, { key: 'a', value: 7 })).toBe(0)
        expect(tx.send(output, { value: 'x' })).toBe(1)
        tx.store<number>('counts').put('a', 7)
        expect(tx.store<number>('counts').get('a')).toBe(7)
        expect((await mq.store('counts')).get('a'), 'nobody else sees it yet').toBeUndefined()
        return 'done'
      }),
    )
    expect(value).toBe('done')
    expect(sends.map(({ offset }) => offset)).toEqual([0, 0])
    expect(await countsOf(t)).toEqual({ a: 7 })
  })

  test('ONCE-61: does nothing when its callback throws', async () => {
    await using t = await openPipeline(() => {})
    const { mq, output } = t.wired
    const failing = mq.transaction((tx) => {
      tx.send(output, { value: 'x' })
      tx.store('counts').put('a', 1)
      throw new Error('changed my mind')
    })
    await expect(t.resolve(failing)).rejects.toThrow('changed my mind')
    expect(await outputsOf(t)).toEqual([])
    expect(await countsOf(t)).toEqual({})
  })

  for (const power of [false, true]) {
    test(`ONCE-62: is there whole or not at all after a crash (${power ? 'power' : 'process'})`, async () => {
      for (const at of ['transaction:before', 'commit:before', 'commit:applied', 'commit:flushed'] as const) {
        await using t = await openPipeline(() => {})
        const { mq, input, output } = t.wired
        await t.resolve(mq.store('counts'))
        t.faults.crash({ at, kind: power ? 'power' : 'process' })
        void mq.transaction((tx) => {
          tx.send(input, { key: 'a', value: 1 })
          tx.send(output, { value: 'x' })
          tx.store('counts').put('a', 1)
        })
        await t.settle()
        t.assert.crashed()
        await t.restart()
        await t.drain()
        const { end } = t.wired.input.offsets()[0]!
        expect(await outputsOf(t)).toHaveLength(end)
        expect(Object.keys(await countsOf(t))).toHaveLength(end)
      }
    })
  }

  test('ONCE-63: is refused when what it read has changed, or runs again as often as it is told', async () => {
    await using t = await openPipeline(() => {})
    const { mq } = t.wired
    const store = await t.resolve(mq.store<number>('counts'))
    let runs = 0
    const increment = (attempts?: number) => () =>
      mq.transaction(
        async (tx) => {
          const seen = tx.store(store).get('a') ?? 0
          if (runs++ < 2) await store.put('a', seen + 10)
          tx.store(store).put('a', seen + 1)
        },
        attempts === undefined ? {} : { attempts },
      )
    await expect(t.resolve(increment()())).rejects.toMatchObject({ code: 'CONFLICT', retriable: true, store: 'counts' })
    runs = 0
    await t.resolve(increment(3)())
    expect(runs).toBe(3)
    expect(store.get('a')).toBe(31)
  })

  test('ONCE-64: ends with its callback, and does not begin inside of another one', async () => {
    await using t = await openPipeline(() => {})
    const { mq, output } = t.wired
    let kept: Parameters<Parameters<typeof mq.transaction>[0]>[0]
    await t.resolve(mq.transaction((tx) => void (kept = tx)))
    const ended = expect.objectContaining({ code: 'TRANSACTION_ENDED' })
    expect(() => kept.send(output, { value: 'late' })).toThrow(ended)
    expect(() => kept.store('counts')).toThrow(ended)
    const nested = mq.transaction(async () => {
      await Promise.resolve()
      await mq.transaction(() => {})
    })
    await expect(t.resolve(nested)).rejects.toMatchObject({ code: 'TRANSACTION_NESTED' })
    await t.resolve(mq.transaction(() => {}))
  })
})

describe('a store of state', () => {
  test('ONCE-65: sets, removes, lists and compares, and has it all after a crash', async () => {
    await using t = await openPipeline(() => {})
    const store = await t.resolve(t.wired.mq.store<{ n: number }>('accounts'))
    await t.resolve(Promise.all([store.put('b', { n: 2 }), store.put('a', { n: 1 }), store.put('c', { n: 3 })]))
    await t.resolve(store.delete('c'))
    expect(store.range()).toEqual([
      { key: 'a', value: { n: 1 } },
      { key: 'b', value: { n: 2 } },
    ])
    expect(store.range({ reverse: true, limit: 1 }).map(({ key }) => key)).toEqual(['b'])
    expect(await t.resolve(store.compareAndSet('a', { n: 9 }, { n: 10 }))).toEqual({ done: false, value: { n: 1 } })
    expect(await t.resolve(store.compareAndSet('a', { n: 1 }, { n: 10 }))).toMatchObject({ done: true })
    expect(await t.resolve(store.compareAndSet('d', undefined, { n: 4 }))).toMatchObject({ done: true })
    t.crash('power')
    await t.restart()
    const again = await t.resolve(t.wired.mq.store<{ n: number }>('accounts'))
    expect(again.range().map(({ key, value }) => [key, value.n])).toEqual([
      ['a', 10],
      ['b', 2],
      ['d', 4],
    ])
    expect(t.wired.mq.stores()).toEqual(['accounts'])
  })

  test('refuses names, keys and values that it cannot keep', async () => {
    await using t = await openPipeline(() => {})
    const { mq } = t.wired
    await expect(mq.store('')).rejects.toMatchObject({ code: 'INVALID_NAME' })
    await expect(mq.store('x', { codex: 1 } as never)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      option: 'codex',
    })
    const store = await t.resolve(mq.store('x'))
    await expect(store.put('', 1)).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'key' })
    await expect(store.put('k'.repeat(1_025), 1)).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'key' })
    await expect(store.put('k', undefined)).rejects.toMatchObject({ code: 'ENCODING_FAILED', store: 'x', key: 'k' })
    expect(() => store.range({ limit: 0 })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', option: 'limit' }),
    )
    await expect(mq.transaction(undefined as never)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(mq.transaction(() => {}, { attempts: 0 })).rejects.toMatchObject({ option: 'attempts' })
  })
})
