import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CommitPart } from '../../../src/contracts/commit-part.ts'
import type { LocalClaim, LocalOutcome, PlaceMarks } from '../../../src/contracts/idempotency-store.ts'
import type { Contributor } from '../../../src/contracts/storage.ts'
import { MarkBlocks } from '../../../src/idempotency/mark-blocks.ts'
import { StateMarks } from '../../../src/idempotency/local-marks.ts'
import { stateSpaces } from '../../../src/key-layout.ts'
import { realRuntime } from '../../../src/runtime/real-runtime.ts'
import type { Runtime } from '../../../src/runtime/runtime.ts'
import { LocalState } from '../../../src/state/local-state.ts'
import { StateTable } from '../../../src/state/state-table.ts'
import { openMemoryStorage } from '../../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import { runs } from '../../runs.ts'

/** Marks on a store whose commits are made when the test says so, and whose clock it moves. */
function scene() {
  const runtime = new VirtualRuntime()
  const storage = openMemoryStorage({ runtime })
  let time = 1_000_000
  let marked = new Set<Contributor>()
  let life = open()

  function open() {
    marked = new Set()
    const table = new StateTable(storage, { mark: (contributor) => void marked.add(contributor), wait: () => {} })
    const state = new LocalState(1, table, { find: () => undefined, create: () => 1, all: () => [] })
    const clock: Runtime = { ...realRuntime, now: () => time }
    return { table, state, clock, marks: new StateMarks(state, clock, 1_000), blocks: MarkBlocks.of(state, clock) }
  }

  return {
    get marks(): StateMarks {
      return life.marks
    },
    get blocks(): MarkBlocks {
      return life.blocks
    },
    get now(): number {
      return time
    },
    advance(ms: number): void {
      time += ms
    },
    /** Another store on the same queue. */
    another: () => new StateMarks(life.state, life.clock, 1_000),
    places: (group = 'g'): PlaceMarks => life.marks.places(group),
    /** Makes a commit of what is marked, and returns how many rows it writes and what brings it to the disk. */
    commit(): { rows: number; flush: () => Promise<void> } {
      if (!marked.delete(life.table)) return { rows: 0, flush: async () => {} }
      const writes = storage.batch()
      life.table.contribute(writes)
      expect(marked.size, 'what is written belongs to this commit, not to another one').toBe(0)
      const { table } = life
      return {
        rows: writes.size,
        flush: async () => {
          await runtime.resolve(storage.commit(writes))
          table.flushed()
        },
      }
    },
    /** The process dies: what no commit brought to the disk is gone. */
    reopen(): void {
      life = open()
    },
    /** Rows on disk. */
    stored: () =>
      [stateSpaces.placeMarks, stateSpaces.placeMarkExpiry].map((space) => {
        return life.table.range(space, { from: Buffer.alloc(0), limit: 100_000 }).length
      }),
  }
}

function apply(part: CommitPart): void {
  part.check()
  part.apply([])
}

function acquired(outcome: LocalOutcome): LocalClaim {
  expect(outcome.outcome).toBe('acquired')
  return outcome as LocalClaim
}

const origin = '1.7.'
const ttlMs = 10_000
const mark = (places: PlaceMarks, offset: number): void =>
  apply(acquired(places.begin(origin, offset)).completion(undefined, ttlMs))
const outcomes = (places: PlaceMarks, ...offsets: number[]): string[] =>
  offsets.map((offset) => {
    const found = places.begin(origin, offset)
    if (found.outcome === 'acquired') found.release()
    return found.outcome
  })

describe('marks by place', () => {
  test('ONCE-175: however many marks a commit is about, it has one row for each block of them', async () => {
    const { places, commit, reopen } = scene()
    for (let offset = 0; offset < 1_000; offset++) mark(places(), offset)
    const first = commit()
    expect(first.rows, 'two blocks, and when each of them ends').toBe(4)
    await first.flush()
    mark(places(), 1_000)
    mark(places(), 1_001)
    const { rows, flush } = commit()
    expect(rows, 'when it ends is known already').toBe(1)
    expect(commit().rows).toBe(0)
    await flush()
    reopen()
    mark(places(), 1_002)
    expect(commit().rows, 'also in the next life').toBe(1)
  })

  test('ONCE-175: blocks in memory are bounded by the claims that go on, and come back from the disk as they were', async () => {
    const { marks, blocks, commit } = scene()
    const places = marks.places('g')
    const held = acquired(places.begin(origin, 5))
    for (let offset = 0; offset < 512 * 2_000; offset += 512) {
      mark(places, offset)
      await commit().flush()
    }
    expect(blocks.size).toBeLessThanOrEqual(257)
    expect(outcomes(places, 0, 1, 5, 512 * 1_000, 512 * 1_000 + 1)).toEqual([
      'done',
      'acquired',
      'busy',
      'done',
      'acquired',
    ])
    apply(held.completion(undefined, ttlMs))
    expect(outcomes(places, 0, 5)).toEqual(['done', 'done'])
  })

  test('ONCE-175: a block that had left memory is one for all who mark in it', async () => {
    const { marks, commit, reopen, places } = scene()
    const one = marks.places('g')
    mark(one, 1)
    await commit().flush()
    for (let offset = 512; offset < 512 * 300; offset += 512) {
      mark(marks.places('g'), offset)
      await commit().flush()
    }
    mark(marks.places('g'), 2)
    mark(one, 3)
    expect(outcomes(marks.places('g'), 1, 2, 3)).toEqual(['done', 'done', 'done'])
    await commit().flush()
    reopen()
    expect(outcomes(places(), 1, 2, 3)).toEqual(['done', 'done', 'done'])
  })

  test('ONCE-176: what comes after a commit was made is not in it', async () => {
    const s = scene()
    mark(s.places(), 1)
    const { flush } = s.commit()
    mark(s.places(), 2)
    s.commit()
    await flush()
    expect(outcomes(s.places(), 1, 2)).toEqual(['done', 'done'])
    s.reopen()
    expect(outcomes(s.places(), 1, 2)).toEqual(['done', 'acquired'])
  })

  test('ONCE-179: two stores of one queue know of each other’s claims and marks, and a closed one lets go of its own', async () => {
    const s = scene()
    const other = s.another()
    const here = s.places()
    const there = other.places('g')
    const claim = acquired(here.begin(origin, 1))
    expect(outcomes(there, 1), 'one works on it').toEqual(['busy'])
    mark(there, 2)
    apply(claim.completion(undefined, ttlMs))
    await s.commit().flush()
    s.reopen()
    expect(outcomes(s.places(), 1, 2), 'neither covered the mark of the other').toEqual(['done', 'done'])

    const late = acquired(s.places().begin(origin, 3))
    const kept = acquired(s.another().places('g').begin(origin, 4))
    s.marks.clear()
    expect(outcomes(s.places(), 3, 4)).toEqual(['acquired', 'busy'])
    expect(() => late.completion(undefined, ttlMs).check()).toThrow(expect.objectContaining({ code: 'FENCED' }))
    kept.completion(undefined, ttlMs).check()
  })

  test('claims on places count as those on keys do', () => {
    const { marks, places } = scene()
    for (let offset = 0; offset < 999; offset++) acquired(places().begin(origin, offset))
    const last = acquired(marks.begin('key', undefined))
    expect(() => places().begin(origin, 1_000)).toThrow(expect.objectContaining({ code: 'STORE_FULL' }))
    last.release()
    acquired(places().begin(origin, 1_000)).release()
    acquired(places().begin(origin, 1_000))
  })

  test('groups, and logs, have marks of their own', () => {
    const { places } = scene()
    mark(places('g'), 1)
    expect(outcomes(places('h'), 1)).toEqual(['acquired'])
    expect(places('g').begin('1.8.', 1).outcome).toBe('acquired')
    expect(places('g').begin('2.7.', 1).outcome).toBe('acquired')
  })

  test('ONCE-173: a mark is found for its time at least, one with a result no longer, and nothing is left when all are over', async () => {
    await fc.assert(fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 60 }), runSteps), runs(300))
  })
})

interface Work {
  readonly what: 'done' | 'result' | 'fail' | 'release'
  readonly offset: number
  readonly ttlMs: number
}

type Step = Work | { readonly what: 'advance'; readonly ms: number } | { readonly what: 'commit' | 'crash' | 'sweep' }

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constantFrom('done', 'result', 'fail', 'release'),
      offset: fc.constantFrom(0, 1, 2, 511, 512, 1_000_000),
      ttlMs: fc.oneof({ weight: 60, arbitrary: fc.constantFrom(1, 50, 100) }, fc.constant(Infinity)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('advance'), ms: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constantFrom('commit', 'crash', 'sweep') }) },
)

interface Marked {
  readonly outcome: 'done' | 'failed'
  readonly hasRow: boolean
  readonly endsAt: number
}

/** Holds a store against a plain list of what was marked. */
async function runSteps(all: readonly Step[]): Promise<void> {
  const s = scene()
  let marks = new Map<number, Marked>()
  let onDisk = new Map(marks)
  /** When the last mark of each block ends, and of them on disk. */
  let ends = new Map<number, number>()
  let endsOnDisk = new Map(ends)
  const commit = async (): Promise<void> => {
    await s.commit().flush()
    onDisk = new Map(marks)
    endsOnDisk = new Map(ends)
  }
  const sweep = async (): Promise<void> => {
    apply(s.marks.removal(s.marks.ended(3)))
    await commit()
  }
  for (const step of all) {
    if ('offset' in step) work(step)
    else if (step.what === 'advance') s.advance(step.ms)
    else if (step.what === 'commit') await commit()
    else if (step.what === 'sweep') await sweep()
    else {
      s.reopen()
      marks = new Map(onDisk)
      ends = new Map(endsOnDisk)
    }
  }
  const finite = [...marks.values()].every(({ endsAt }) => endsAt !== Infinity)
  if (!finite) return
  await commit()
  s.advance(1_000)
  for (let i = 0; i < all.length + 5; i++) await sweep()
  // A block that some mark without an end was made in stays.
  if ([...ends.values()].every((endsAt) => endsAt !== Infinity)) expect(s.stored()).toEqual([0, 0])

  function work({ what, offset, ttlMs: keptMs }: Work): void {
    const found = s.places().begin(origin, offset)
    const known = marks.get(offset)
    const block = Math.floor(offset / 512)
    if (known !== undefined && s.now < known.endsAt) {
      expect(found.outcome).toBe(known.outcome)
      if (known.outcome === 'done') expect(found).toHaveProperty('result', known.hasRow ? Buffer.from('7') : undefined)
      return
    }
    if (found.outcome !== 'acquired') {
      // Longer than its time, but never longer than its block.
      expect([found.outcome, known?.hasRow]).toEqual(['done', false])
      expect(s.now).toBeLessThan(ends.get(block)!)
      return
    }
    expect(s.places().begin(origin, offset).outcome).toBe('busy')
    if (what === 'release') return found.release()
    const error = { name: 'Error', message: 'no' }
    if (what === 'fail') apply(found.failure(error, keptMs))
    else apply(found.completion(what === 'result' ? Buffer.from('7') : undefined, keptMs))
    // When all of a block was over, nothing of it comes back with a new mark.
    const isOver = (ends.get(block) ?? 0) <= s.now
    for (const other of isOver ? [...marks.keys()] : []) if (Math.floor(other / 512) === block) marks.delete(other)
    const endsAt = s.now + keptMs
    marks.set(offset, { outcome: what === 'fail' ? 'failed' : 'done', hasRow: what !== 'done', endsAt })
    ends.set(block, Math.max(ends.get(block) ?? 0, endsAt))
  }
}
