import { describe, expect, test } from 'vitest'
import type { FetchResult } from '../../src/contracts/broker.ts'
import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import { openMemoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { partitionOf, type Codec, type Message, type RedriveOptions } from '../../src/index.ts'
import { openTest } from '../../src/testing/index.ts'
import { doneBy, openApp, sendAll } from './app.ts'
import { messagesOf, virtualQueue } from './queue.ts'

const fails = (): void => {
  throw new Error('no')
}

describe('a letter at the edge', () => {
  test('LOSS-96: goes back byte for byte where it can not be decoded', async () => {
    const picky: Codec<string> = {
      contentType: 'text/picky',
      format: 'text',
      shared: false,
      encode: (value) => value,
      decode: () => {
        throw new Error('unreadable')
      },
    }
    await using t = await openApp({ topic: { codec: picky } })
    await t.send('t', { key: 'k', value: 'bad,"\u2028', headers: { '1': 'b', a: 'b' } })
    await t.drain({ allowDead: 1 })
    const letters = t.mq.group('g').deadLetters('t')
    const { letters: found } = await t.resolve(letters.list())
    expect(() => found[0]!.value).toThrow('unreadable')
    expect(found[0]!.bytes.toString()).toBe('bad,"\u2028')
    await t.resolve(letters.redrive())
    await t.drain({ allowDead: 2 })
    const stored = t.mq.environment.broker.topic('t')!.fetch(0, 1) as Extract<FetchResult, { kind: 'records' }>
    expect(stored.batch.valueBytesAt(stored.index).toString()).toBe('bad,"\u2028')
    const again = (await t.resolve(letters.list())).letters
    expect(again.map(({ facts, bytes }) => [facts.redrives, bytes.toString()])).toEqual([[1, 'bad,"\u2028']])
  })

  test('LOSS-88: on a full disk letters can be deleted, and what is sent back waits for room with nothing lost', async () => {
    await using t = await openApp({ attempts: 1, handler: fails })
    await sendAll(t, 'a:1', 'a:2', 'b:1')
    await t.drain({ allowDead: 3 })
    t.faults.storeFull({ for: '1m' })
    const letters = t.mq.group('g').deadLetters()
    expect(await t.resolve(letters.delete({ key: 'b' }))).toBe(1)
    await expect(t.resolve(letters.redrive())).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect((await t.resolve(letters.list())).letters.map(({ value }) => value)).toEqual(['a:1', 'a:2'])
    expect(t.wired.topic.offsets()).toMatchObject([{ end: 3 }])
    await t.advance('2m')
    expect(await t.resolve(letters.redrive())).toMatchObject({ redriven: 2 })
    expect(t.wired.topic.offsets()).toMatchObject([{ end: 5 }])
  })

  test('what onProgress throws ends a redrive behind the slice that it was told of', async () => {
    await using t = await openApp({ attempts: 1, handler: fails })
    await sendAll(t, 'a:1', 'a:2', 'a:3')
    await t.drain({ allowDead: 3 })
    const letters = t.mq.group('g').deadLetters()
    const onProgress = (): void => {
      throw new Error('stop here')
    }
    await expect(t.resolve(letters.redrive({ rate: 1, onProgress }))).rejects.toThrow('stop here')
    expect(t.wired.topic.offsets()).toMatchObject([{ end: 4 }])
    expect(await t.resolve(letters.redrive())).toMatchObject({ redriven: 3 })
  })

  test('LOSS-97: stays where it is when its topic is gone, holds something else, or holds dead letters itself', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run(topic.subscribe('g', fails, { from: 'earliest', attempts: 1 }))
    await run(topic.sendBatch(messagesOf('a:1')))
    await settle()
    const nested = await run((await run(mq.topic('t.g.dlq'))).subscribe('h', fails, { from: 'earliest', attempts: 1 }))
    await settle()
    const ofLetters = mq.group('h').deadLetters()
    expect([ofLetters.topic, await run(ofLetters.count())]).toEqual(['t.g.dlq.h.dlq', 1])
    await expect(run(ofLetters.redrive())).rejects.toMatchObject({ code: 'UNSUPPORTED', topic: 't.g.dlq' })
    await run(nested.close())
    await run(mq.deleteTopic('t'))
    const letters = mq.group('g').deadLetters('t')
    await expect(run(letters.redrive())).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND', topic: 't' })
    await run(mq.topic('t', { codec: 'bytes' }))
    await expect(run(letters.redrive())).rejects.toMatchObject({ code: 'TOPIC_CONFLICT', topic: 't' })
    expect(await run(letters.count())).toBe(1)
    expect(() => mq.group('g').deadLetters()).toThrow('allowed is one of the topics of the group')
  })

  test('ORDER-93: goes where its key goes now when its topic was made anew with other partitions', async () => {
    const { mq, run, settle } = await virtualQueue()
    const values = ['a:1', 'b:1', 'c:1', 'd:1', 'a:2', 'b:2', 'c:2', 'd:2']
    const old = await run(mq.topic<string>('t', { partitions: 4 }))
    await run(old.subscribe('g', fails, { from: 'earliest', attempts: 1 }))
    await run(old.sendBatch([...messagesOf(...values), { value: 'free', partition: 3 }]))
    await settle()
    await run(mq.deleteTopic('t'))
    const topic = await run(mq.topic<string>('t', { partitions: 3 }))
    expect(await run(mq.group('g').deadLetters('t').redrive())).toMatchObject({ redriven: 9 })
    const found: Message<string>[] = []
    for await (const message of topic.read()) found.push(message)
    expect(found.map(({ value }) => value).toSorted()).toEqual([...values, 'free'].toSorted())
    for (const key of ['a', 'b', 'c', 'd']) {
      const of = found.filter((message) => message.key === key)
      expect(of.map(({ value, partition }) => [value, partition])).toEqual(
        [1, 2].map((n) => [`${key}:${n}`, partitionOf(key, 3)]),
      )
    }
  })

  test('LOSS-98: that held up a parked key is moved there one by one, over a crash, and the key goes on with the next', async () => {
    await using t = await openApp({ attempts: 2, backoff: { delayMs: 5 }, onExhausted: 'park-key' })
    t.handler('g').failTimes(4, () => Object.assign(new Error('odd'), { code: 'ODD' }), {
      where: ({ key, offset }) => key === 'a' && offset < 2,
    })
    await sendAll(t, 'a:1', 'a:2', 'a:3', 'b:1')
    await t.drain({ allowDead: 1 })
    expect(() => t.mq.group('g').release('a', { deadLetters: true } as never)).toThrow('option deadLetters is unknown')
    expect(t.mq.group('g').release('b', { deadLetter: true })).toBe(0)
    t.crash('power')
    await t.restart()
    await t.drain({ allowDead: 1 })
    const letters = t.mq.group('g').deadLetters()
    for (const offset of [0, 1]) {
      expect(t.mq.group('g').parkedKeys()).toMatchObject([{ key: 'a', offset }])
      expect(t.mq.group('g').release('a', { deadLetter: true })).toBe(1)
      await t.drain({ allowDead: 3 })
      const { letters: found } = await t.resolve(letters.list({ errorCode: 'ODD' }))
      expect(found.at(-1)!.facts).toMatchObject({ offset, reason: 'parked', attempts: 2, firstError: { code: 'ODD' } })
      expect(found).toHaveLength(offset + 1)
    }
    expect(t.mq.group('g').parkedKeys()).toEqual([])
    expect(doneBy(t).filter((value) => value.startsWith('a'))).toEqual(['a:3'])
  })

  test('ORDER-94: a parked key that is sent on goes on exactly where it stopped, before its later messages', async () => {
    await using t = await openApp({ attempts: 1, onExhausted: 'park-key' })
    t.handler('g').failTimes(1, undefined, { where: ({ offset }) => offset === 1 })
    await sendAll(t, 'a:1', 'a:2', 'a:3')
    await t.drain({ allowDead: 1 })
    await sendAll(t, 'a:4')
    t.crash('process')
    await t.restart()
    await sendAll(t, 'a:5')
    await t.drain({ allowDead: 1 })
    expect(doneBy(t)).toEqual(['a:1'])
    expect(t.mq.group('g').release('a')).toBe(1)
    await t.drain({ allowDead: 1 })
    expect(doneBy(t)).toEqual(['a:1', 'a:2', 'a:3', 'a:4', 'a:5'])
  })

  for (const [name, open] of [
    ['in the queue', openLmdbIdempotencyStore],
    [
      'in memory',
      (mq: Parameters<typeof openLmdbIdempotencyStore>[0]) => openMemoryIdempotencyStore(mq.environment.runtime),
    ],
  ] as const) {
    test(`LOSS-99: is worked on again, once, although an idempotency store ${name} remembers that it failed`, async () => {
      const seen: string[] = []
      let bad = true
      await using t = await openTest({
        wire: async (mq) => {
          const topic = await mq.topic<string>('t')
          const handle = ({ value, redriveFacts }: Message<string>): void => {
            seen.push(`${value} ${redriveFacts?.count ?? 0}`)
            if (bad) throw new Error('no')
          }
          const idempotency = { store: open(mq), key: ({ value }: Message<string>) => value }
          await topic.subscribe('g', handle, { from: 'earliest', attempts: 1, idempotency })
        },
      })
      // Another delivery of the same work, sent by someone who did not know.
      await t.send('t', { value: 'pay' })
      await t.drain({ allowDead: 1 })
      await t.send('t', { value: 'pay' })
      await t.drain({ allowDead: 2 })
      const letters = t.mq.group('g').deadLetters()
      expect(seen).toEqual(['pay 0'])
      await t.resolve(letters.redrive({ limit: 1 }))
      await t.drain({ allowDead: 3 })
      expect(seen).toEqual(['pay 0', 'pay 1'])
      bad = false
      await t.resolve(letters.redrive())
      await t.drain({ allowDead: 3 })
      // The other one had its first redrive used up by the one before it.
      expect(seen).toEqual(['pay 0', 'pay 1', 'pay 2'])
      await t.resolve(letters.redrive())
      await t.drain({ allowDead: 4 })
      expect(seen).toEqual(['pay 0', 'pay 1', 'pay 2'])
      expect(await t.resolve(letters.count())).toBe(0)
    })
  }

  for (const [name, options, text] of [
    ['a rate of 0', { rate: 0 }, 'redrive: option rate is 0; allowed is a number from 0.001 to 1000000, or Infinity'],
    ['a limit of 0', { limit: 0 }, 'redrive: option limit is 0'],
    [
      'no redrives',
      { maxRedrives: 0 },
      'redrive: option maxRedrives is 0; allowed is a whole number from 1 to 1000000',
    ],
    ['a key that is no text', { key: 1 as never }, 'redrive: option key is 1; allowed is text'],
    ['a time that is none', { since: NaN }, 'redrive: option since is NaN'],
    ['what is no function', { predicate: true as never }, 'redrive: option predicate is true; allowed is a function'],
    ['what it does not know', { keys: 'a' } as never, 'redrive: option keys is unknown'],
    [
      'a predicate that answers later',
      { predicate: async () => true } as never,
      'a function that returns true or false',
    ],
  ] satisfies [string, RedriveOptions, string][]) {
    test(`a redrive refuses ${name}`, async () => {
      await using t = await openApp({ attempts: 1, handler: fails })
      await sendAll(t, 'a:1')
      await t.drain({ allowDead: 1 })
      const refused = t.resolve(t.mq.group('g').deadLetters().redrive(options))
      await expect(refused).rejects.toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringContaining(text) as string,
      })
      expect(await t.resolve(t.mq.group('g').deadLetters().count())).toBe(1)
    })
  }
})
