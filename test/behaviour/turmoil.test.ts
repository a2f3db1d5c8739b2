import { describe, expect, test } from 'vitest'
import type { Message, Subscription } from '../../src/index.ts'
import { virtualQueue, type VirtualQueue } from './queue.ts'

type Ordering = 'key' | 'partition' | 'unordered'

/** What happened to the messages, and what must not have. */
class Ledger {
  readonly done = new Map<string, number>()
  readonly faults: string[] = []
  readonly #ordering: Ordering
  /** The highest offset that each lane has finished, and the one that it runs. */
  readonly #finished = new Map<string, number>()

  constructor(ordering: Ordering) {
    this.#ordering = ordering
  }

  /** What has to run in order with this message; undefined when nothing has. */
  laneOf({ key, partition }: Message<number>): string | undefined {
    if (this.#ordering === 'partition') return `${partition}`
    return this.#ordering === 'key' && key !== undefined ? `${partition} ${key}` : undefined
  }

  begin(message: Message<number>): void {
    const lane = this.laneOf(message)
    if (lane === undefined) return
    const finished = this.#finished.get(lane) ?? -1
    if (message.offset <= finished) this.faults.push(`${lane}: ${message.offset} after ${finished}`)
  }

  end(message: Message<number>): void {
    const lane = this.laneOf(message)
    if (lane !== undefined) this.#finished.set(lane, message.offset)
    this.done.set(message.id, (this.done.get(message.id) ?? 0) + 1)
  }
}

/** Handlers that take time and fail now and then; a failed message of a batch takes the later ones of its lane with it. */
function handlersOf({ runtime }: VirtualQueue, ledger: Ledger) {
  const work = (): Promise<void> =>
    new Promise((resolve) => runtime.timer(runtime.random('work') * 10, 'work', () => resolve()))
  const fails = (): boolean => runtime.random('fault') < 0.1
  const one = async (message: Message<number>): Promise<void> => {
    ledger.begin(message)
    await work()
    if (fails()) throw new Error('now and then')
    ledger.end(message)
  }
  const many = async (messages: Message<number>[]): Promise<unknown[]> => {
    ledger.begin(messages[0]!)
    await work()
    const stuck = new Set<string>()
    return messages.map((message) => {
      const lane = ledger.laneOf(message)
      if (lane !== undefined && stuck.has(lane)) return undefined
      if (!fails()) return ledger.end(message)
      if (lane !== undefined) stuck.add(lane)
      return new Error('now and then')
    })
  }
  return { one, many }
}

async function turmoil(seed: number, ordering: Ordering, inBatches: boolean): Promise<void> {
  const queue = await virtualQueue({ tailBytes: 65_536 }, seed)
  const { mq, run, runtime } = queue
  const topic = await run(mq.topic<number>('t', { partitions: 5 }))
  const ledger = new Ledger(ordering)
  const { one, many } = handlersOf(queue, ledger)
  const limits = { concurrency: 6, maxBufferedMessages: 40, maxDeferredMessages: 60 }
  const options = { from: 'earliest', ordering, attempts: Infinity, backoff: { delayMs: 3 }, ...limits } as const
  const batch = { max: 7, maxWaitMs: 3 }
  const join = (): Promise<Subscription> =>
    run(inBatches ? topic.subscribe('g', many, { ...options, batch }) : topic.subscribe('g', one, options))
  const members = [await join()]
  const random = (limit: number): number => Math.floor(runtime.random('turmoil') * limit)
  let sent = 0
  for (let step = 0; step < 40; step++) {
    const count = random(50)
    sent += count
    // A key stays in its partition, so that order can be told by offsets.
    const messages = Array.from({ length: count }, (_, i) => {
      const number = random(13)
      return { value: i, partition: number % 5, ...(number > 10 ? {} : { key: `k${number}` }) }
    })
    await run(topic.sendBatch(messages))
    await runtime.advance(random(20))
    const partition = random(5)
    const actions: (() => Promise<void> | void)[] = [
      async () => void members.push(await join()),
      () => (members.length > 1 ? void members.splice(random(members.length), 1)[0]!.close() : undefined),
      () => void members.map((member) => member.pause({ partition })),
      () => void [0, 1, 2, 3, 4].map((one) => members.map((member) => member.resume({ partition: one }))),
      () => void members.map((member) => member.setConcurrency(1 + random(9))),
    ]
    if (ordering === 'key') {
      actions.push(() => void members.map((member) => member.pause({ key: 'k3' })))
      actions.push(() => void members.map((member) => member.resume({ key: 'k3' })))
    }
    await actions[random(actions.length)]!()
  }
  for (const member of members) {
    if (ordering === 'key') member.resume({ key: 'k3' })
    for (let partition = 0; partition < 5; partition++) member.resume({ partition })
  }
  for (let turn = 0; turn < 300 && mq.group('g').lag().count > 0; turn++) await runtime.advance(100)
  expect({ faults: ledger.faults, left: mq.group('g').lag().count }).toEqual({ faults: [], left: 0 })
  expect(ledger.done.size).toBe(sent)
  expect(Math.max(...ledger.done.values())).toBe(1)
}

describe('members, pauses, failures and small memory at once', () => {
  const first = Number(process.env['LANEMQ_SEED'] ?? 1)
  for (const ordering of ['key', 'partition', 'unordered'] as const) {
    for (const inBatches of [false, true]) {
      const what = `${ordering}, ${inBatches ? 'batches' : 'single messages'}`
      test(`LOSS-52, ORDER-56: every message is finished once, in the order that was asked for: ${what}`, async () => {
        for (let seed = first; seed < first + 5; seed++) await turmoil(seed, ordering, inBatches)
      })
    }
  }
})
