import type { MessageQueue, QueueOptions, Subscription, Topic, TopicOptions } from '../../src/index.ts'
import type { Message, OutgoingMessage } from '../../src/message.ts'
import type { ExploreOptions } from '../../src/testing/explore/exploration.ts'
import { Pick } from '../../src/testing/explore/pick.ts'
import type { Clock } from '../../src/testing/clock.ts'
import type { TestQueue } from '../../src/testing/test-queue.ts'

type Test = TestQueue<Wired>
export type Area = ExploreOptions<Wired>

/** What a message tells its handlers to do. */
interface Plan {
  readonly kind: 'sync' | 'micro' | 'slow'
  readonly ms: number
  /** How many attempts fail before one succeeds. */
  readonly fails: number
  readonly padding?: string
}

/** How an application of an area is built. */
interface Shape {
  readonly partitions: number
  readonly groups: readonly string[]
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  readonly attempts: number
  readonly maxBufferedMessages: number
  readonly maxDeferredMessages: number
  readonly batch?: { readonly max: number; readonly maxWaitMs: number } | undefined
  readonly retention?: TopicOptions<Plan>['retention']
  readonly queue?: QueueOptions
}

interface Wired {
  readonly topic: Topic<Plan>
  readonly members: Subscription[]
  /** Another member joins a group. */
  readonly join: (group: string) => Promise<unknown>
}

const keys = ['a', 'b', 'c', undefined] as const
/** What calls of a scenario may be refused with, since faults and other calls come between. */
const allowed = ['CRASHED', 'CLOSED', 'OFFSET_OUT_OF_RANGE', 'GROUP_NOT_FOUND', 'IN_FLIGHT_FULL', 'GAP', 'STORE_FULL']

/** Refusals that nothing explains; of the present run. */
const unexplained: unknown[] = []

/** Calls something that is not awaited: what it asks may find a dead process. */
function call(what: () => unknown): void {
  const refused = (error: unknown): void => {
    if (!allowed.includes((error as { code?: string }).code ?? '')) unexplained.push(error)
  }
  try {
    Promise.resolve(what()).catch(refused)
  } catch (error) {
    refused(error)
  }
}

function shapeOf(seed: number, more: (pick: Pick) => Partial<Shape>): Shape {
  const pick = new Pick(seed, undefined)
  return {
    partitions: pick.integer(1, 3),
    groups: pick.one([['g'], ['g', 'h']]),
    ordering: pick.one(['key', 'key', 'key', 'partition', 'unordered']),
    concurrency: pick.integer(1, 5),
    attempts: 1_000,
    maxBufferedMessages: pick.one([1, 4, 10_000]),
    maxDeferredMessages: pick.one([0, 2, 100_000]),
    batch: pick.boolean(0.3) ? { max: pick.integer(1, 6), maxWaitMs: pick.one([0, 15]) } : undefined,
    ...more(pick),
  }
}

function handle({ value: { kind, ms, fails }, attempt }: Message<Plan>, clock: Clock): unknown {
  const end = (): void => {
    if (attempt <= fails) throw new Error('as planned')
  }
  if (kind === 'sync') return end()
  return (kind === 'micro' ? Promise.resolve() : clock.sleep(ms)).then(end)
}

/**
 * Message by message; an array fails as a whole only with its first message, since of each order only the first message
 * counts an attempt then: a later one that fails by its own attempts would fail for ever.
 */
async function handleAll(messages: readonly Message<Plan>[], clock: Clock): Promise<unknown> {
  const outcomes = await Promise.allSettled(messages.map(async (message) => handle(message, clock)))
  const [first] = outcomes
  if (first!.status === 'rejected' && messages[0]!.offset % 2 === 0) throw first!.reason
  return outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as unknown) : undefined))
}

/** An application that is the same in every life, and a scenario for it. */
function area(name: string, shape: Shape, scenario: (test: Test, pick: Pick) => unknown): Area {
  const { partitions, groups, retention, batch, queue } = shape
  const { ordering, concurrency, attempts, maxBufferedMessages, maxDeferredMessages } = shape
  const options = {
    from: 'earliest' as const,
    onGap: 'skip' as const,
    backoff: { delayMs: 20, maxDelayMs: 100 },
    ...{ ordering, concurrency, attempts, maxBufferedMessages, maxDeferredMessages },
  }
  const wire = async (mq: MessageQueue, { clock }: { readonly clock: Clock }): Promise<Wired> => {
    const topic = await mq.topic<Plan>('t', { partitions, ...(retention && { retention }) })
    const members: Subscription[] = []
    const join = async (group: string): Promise<unknown> =>
      members.push(
        batch
          ? await topic.subscribe(group, (messages) => handleAll(messages, clock), { ...options, batch })
          : await topic.subscribe(group, (message) => handle(message, clock), options),
      )
    for (const group of groups) await join(group)
    return { topic, members, join }
  }
  return {
    name,
    wire,
    scenario,
    reset: () => void (unexplained.length = 0),
    check: () => {
      if (unexplained.length > 0) throw unexplained[0] as Error
    },
    ...(queue && { queue }),
  }
}

function planned(pick: Pick, mostFails = 1): Plan {
  const kind = pick.one(['sync', 'micro', 'slow'] as const)
  return { kind, ms: pick.integer(1, 60), fails: pick.boolean(0.15) ? pick.integer(1, mostFails) : 0 }
}

function message(pick: Pick, partitions: number, value: Plan): OutgoingMessage<Plan> {
  const key = pick.one(keys)
  return key === undefined ? { value, partition: pick.integer(0, partitions - 1) } : { key, value }
}

/** Sends one after the other, and does something else now and then. */
async function pour(
  test: Test,
  pick: Pick,
  { partitions }: Shape,
  act: (step: number) => void,
  plan: (pick: Pick) => Plan = planned,
): Promise<void> {
  const sends: Promise<unknown>[] = []
  const count = pick.integer(3, 14)
  for (let step = 0; step < count; step++) {
    const one = message(pick, partitions, plan(pick))
    const acks = pick.boolean(0.8) ? 'flushed' : 'buffered'
    const sent = test.send('t', one, { acks })
    call(() => sent)
    sends.push(sent)
    if (pick.boolean(0.5)) act(step)
    if (pick.boolean(0.4)) await test.clock.sleep(pick.integer(1, 50))
  }
  await Promise.allSettled(sends)
}

/** One of the members that the present life has. */
function member(test: Test, pick: Pick): Subscription | undefined {
  const index = pick.integer(0, 7)
  const { members } = test.wired
  return members[index % Math.max(1, members.length)]
}

/** Areas of the engine: each is an application and what happens to it, drawn from a seed. */
export const areas: Readonly<Record<string, (seed: number) => Area>> = {
  lanes: (seed) => {
    const shape = shapeOf(seed, () => ({}))
    return area('lanes', shape, async (test, pick) => {
      const held: (() => void)[] = []
      await pour(test, pick, shape, () => {
        const one = member(test, pick)
        const concurrency = pick.integer(1, 5)
        const what = pick.one([{ key: 'a' }, { partition: 0 }, undefined, 'resize', 'batch'] as const)
        if (what === 'resize') call(() => one?.setConcurrency(concurrency))
        else if (what === 'batch') {
          const messages = pick.list(1, 5, () => message(pick, shape.partitions, planned(pick)))
          call(() => test.wired.topic.sendBatch(messages))
        } else if (shape.ordering === 'key' || what === undefined || !('key' in what)) {
          call(() => one?.pause(what))
          held.push(() => call(() => one?.resume(what)))
        }
      })
      for (const release of held) release()
    })
  },

  retries: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ attempts: pick.one([2, 3, Infinity]) }))
    const retries = area('retries', shape, (test, pick) =>
      pour(
        test,
        pick,
        shape,
        () => {
          const one = member(test, pick)
          const key = pick.one(['a', 'b'])
          if (pick.boolean(0.3)) call(() => one?.retry(shape.ordering === 'key' && pick.boolean() ? key : undefined))
        },
        (one) => ({ ...planned(one, 4), fails: one.boolean() ? one.integer(0, 4) : 0 }),
      ),
    )
    return { ...retries, allowDead: 1_000 }
  },

  rebalances: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ partitions: pick.integer(2, 4) }))
    return area('rebalances', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const one = member(test, pick)
        const group = pick.one(shape.groups)
        const how = { timeoutMs: pick.one([0, 10, 5_000]), abandon: pick.boolean(0.3) }
        if (pick.boolean()) call(() => test.wired.join(group))
        else call(() => one?.close(how))
      }),
    )
  },

  progress: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ concurrency: pick.integer(2, 8), maxBufferedMessages: 10_000 }))
    const progress = area('progress', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const how = pick.one(['process', 'power', 'flush', 'idle', 'drain'] as const)
        const one = member(test, pick)
        if (how === 'flush') call(() => test.mq.flush())
        else if (how === 'idle') call(() => one?.idle())
        else if (how === 'drain') call(() => one?.drain({ timeoutMs: 30 }))
        else if (pick.boolean(0.3)) call(() => test.crash(how))
      }),
    )
    return {
      ...progress,
      eventually: {
        'nothing is behind': (test) => shape.groups.every((group) => test.mq.group(group).lag().count === 0),
      },
    }
  },

  seek: (seed) => {
    const shape = shapeOf(seed, () => ({}))
    return area('seek', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const now = Math.floor(test.clock.now())
        const offset = pick.integer(0, 4)
        const to = pick.one(['earliest', 'latest', { offset }, { timestamp: now - pick.integer(0, 60) }] as const)
        const where = pick.boolean() ? { partition: pick.integer(0, shape.partitions - 1) } : undefined
        const group = pick.one(shape.groups)
        const one = member(test, pick)
        call(() => (pick.boolean() ? test.mq.group(group).seek(to, where) : one?.seek(to, where)))
      }),
    )
  },

  'retention and gaps': (seed) => {
    const shape = shapeOf(seed, (pick) => ({
      queue: { retentionCheckMs: 20 },
      retention: pick.one([
        {},
        { maxAgeMs: 60 },
        { maxBytes: 500 },
        { consumedBy: ['g'], maxAgeMs: 1 },
        { consumedBy: ['g'], hardMaxBytes: 700 },
      ]),
    }))
    return area('retention and gaps', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const partition = pick.integer(0, shape.partitions - 1)
        const share = pick.integer(0, 4) / 4
        call(() => {
          const { start, end } = test.wired.topic.offsets()[partition]!
          return test.wired.topic.trim(partition, start + Math.floor((end - start) * share))
        })
      }),
    )
  },

  'back-pressure': (seed) => {
    const waiting = new Pick(seed, undefined).one([2, 100])
    const shape = shapeOf(seed, (pick) => ({
      maxBufferedMessages: pick.one([1, 3]),
      maxDeferredMessages: pick.one([0, 2]),
      queue: { maxInFlightBytes: 1_024, maxWaitingSends: waiting, onFull: pick.one(['wait', 'wait', 'reject']) },
    }))
    // What a call gives back is held beyond the limit, until it was handed out again.
    const inHand = (shape.concurrency + 1) * (shape.batch?.max ?? 1)
    const pressure = area('back-pressure', shape, (test, pick) =>
      pour(
        test,
        pick,
        shape,
        () => {
          const messages = pick.list(1, 4, () => message(pick, shape.partitions, planned(pick)))
          const acks = pick.one(['flushed', 'buffered'] as const)
          call(() => test.wired.topic.sendBatch(messages, { acks }))
        },
        (one) => ({ ...planned(one), padding: 'x'.repeat(one.one([0, 300, 900])) }),
      ),
    )
    return {
      ...pressure,
      always: {
        'what waits stays within its bounds': (test) => {
          if (test.history.events.at(-1)?.kind !== 'deliver') return true
          const { store, subscriptions } = test.mq.stats()
          const bound = shape.maxDeferredMessages + inHand
          return store.waitingSends <= waiting && subscriptions.every(({ deferred }) => deferred <= bound)
        },
      },
    }
  },

  shutdown: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ queue: { closeTimeoutMs: pick.one([0, 30, 5_000]) } }))
    /** Numbers of the events before which a queue had been closed whole. */
    const closed: number[] = []
    const shutdown = area('shutdown', shape, async (test, pick) => {
      const sending = pour(test, pick, shape, () => {
        const one = member(test, pick)
        if (pick.boolean(0.2)) call(() => one?.close())
      })
      await test.clock.sleep(pick.integer(0, 200))
      const { life } = test.history
      const kind = pick.one(['process', 'power'] as const)
      call(async () => {
        await test.mq.close()
        if (test.history.life !== life) return
        closed.push(test.history.events.length)
        test.crash(kind)
      })
      await sending
      await test.clock.sleep(10_000)
      await pour(test, pick, shape, () => {})
    })
    return {
      ...shutdown,
      reset: () => {
        shutdown.reset?.()
        closed.length = 0
      },
      eventually: {
        'a closed queue has lost nothing, buffered or not': (test) => closed.every((at) => isWhole(test, at)),
      },
    }
  },
}

/** Whether what was acknowledged in a life that was closed is there in the next one. */
function isWhole({ history }: Test, closedAt: number): boolean {
  const { life } = history.events[closedAt]!
  const snapshot = history.of('snapshot').find(({ seq }) => seq > closedAt)
  if (snapshot === undefined) return true
  return history
    .of('acked')
    .filter((acked) => acked.life === life && acked.seq < closedAt)
    .every(({ topic, partition, offset }) => {
      const log = snapshot.logs.find((one) => one.topic === topic && one.partition === partition)
      return log !== undefined && log.end > offset
    })
}
