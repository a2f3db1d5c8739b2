import { describe, expect, test } from 'vitest'
import type { FetchResult } from '../../src/contracts/broker.ts'
import { readDeadLetterFacts } from '../../src/dead-letter.ts'
import {
  UnrecoverableError,
  type Codec,
  type DeadLetterFacts,
  type HandlerContext,
  type Message,
} from '../../src/index.ts'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { doneBy, openApp, sendAll, type App, type AppOptions } from './app.ts'

const always = (message: Message<string>): void => {
  throw new TypeError(`no ${message.value}`)
}

const openDying = (options: AppOptions = {}): Promise<TestQueue<App>> =>
  openApp({ handler: always, attempts: 2, backoff: { type: 'fixed', delayMs: 5, jitter: 0 }, ...options })

/** The dead letters as anyone reads their topic. */
async function lettersIn(t: TestQueue<App>, topic = 't.g.dlq'): Promise<Message<unknown>[]> {
  const read: Message<unknown>[] = []
  if (!t.mq.topics().includes(topic)) return read
  const letters = await t.resolve(t.mq.topic(topic))
  for await (const message of letters.read()) read.push(message)
  return read
}

const valuesOf = (messages: readonly { readonly value: unknown }[]): unknown[] => messages.map(({ value }) => value)

describe('a message that is tried no more', () => {
  test('LOSS-80: goes to the dead letters with its bytes, key and headers and with why, and the later ones of its key go on', async () => {
    const events: unknown[] = []
    await using t = await openDying({ handler: (message) => message.value === 'k:1' && always(message) })
    t.mq.on('message:dead-lettered', ({ offset, attempts, reason, deadLetterTopic }) =>
      events.push({ offset, attempts, reason, deadLetterTopic }),
    )
    const sentAt = t.clock.now()
    await t.send('t', { key: 'k', value: 'k:1', headers: { '1': 'one', source: 'web' } })
    await sendAll(t, 'k:2', 'l:1')
    await t.drain({ allowDead: 1 })
    expect(doneBy(t).sort()).toEqual(['k:2', 'l:1'])
    const [letter, ...others] = await lettersIn(t)
    expect(others).toEqual([])
    expect(letter).toMatchObject({ key: 'k', value: 'k:1', headers: { '1': 'one', source: 'web' }, partition: 0 })
    const facts: DeadLetterFacts = letter!.deadLetterFacts!
    expect(facts).toMatchObject({ group: 'g', topic: 't', partition: 0, offset: 0, attempts: 2, reason: 'attempts' })
    expect(facts).toMatchObject({ redrives: 0, timestamp: sentAt })
    expect(facts.id).not.toBe(letter!.id)
    for (const error of [facts.firstError, facts.lastError]) {
      expect(error).toMatchObject({ name: 'TypeError', message: 'no k:1', stack: expect.stringContaining('no k:1') })
    }
    expect(facts.failedAt - facts.firstFailedAt!).toBe(5)
    expect(events).toEqual([{ offset: 0, attempts: 2, reason: 'attempts', deadLetterTopic: 't.g.dlq' }])
    expect(t.mq.stats().subscriptions[0]).toMatchObject({ deadLettered: 1, parkedKeys: 0 })
  })

  for (const at of [
    'settle:before',
    'settle:applied',
    'settle:flushed',
    'commit:before',
    'commit:applied',
    'commit:flushed',
  ] as const) {
    for (const kind of ['process', 'power'] as const) {
      test(`LOSS-81: is in the dead letters once, or not yet, when the ${kind} fails at ${at}`, async () => {
        await using t = await openDying({
          attempts: 1,
          handler: (message) => message.value.endsWith('1') && always(message),
        })
        await sendAll(t, 'a:0', 'b:0')
        await t.drain()
        t.faults.crash({ at, kind, ...(at.startsWith('settle') ? { group: 'g' } : {}) })
        await sendAll(t, 'a:1', 'b:1', 'a:2').catch(() => {})
        await t.settle()
        t.assert.crashed()
        await t.restart()
        const before = await lettersIn(t)
        const moved = new Set(before.map(({ deadLetterFacts }) => deadLetterFacts!.offset))
        expect(moved.size).toBe(before.length)
        await t.drain({ allowDead: 4 })
        const { end } = t.wired.topic.offsets()[0]!
        const there: unknown[] = []
        for await (const { value } of t.wired.topic.read()) there.push(value)
        const dead = there.filter((value) => String(value).endsWith('1'))
        expect(new Set(valuesOf(await lettersIn(t)))).toEqual(new Set(dead))
        expect(await lettersIn(t)).toHaveLength(dead.length)
        t.assert.committed('g', { t: [end] })
      })
    }
  }

  test('LOSS-82: goes there at once with its bytes when it can not be decoded, or does not satisfy the schema', async () => {
    const picky: Codec<string> = {
      contentType: 'text/picky',
      format: 'text',
      shared: false,
      encode: (value) => value,
      decode: (text: string) => {
        if (text.startsWith('bad')) throw new Error('unreadable')
        return text
      },
    }
    const schema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        // Refuses on the way out only.
        validate: (value: unknown) =>
          refuses && value === 'wrong' ? { issues: [{ message: 'wrong' }] } : { value: value as string },
      },
    } as const
    let refuses = false
    await using t = await openApp({ topic: { codec: picky, schema, validate: 'send-and-receive' }, attempts: 5 })
    t.wired.subscription.pause()
    await t.send('t', { key: 'k', value: 'bad,"\u2028', headers: { a: 'b' } })
    await t.send('t', { key: 'k', value: 'wrong' })
    await t.send('t', { key: 'k', value: 'good' })
    refuses = true
    t.wired.subscription.resume()
    await t.drain({ allowDead: 2 })
    expect(t.history.of('deliver').map(({ offset }) => offset)).toEqual([2])
    const stored = t.mq.environment.broker.topic('t.g.dlq')!.fetch(0, 0) as Extract<FetchResult, { kind: 'records' }>
    expect([0, 1].map((index) => stored.batch.valueBytesAt(index).toString())).toEqual(['bad,"\u2028', 'wrong'])
    const facts = [0, 1].map((index) => readDeadLetterFacts(stored.batch.headersAt(index))!)
    expect(facts.map(({ reason, lastError }) => [reason, lastError!.code])).toEqual([
      ['undecodable', 'DECODING_FAILED'],
      ['invalid', 'VALIDATION_FAILED'],
    ])
  })

  test('LOSS-83: keeps its first error and when that was, over a restart, beside its last', async () => {
    await using t = await openDying({
      attempts: 3,
      handler: ({ attempt }) => {
        throw Object.assign(new Error(`failure ${attempt} ${'x'.repeat(5_000)}`), { code: `E${attempt}` })
      },
    })
    await t.send('t', { key: 'k', value: 'v' })
    await t.settle()
    const firstAt = t.clock.now()
    t.crash('power')
    await t.restart()
    await t.drain({ allowDead: 1 })
    const [letter] = await lettersIn(t)
    const { firstError, lastError, firstFailedAt, attempts } = letter!.deadLetterFacts!
    expect([firstError!.code, lastError!.code, attempts, firstFailedAt]).toEqual(['E1', 'E3', 3, firstAt])
    expect(lastError!.message).toHaveLength(1_024)
    expect(lastError!.stack!.length).toBeLessThanOrEqual(4_096)
  })

  test('LOSS-84: goes there with what its handler sent and wrote when that asks for it, and of a handler that throws nothing happens', async () => {
    await using t = await openTest({
      wire: async (mq) => {
        const input = await mq.topic<string>('t')
        const output = await mq.topic<string>('out')
        const handle = (message: Message<string>, context: HandlerContext): void => {
          context.send(output, { value: `about ${message.value}` })
          context.store<string>('seen').put(message.value, 'yes')
          context.deadLetter('bad address')
          if (message.value === 'throws' && message.attempt < 2) throw new Error('not so')
        }
        await input.subscribe('g', handle, { from: 'earliest', backoff: { delayMs: 5 } })
        return { input, output }
      },
    })
    await t.send('t', { key: 'a', value: 'one' })
    await t.send('t', { key: 'a', value: 'throws' })
    await t.drain({ allowDead: 2 })
    const letters = await lettersIn(t as never)
    expect(
      letters.map(({ value, deadLetterFacts }) => [value, deadLetterFacts!.reason, deadLetterFacts!.attempts]),
    ).toEqual([
      ['one', 'bad address', 1],
      ['throws', 'bad address', 2],
    ])
    expect(letters[0]!.deadLetterFacts!.lastError).toBeUndefined()
    expect(letters[1]!.deadLetterFacts!.firstError).toMatchObject({ message: 'not so' })
    const sent: string[] = []
    for await (const { value } of t.wired.output.read()) sent.push(value)
    expect(sent).toEqual(['about one', 'about throws'])
    const seen = await t.resolve(t.mq.store('seen'))
    expect(seen.range().map(({ key }) => key)).toEqual(['one', 'throws'])
  })

  test('LOSS-85: of an array goes there alone, and one that was pulled can be sent there', async () => {
    await using t = await openApp({ attempts: 3 })
    const topic = await t.resolve(t.mq.topic<string>('t'))
    const outcome = (message: Message<string>): unknown => (message.value === 'bad' ? new UnrecoverableError('bad') : 1)
    const failures: unknown[] = []
    await t.resolve(
      topic.subscribe(
        'arrays',
        (messages, context) => {
          try {
            context.deadLetter('which?')
          } catch (error) {
            failures.push((error as { code: string }).code)
          }
          return messages.map(outcome)
        },
        { from: 'earliest', batch: { max: 10 } },
      ),
    )
    await sendAll(t, 'a', 'bad', 'b')
    await t.drain({ allowDead: 1 })
    expect(valuesOf(await lettersIn(t, 't.arrays.dlq'))).toEqual(['bad'])
    expect(new Set(failures)).toEqual(new Set(['UNSUPPORTED']))
    const stream = await t.resolve(topic.subscribe('pulled', { from: 'earliest' }))
    const messages = stream[Symbol.asyncIterator]()
    for (const reason of ['odd', undefined, undefined]) {
      const { value } = await t.resolve(messages.next())
      if (reason === undefined) value.ack()
      else {
        expect(() => value.deadLetter('')).toThrow(
          expect.objectContaining({ code: 'INVALID_OPTION', option: 'reason' }),
        )
        value.deadLetter(reason)
        value.ack()
        value.deadLetter('twice')
      }
    }
    await t.drain({ allowDead: 1 })
    const letters = await lettersIn(t, 't.pulled.dlq')
    expect(letters.map(({ value, deadLetterFacts }) => [value, deadLetterFacts!.reason])).toEqual([['a', 'odd']])
  })

  test('LOSS-86: goes there although the disk is full', async () => {
    await using t = await openDying({ attempts: 1 })
    t.wired.subscription.pause()
    await sendAll(t, 'a:1')
    t.faults.storeFull()
    t.wired.subscription.resume()
    await t.settle()
    expect(valuesOf(await lettersIn(t))).toEqual(['a:1'])
    t.assert.committed('g', { t: [1] })
  })

  test('goes to a topic with a shortened name where the group is no part of a name, and to one with fewer partitions', async () => {
    await using t = await openApp({ partitions: 3 })
    const topic = await t.resolve(t.mq.topic<string>('t'))
    await t.resolve(t.mq.topic<string>('t.few.dlq', { partitions: 2 }))
    for (const group of ['few', 'a group/ö']) {
      await t.resolve(topic.subscribe(group, always, { from: 'earliest', attempts: 1 }))
    }
    await t.send('t', { value: 'x', partition: 2 })
    await t.drain({ allowDead: 2 })
    expect((await lettersIn(t, 't.few.dlq')).map(({ partition }) => partition)).toEqual([0])
    const [name] = t.mq.topics().filter((one) => one.startsWith('t.a_group__.'))
    expect((await lettersIn(t, name!)).map(({ deadLetterFacts }) => deadLetterFacts!.group)).toEqual(['a group/ö'])
  })
})
