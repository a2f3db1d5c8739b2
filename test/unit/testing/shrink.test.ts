import { expect, test } from 'vitest'
import type { Deviation } from '../../../src/testing/explore/deviation.ts'
import type { RunResult } from '../../../src/testing/explore/run.ts'
import { Schedule, type Strategy } from '../../../src/testing/explore/schedule.ts'
import { shrink } from '../../../src/testing/explore/shrink.ts'

/** Eight decisions between p (or q, once a has run), a and b; fails when `isBroken` says so of what was chosen. */
function runner(isBroken: (chosen: readonly string[]) => boolean) {
  return async (deviations: readonly Deviation[], strategy?: Strategy): Promise<RunResult> => {
    const schedule = new Schedule(deviations, strategy)
    const chosen: string[] = []
    for (let decision = 0; decision < 8; decision++) {
      const plain = chosen.includes('a') && decision < 4 ? 'q' : 'p'
      const ready = [{ label: plain }, { label: 'a' }, { label: 'b' }]
      chosen.push(ready[schedule.choose(ready)]!.label)
    }
    const failure = isBroken(chosen) ? { what: 'check', text: 'broken', cause: undefined } : undefined
    const plan = { seed: 1, isGated: true, deviations }
    return { plan, schedule, failure, fingerprint: 0, timeline: () => '', reached: new Set(), impure: [] }
  }
}

/** Runs other actions than the plain one at the given decisions. */
function choosing(choices: Readonly<Record<number, number>>): Strategy {
  return { choose: (_, plain, decision) => choices[decision] ?? plain, strike: () => undefined }
}

test('a choice whose name depends on earlier ones is found by its position, and named anew', async () => {
  const run = runner((chosen) => chosen[5] === 'b')
  const failing = await run([], choosing({ 1: 1, 5: 2, 6: 1 }))
  expect(failing.schedule.taken).toHaveLength(3)
  const { deviations, result } = await shrink(failing, run)
  expect(deviations).toEqual([{ kind: 'run', at: 'p', nth: 6, instead: 'b' }])
  expect(result.failure?.what).toBe('check')
})

test('what is needed together stays', async () => {
  const run = runner((chosen) => chosen[2] === 'a' && chosen[5] === 'b')
  const { deviations } = await shrink(await run([], choosing({ 1: 1, 2: 1, 5: 2, 7: 1 })), run)
  expect(deviations).toHaveLength(2)
  expect((await run(deviations)).failure).toBeDefined()
})

test('a failure of the plain run needs no deviation', async () => {
  const run = runner(() => true)
  const { deviations } = await shrink(await run([], choosing({ 1: 1, 5: 2 })), run)
  expect(deviations).toEqual([])
})

test('TEST-145: when it is over the smallest one so far is the result, and no run is begun', async () => {
  const run = runner((chosen) => chosen[5] === 'b')
  const failing = await run([], choosing({ 5: 2, 6: 1, 7: 1 }))
  const sizes: number[] = []
  for (const most of [0, 3, 400]) {
    let left = most
    const counted = (...parameters: Parameters<typeof run>): ReturnType<typeof run> => {
      left--
      return run(...parameters)
    }
    const { deviations, runs, isCut, result } = await shrink(failing, counted, () => left === 0)
    expect(runs).toBe(most - left)
    expect(isCut).toBe(most < 400)
    expect(result.failure?.what).toBe('check')
    sizes.push(deviations.length)
  }
  expect(sizes).toEqual([3, 2, 1])
})
