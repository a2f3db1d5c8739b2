import { describe, expect, test } from 'vitest'
import type { Message, Subscription } from '../../src/index.ts'
import { openApp, sendAll } from './app.ts'
import { HeldCalls } from './held-calls.ts'
import { eventsOf, messagesOf, virtualQueue } from './queue.ts'

describe('members of a group', () => {
  test('share the partitions; each message goes to one of them', async () => {
    const { mq, run } = await virtualQueue()
    const rebalanced = eventsOf(mq, 'group:rebalanced')
    const topic = await run(mq.topic<string>('t', { partitions: 4 }))
    const seen: string[] = []
    const members: Subscription[] = []
    for (const name of ['x', 'y', 'z']) {
      members.push(
        await run(topic.subscribe('g', ({ value }) => void seen.push(`${name} ${value}`), { from: 'latest' })),
      )
    }
    await run(topic.sendBatch(messagesOf(...Array.from({ length: 200 }, (_, i) => `k${i}:${i}`))))
    for (const member of members) await run(member.drain())
    expect(seen).toHaveLength(200)
    expect(new Set(seen.map((line) => line.slice(2))).size).toBe(200)
    expect(members.map((member) => String(member.assignments().length)).toSorted()).toEqual(['1', '1', '2'])
    expect(mq.group('g').members()).toHaveLength(3)
    expect(members.reduce((sum, member) => sum + member.lag().count, 0)).toBe(0)
    expect(rebalanced.at(-1)).toMatchObject({ group: 'g', members: 3 })
  })

  test('ORDER-53: while members come and go, messages of a key run one at a time and in order', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 6 }))
    const names = Array.from({ length: 600 }, (_, i) => `${(i * 7) % 29}:${i}`)
    const seen = new Map<string, string[]>()
    const busy = new Set<string>()
    const handler = async ({ key, value }: Message<string>): Promise<void> => {
      expect(busy.has(key!), `${value} beside another of its key`).toBe(false)
      busy.add(key!)
      seen.set(key!, [...(seen.get(key!) ?? []), value])
      await new Promise<void>((resolve) => runtime.timer(runtime.random('work') * 20, 'work', resolve))
      busy.delete(key!)
      if (runtime.random('fault') < 0.05) {
        seen.get(key!)!.pop()
        throw new Error('once')
      }
    }
    const options = { from: 'earliest', backoff: { delayMs: 5 }, concurrency: 8 } as const
    const members = [await run(topic.subscribe('g', handler, options))]
    for (let i = 0; i < names.length; i += 20) {
      await run(topic.sendBatch(messagesOf(...names.slice(i, i + 20))))
      await runtime.advance(runtime.random('turn') * 15)
      if (runtime.random('turn') < 0.5) members.push(await run(topic.subscribe('g', handler, options)))
      else if (members.length > 1)
        void members.splice(Math.floor(runtime.random('turn') * members.length), 1)[0]!.close()
    }
    for (let i = 0; i < 100 && mq.group('g').lag().count > 0; i++) await runtime.advance(100)
    expect(mq.group('g').lag().count).toBe(0)
    for (const [key, values] of seen) expect(values).toEqual(names.filter((name) => name.startsWith(`${key}:`)))
    expect(seen.size).toBe(29)
  })

  test('FENCE-45: after an abandoned member ends late, its partition is still handed out by one member only', async () => {
    const { mq, run, settle } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    await run(topic.sendBatch(['a0', 'b0', 'b1'].map((value) => ({ value, partition: value.startsWith('b') ? 1 : 0 }))))
    const [old, young] = [new HeldCalls(), new HeldCalls()]
    const first = await run(topic.subscribe('g', old.handler, { from: 'earliest' }))
    await settle()
    const second = await run(topic.subscribe('g', young.handler))
    await settle()
    expect(young.started).toEqual([])
    await run(first.close({ timeoutMs: 0, abandon: true }))
    await settle()
    expect(young.running).toEqual(['a0', 'b0', 'b1'])
    old.endAll()
    await settle()
    young.endAll()
    await run(second.idle())
    expect(young.started).toEqual(['a0', 'b0', 'b1'])
    expect(second.lag().count).toBe(0)
  })

  test('what a member was retrying goes to the new owner, with its attempts and its time', async () => {
    await using t = await openApp({ backoff: { delayMs: 60_000, jitter: 0 } })
    t.handler('g').failTimes(1)
    await sendAll(t, 'a:1', 'a:2')
    await t.settle()
    t.assert.pending('retry', { key: 'a', attempt: 2 }, { times: 1 })
    await t.resolve(t.wired.subscription.close())
    await t.resolve(t.wired.join())
    await t.advance(59_999)
    expect(t.group('g').delivered).toHaveLength(1)
    await t.drain()
    expect(t.group('g').delivered.map(({ member, offset, attempt }) => [member, offset, attempt])).toEqual([
      ['g#1', 0, 1],
      ['g#2', 0, 2],
      ['g#2', 1, 1],
    ])
  })

  test('ORDER-55: a batch that fails while one of its partitions is given back keeps the order of the others', async () => {
    const { mq, run, runtime } = await virtualQueue()
    const topic = await run(mq.topic<string>('t', { partitions: 2 }))
    const send = (value: string, partition: number): Promise<unknown> => run(topic.send({ key: 'k', value, partition }))
    const [old, young] = [new HeldCalls(), new HeldCalls()]
    const batch = { max: 10, maxWaitMs: 50 }
    await run(topic.subscribe('g', old.handler, { from: 'earliest', batch }))
    await send('gone', 1)
    await send('1', 0)
    await send('2', 0)
    await runtime.advance(50)
    expect(old.running).toEqual(['gone 1 2'])
    await send('3', 0)
    await run(topic.subscribe('g', young.handler, { batch }))
    await runtime.settle()
    old.fail('gone 1 2')
    for (let i = 0; i < 5; i++) {
      await runtime.advance(1_000)
      old.endAll()
      young.endAll()
    }
    await runtime.settle()
    expect([old.started.join(' '), young.started]).toEqual(['gone 1 2 1 2 3', ['gone']])
    expect(mq.group('g').lag().count).toBe(0)
  })

  test('have to consume the same topics', async () => {
    const { mq, run } = await virtualQueue()
    const t = await run(mq.topic<string>('t'))
    const u = await run(mq.topic<string>('u'))
    await run(t.subscribe('g', () => {}, { from: 'earliest' }))
    await expect(run(u.subscribe('g', () => {}, { from: 'earliest' }))).rejects.toMatchObject({
      code: 'GROUP_CONFLICT',
    })
    await expect(run(mq.group('g').delete())).rejects.toMatchObject({ code: 'GROUP_CONFLICT' })
  })

  test('a group that is deleted while it is joined stays one group', async () => {
    const { mq, run } = await virtualQueue()
    const topic = await run(mq.topic<string>('t'))
    await run((await run(topic.subscribe('g', () => {}, { from: 'earliest' }))).close())
    const joined = topic.subscribe('g', () => {}, { from: 'earliest' })
    const [join] = await run(Promise.allSettled([joined, mq.group('g').delete()]))
    expect(mq.groups()).toEqual(join.status === 'fulfilled' ? ['g'] : [])
    const other = await run(topic.subscribe('g', () => {}, { from: 'earliest' }))
    const owned = join.status === 'fulfilled' ? join.value.assignments().length : 0
    expect(owned + other.assignments().length).toBe(1)
  })
})
