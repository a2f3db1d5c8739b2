import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import { runs } from '../runs.ts'
import type { Plan } from './group-model.ts'
import { keys, World, type GroupConfig } from './world.ts'

const plan: fc.Arbitrary<Omit<Plan, 'id'>> = fc.record({
  kind: fc.constantFrom('sync' as const, 'micro' as const, 'slow' as const),
  ms: fc.integer({ min: 1, max: 60 }),
  fails: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) }),
})

const key = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...keys) },
  { weight: 1, arbitrary: fc.constant(undefined) },
)

const config: fc.Arbitrary<GroupConfig> = fc.record({
  ordering: fc.oneof(
    { weight: 4, arbitrary: fc.constant('key' as const) },
    { weight: 1, arbitrary: fc.constantFrom('partition' as const, 'unordered' as const) },
  ),
  attempts: fc.constantFrom(2, Infinity),
  batch: fc.option(fc.record({ max: fc.integer({ min: 1, max: 8 }), maxWaitMs: fc.constantFrom(0, 15) }), {
    nil: undefined,
    freq: 2,
  }),
  maxBufferedMessages: fc.constantFrom(1, 8, 10_000),
})

const nth = fc.nat(1000)

type Step = (world: World) => Promise<void> | void

/** A named step, so that a counterexample can be read. */
function step(name: string, run: Step): Step {
  return Object.assign(run, { toString: () => name })
}

const sends = fc
  .record({
    key,
    partition: nth,
    plans: fc.array(plan, { minLength: 1, maxLength: 6 }),
    acks: fc.constantFrom('flushed' as const, 'buffered' as const),
  })
  .map(({ key, partition, plans, acks }) =>
    step(`send(${JSON.stringify({ key, partition, plans, acks })})`, (world) =>
      world.send(key, partition, plans, acks),
    ),
  )

const joins = fc
  .record({ group: nth, concurrency: fc.integer({ min: 1, max: 5 }), from: fc.constantFrom('earliest', 'latest') })
  .map(({ group, concurrency, from }) =>
    step(`join(${group}, ${concurrency}, ${from})`, (world) =>
      world.join(group % world.groups.length, concurrency, from as 'earliest'),
    ),
  )

const passes = fc.integer({ min: 0, max: 80 }).map((ms) => step(`advance(${ms})`, (world) => world.runtime.advance(ms)))

const hops = fc.nat(4).map((count) =>
  step(`hop(${count})`, async () => {
    for (let i = 0; i < count; i++) await Promise.resolve()
  }),
)

/** Does something with one of the members, if there is any. */
function withMember(
  name: string,
  run: (world: World, member: World['members'][number]) => Promise<void> | void,
): fc.Arbitrary<Step> {
  return nth.map((n) =>
    step(`${name} by member ${n}`, (world) => {
      const member = world.members[n % Math.max(1, world.members.length)]
      return member && run(world, member)
    }),
  )
}

const leaves = fc
  .constantFrom(0, 20, 5000)
  .chain((timeoutMs) => withMember(`leave within ${timeoutMs}`, (world, member) => world.leave(member, timeoutMs)))

const resizes = fc.integer({ min: 1, max: 6 }).chain((concurrency) =>
  withMember(`setConcurrency(${concurrency})`, (_world, member) => {
    member.concurrency = concurrency
    member.subscription.setConcurrency(concurrency)
  }),
)

const pauses = fc.constantFrom('all', ...keys, 0, 1, 2).chain((what) =>
  withMember(`pause(${what})`, (world, member) => {
    if (what === 'all') {
      member.isPaused = true
      member.subscription.pause()
    } else if (typeof what === 'number') {
      member.pausedPartitions.add(what % world.partitions)
      member.subscription.pause({ partition: what % world.partitions })
    } else if (world.groups[member.group]!.ordering === 'key') {
      member.pausedKeys.add(what)
      member.subscription.pause({ key: what })
    }
  }),
)

const resumes = withMember('resume()', (world, member) => {
  member.isPaused = false
  member.subscription.resume()
  for (const key of member.pausedKeys) member.subscription.resume({ key })
  member.pausedKeys.clear()
  for (const partition of member.pausedPartitions) member.subscription.resume({ partition })
  member.pausedPartitions.clear()
  return world.runtime.settle()
})

const retries = withMember('release()', (_world, member) => void member.subscription.release())
const idles = withMember('idle()', (world, member) => world.idle(member))
const seeks = fc
  .record({
    group: nth,
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    partition: fc.option(nth, { nil: undefined }),
  })
  .map(({ group, share, partition }) =>
    step(`seek(${group}, ${share}, ${partition})`, (world) =>
      world.seek(group % world.groups.length, share, partition),
    ),
  )
const trims = fc
  .record({ share: fc.double({ min: 0, max: 1, noNaN: true }), partition: nth })
  .map(({ share, partition }) => step(`trim(${share}, ${partition})`, (world) => world.trim(share, partition)))
const crashes = fc
  .constantFrom('process' as const, 'power' as const)
  .map((kind) => step(`crash(${kind})`, (world) => world.crash(kind)))

const calm: fc.WeightedArbitrary<Step>[] = [
  { weight: 10, arbitrary: sends },
  { weight: 4, arbitrary: joins },
  { weight: 6, arbitrary: passes },
  { weight: 3, arbitrary: hops },
  { weight: 2, arbitrary: leaves },
  { weight: 1, arbitrary: resizes },
  { weight: 1, arbitrary: retries },
  { weight: 1, arbitrary: idles },
]

async function play(
  partitions: number,
  groups: readonly GroupConfig[],
  steps: readonly Step[],
  seed: number,
): Promise<void> {
  const world = new World(partitions, groups, seed)
  await world.open()
  for (const step of steps) {
    await step(world)
    world.check()
  }
  await world.finish()
}

function property(
  extra: readonly fc.WeightedArbitrary<Step>[],
  groups: fc.Arbitrary<GroupConfig> = config,
): Promise<void> {
  const { seed, numRuns } = runs(40)
  return fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(groups, { minLength: 1, maxLength: 2 }),
      fc.array(fc.oneof(...calm, ...extra), { minLength: 5, maxLength: 100, size: 'max' }),
      (partitions, configs, steps) => play(partitions, configs, steps, seed),
    ),
    { seed, numRuns },
  ) as Promise<void>
}

const single = config.map((one) => ({ ...one, batch: undefined }))

// Finding the smallest counterexample takes longer than the runs themselves.
const timeout = 120_000 + runs(40).numRuns * 1000

describe('in virtual time, whatever is sent and whoever joins, leaves and fails', { timeout }, () => {
  test('ORDER-21: no key is handled twice at once or out of order, nothing is lost or repeated, limits hold and closing ends', () =>
    property([], single))

  test('ORDER-22: the same with handlers of batches', () =>
    property(
      [],
      config.map((one) => ({ ...one, batch: one.batch ?? { max: 5, maxWaitMs: 10 } })),
    ))

  test('PROGRESS-24: the same over crashes of the process and of the power: what was flushed stays, what was settled stays finished', () =>
    property([{ weight: 2, arbitrary: crashes }]))

  test('PROGRESS-25: the same with seeks: a group goes on from where it was put', () =>
    property([{ weight: 2, arbitrary: seeks }], single))

  test('ORDER-23: the same with pausing all, partitions and keys: nothing paused is handed out', () =>
    property([
      { weight: 2, arbitrary: pauses },
      { weight: 2, arbitrary: resumes },
    ]))

  test('LOSS-23: the same with trims: what is not removed is handled, in order, and nobody waits for what is', () =>
    property([
      { weight: 2, arbitrary: trims },
      { weight: 1, arbitrary: crashes },
    ]))

  test('LOSS-22: the same with all of it at once', () =>
    property([
      { weight: 1, arbitrary: crashes },
      { weight: 1, arbitrary: seeks },
      { weight: 1, arbitrary: trims },
      { weight: 1, arbitrary: pauses },
      { weight: 2, arbitrary: resumes },
    ]))
})
