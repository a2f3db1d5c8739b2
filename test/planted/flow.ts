import type { Message, MessageQueue, Subscription, Topic } from '../../src/index.ts'
import type { ExploreOptions, TestQueue, WireContext } from '../../src/testing/index.ts'
import type { PlantedEngine } from './planted-engine.ts'

/** What a flow's wiring hands to its scenario. */
export interface Wired {
  readonly mq: MessageQueue
  readonly topics: readonly Topic<Work>[]
  readonly subscriptions: Subscription[]
  /** Adds one more member. */
  readonly join?: () => Promise<Subscription>
  /** Sends by two producers of one name. */
  readonly send?: (id: string) => unknown
}

/** A message of a flow: how long its handler takes, and how often it fails before it succeeds. */
export interface Work {
  readonly id: string
  readonly ms?: number
  readonly fails?: number
  /** How often its handler is over its time. */
  readonly slow?: number
}

export type Test = TestQueue<Wired>

/** Something to explore; each call begins with a state of its own. */
export interface Flow {
  readonly about: string
  /** What lies beside the engine, as a store of idempotency marks, has to come from `engine` as well. */
  options(engine: PlantedEngine): ExploreOptions<Wired>
}

export const backoff = { type: 'fixed', delayMs: 20, jitter: 0 } as const

/** A handler that takes virtual time, and fails as its message says. */
export function work({ clock }: WireContext): (message: Message<Work>) => Promise<void> {
  return async ({ value, attempt }) => {
    await clock.sleep(value.ms ?? 1)
    if (attempt <= (value.fails ?? 0)) throw new Error(`${value.id} fails`)
  }
}

/** Lets virtual time pass in a scenario, over crashes. */
export async function wait(test: Test, ms: number): Promise<void> {
  await test.advance(`${ms}ms`).catch(() => {})
}

/** Does something with the present life that a crash may cut off, so nobody waits for it. */
export function attempt(what: () => unknown): void {
  const tried = async (): Promise<unknown> => what()
  tried().catch(() => {})
}

export async function sendAll(
  test: Test,
  topic: string,
  messages: readonly (Work & { key?: string; partition?: number })[],
): Promise<void> {
  await Promise.all(
    messages.map(({ key, partition, ...value }) => {
      return test.send(topic, {
        value,
        ...(key === undefined ? {} : { key }),
        ...(partition === undefined ? {} : { partition }),
      })
    }),
  )
}

export async function topicsOf(mq: MessageQueue, partitions: number, ...names: string[]): Promise<Topic<Work>[]> {
  const topics: Topic<Work>[] = []
  for (const name of names) topics.push(await mq.topic<Work>(name, { partitions }))
  return topics
}
