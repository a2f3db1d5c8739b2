import type {
  MessageQueue,
  QueueOptions,
  SubscribeOptions,
  Subscription,
  Topic,
  TopicOptions,
} from '../../src/index.ts'
import type { Message, OutgoingMessage } from '../../src/message.ts'
import type { ExploreOptions } from '../../src/testing/explore/exploration.ts'
import { Pick } from '../../src/testing/explore/pick.ts'
import type { Clock } from '../../src/testing/clock.ts'
import type { TestQueue } from '../../src/testing/test-queue.ts'

export type Test = TestQueue<Wired>
export type Area = ExploreOptions<Wired>

/** What a message tells its handlers to do. */
export interface Plan {
  readonly kind: 'sync' | 'micro' | 'slow'
  readonly ms: number
  /** How many attempts fail before one succeeds. */
  readonly fails: number
  readonly padding?: string
  /** What it is counted under; two messages may be the same to a store of idempotency marks. */
  readonly id?: string
  /** Whether its handler wants it among the dead letters. */
  readonly isLetter?: boolean
}

/** How an application of an area is built. */
export interface Shape {
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

export interface Wired {
  readonly topic: Topic<Plan>
  readonly members: Subscription[]
  /** Another member joins a group. */
  readonly join: (group: string) => Promise<unknown>
}

const keys = ['a', 'b', 'c', undefined] as const
/** What calls of a scenario may be refused with, since faults and other calls come between. */
const allowed = [
  'CRASHED',
  'CLOSED',
  'OFFSET_OUT_OF_RANGE',
  'GROUP_NOT_FOUND',
  'IN_FLIGHT_FULL',
  'GAP',
  'STORE_FULL',
  'CONFLICT',
]

/** Refusals that nothing explains; of the present run. */
const unexplained: unknown[] = []

/** Calls something that is not awaited: what it asks may find a dead process. */
export function call(what: () => unknown): void {
  const refused = (error: unknown): void => {
    if (!allowed.includes((error as { code?: string }).code ?? '')) unexplained.push(error)
  }
  try {
    Promise.resolve(what()).catch(refused)
  } catch (error) {
    refused(error)
  }
}

export function shapeOf(seed: number, more: (pick: Pick) => Partial<Shape>): Shape {
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

/** How the groups of a shape subscribe. */
export function subscribing(shape: Shape): Omit<SubscribeOptions, 'batch' | 'idempotency'> {
  const { ordering, concurrency, attempts, maxBufferedMessages, maxDeferredMessages } = shape
  return {
    from: 'earliest' as const,
    onGap: 'skip' as const,
    backoff: { delayMs: 20, maxDelayMs: 100 },
    ...{ ordering, concurrency, attempts, maxBufferedMessages, maxDeferredMessages },
  }
}

/** An application that is the same in every life, and a scenario for it. */
export function area(name: string, shape: Shape, scenario: (test: Test, pick: Pick) => unknown): Area {
  const { partitions, groups, retention, batch, queue } = shape
  const options = subscribing(shape)
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

export function planned(pick: Pick, mostFails = 1): Plan {
  const kind = pick.one(['sync', 'micro', 'slow'] as const)
  return { kind, ms: pick.integer(1, 60), fails: pick.boolean(0.15) ? pick.integer(1, mostFails) : 0 }
}

export function message(pick: Pick, partitions: number, value: Plan): OutgoingMessage<Plan> {
  const key = pick.one(keys)
  return key === undefined ? { value, partition: pick.integer(0, partitions - 1) } : { key, value }
}

/** Sends one after the other, and does something else now and then. */
export async function pour(
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
export function member(test: Test, pick: Pick): Subscription | undefined {
  const index = pick.integer(0, 7)
  const { members } = test.wired
  return members[index % Math.max(1, members.length)]
}
