import type { HandlerContext, Message, MessageQueue, StateStore, Subscription, Topic } from '../../src/index.ts'
import { openLmdbIdempotencyStore } from '../../src/idempotency/lmdb-store.ts'
import type { Clock } from '../../src/testing/clock.ts'
import { area, call, member, planned, pour, shapeOf, subscribing } from './area.ts'
import type { Area, Plan, Shape, Test, Wired } from './area.ts'

/** Where effects are seen. */
interface Books extends Wired {
  readonly mq: MessageQueue
  /** One row that everybody reads and writes. */
  readonly totals: StateStore<number>
  /** How often each piece of work was done. */
  readonly times: StateStore<number>
  readonly out: Topic<string>
}

const ids = ['i', 'j', 'k', 'l', 'm', 'n', 'o', 'p'] as const

/**
 * Handlers and transactions that send and store, some messages that go to the dead letters, and, with some seeds, marks in
 * the same environment. All of them count in one row, so that they meet there.
 */
export function effectsArea(seed: number): Area {
  let hasMarks = false
  const shape = shapeOf(seed, (pick) => {
    hasMarks = pick.boolean()
    return { attempts: pick.one([2, 3, 1_000]), ...(hasMarks && { batch: undefined }) }
  })
  let transactions = 0
  const plain = area('effects', shape, (test, pick) =>
    pour(
      test,
      pick,
      shape,
      () => {
        const what = pick.one(['transaction', 'transaction', 'join', 'close', 'release'] as const)
        const one = member(test, pick)
        const ms = pick.integer(0, 30)
        const group = pick.one(shape.groups)
        if (what === 'transaction') call(() => transact(test, `transaction ${++transactions}`, ms))
        else if (what === 'join') call(() => test.wired.join(group))
        else if (what === 'release') call(() => one?.release())
        else if (pick.boolean(0.5)) call(() => one?.close({ timeoutMs: ms, abandon: ms % 2 === 0 }))
      },
      (one) => ({ ...planned(one, 4), id: one.one(ids), isLetter: one.boolean(0.1) }),
    ),
  )
  return {
    ...plain,
    wire: (mq, { clock }) => wire(mq, clock, shape, hasMarks),
    allowDead: 1_000,
    reset: () => {
      plain.reset?.()
      transactions = 0
    },
    check: async (test) => {
      plain.check?.(test)
      await compare(test.wired as Books)
      if (hasMarks) nothingLeftOut(test, shape.groups)
    },
  }
}

async function wire(mq: MessageQueue, clock: Clock, shape: Shape, hasMarks: boolean): Promise<Books> {
  const { partitions, groups, batch } = shape
  const topic = await mq.topic<Plan>('t', { partitions })
  const out = await mq.topic<string>('out')
  const totals = await mq.store<number>('totals')
  const times = await mq.store<number>('times')
  const members: Subscription[] = []
  const store = hasMarks ? openLmdbIdempotencyStore(mq) : undefined
  const options = subscribing(shape)
  const join = async (group: string): Promise<unknown> => {
    const work = (messages: readonly Message<Plan>[], context: HandlerContext): unknown => {
      const [first] = messages as [Message<Plan>]
      const before = context.store(totals).get('all') ?? 0
      const end = (): void => {
        if (first.attempt <= first.value.fails) throw new Error('as planned')
        context.store(totals).put('all', before + messages.length)
        for (const { id, value } of messages) {
          const name = `${group} ${hasMarks ? value.id : id}`
          context.store(times).put(name, (context.store(times).get(name) ?? 0) + 1)
          context.send(out, { value: name })
        }
        if (batch === undefined && first.value.isLetter) context.deadLetter('as planned')
      }
      const { kind, ms } = first.value
      if (kind === 'sync') return end()
      return (kind === 'micro' ? Promise.resolve() : clock.sleep(ms)).then(end)
    }
    // The same id is the same work, however long it takes.
    const marks = store && { store, key: ({ value }: Message<Plan>) => `${value.id}`, fingerprint: () => 'same' }
    return members.push(
      batch
        ? await topic.subscribe(group, (messages, context) => work(messages, context), { ...options, batch })
        : await topic.subscribe(group, (message, context) => work([message], context), {
            ...options,
            ...(marks && { idempotency: marks }),
          }),
    )
  }
  for (const group of groups) await join(group)
  return { mq, topic, members, join, totals, times, out }
}

async function transact(test: Test, name: string, ms: number): Promise<void> {
  const { mq, totals, times, out } = test.wired as Books
  await mq.transaction(
    async (transaction) => {
      const before = transaction.store(totals).get('all') ?? 0
      await test.clock.sleep(ms)
      transaction.store(totals).put('all', before + 1)
      transaction.store(times).put(name, (transaction.store(times).get(name) ?? 0) + 1)
      transaction.send(out, { value: name })
    },
    { attempts: 3 },
  )
}

/** What a group has behind it was done, unless it was given up. */
function nothingLeftOut({ history, wired }: Test, groups: readonly string[]): void {
  const { mq, times } = wired as Books
  const values = new Map(history.of('send').map(({ send, value }) => [send, value as Plan]))
  for (const group of groups) {
    const dead = new Set<string>()
    for (const event of history.of('dead-lettered')) {
      if (event.group === group) dead.add(`${event.partition}@${event.offset}`)
    }
    const positions = new Map(
      mq
        .group(group)
        .positions()
        .map((one) => [one.partition, one.position]),
    )
    // A crash may take buffered ones.
    const acked = history.of('acked').filter(({ topic, acks }) => topic === 't' && acks === 'flushed')
    const given = acked.filter(({ partition, offset }) => offset < positions.get(partition)!)
    const idOf = (send: number): string => `${group} ${values.get(send)!.id}`
    const givenUp = new Set<string>()
    for (const { send, partition, offset } of given) {
      if (dead.has(`${partition}@${offset}`)) givenUp.add(idOf(send))
    }
    const left = given
      .map(({ send }) => idOf(send))
      .find((name) => {
        return !givenUp.has(name) && times.get(name) === undefined
      })
    if (left !== undefined) throw new Error(`${left} was never done`)
  }
}

/** What was done was done once, and told of once. */
async function compare({ totals, times, out }: Books): Promise<void> {
  const sent = new Map<string, number>()
  for await (const { value } of out.read()) sent.set(value, (sent.get(value) ?? 0) + 1)
  const done = times.range({ limit: 1_000 })
  for (const { key, value } of done) {
    if (value !== 1 || sent.get(key) !== 1) throw new Error(`${key}: done ${value} times, sent ${sent.get(key)} times`)
  }
  if (sent.size !== done.length) throw new Error(`${sent.size} were sent, ${done.length} were done`)
  const total = totals.get('all') ?? 0
  if (total !== done.length) throw new Error(`the total is ${total}, but ${done.length} were done`)
}
