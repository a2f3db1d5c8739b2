/**
 * The engine under the explorer of `lanemq/testing`: each area is an application and a scenario drawn from the run's seed.
 *
 *     LANEMQ_EXPLORE_MS=20000 npx vitest run --project property test/property/explored.test.ts
 *
 * explores each area for 20 s (1.5 s when nothing is said) and prints what that guarantees. `LANEMQ_SEED=7` repeats a run's
 * inputs. A failure prints a token: with the same `LANEMQ_SEED`, `LANEMQ_REPLAY=lanemq1.… npx vitest …` runs that one schedule.
 *
 *     LANEMQ_NIGHTLY=480 npx vitest run --project property test/property/explored.test.ts
 *
 * takes the areas in turn with ever new seeds for 480 minutes, `LANEMQ_EXPLORE_MS` each, and prints a line a round. It goes on
 * after a failure, and fails in the end with all of them; each names the seed to repeat it with.
 */
import { describe, expect, test } from 'vitest'
import { explore } from '../../src/testing/explore/explore.ts'
import { areas } from './areas.ts'

const seed = Number(process.env['LANEMQ_SEED'] ?? 1)
const ms = Number(process.env['LANEMQ_EXPLORE_MS'] || 1_500)
const nightlyMs = Number(process.env['LANEMQ_NIGHTLY'] ?? 0) * 60_000
/** Shrinking comes after the budget, and each run has limits of its own. */
const slackMs = 240_000

/** Explores one area, and returns its guarantee. */
async function exploreArea(name: string, from: number): Promise<string> {
  try {
    const { guarantee } = await explore({ ...areas[name]!(from), name, seed: from, budget: { ms }, report: () => {} })
    return guarantee
  } catch (error) {
    ;(error as Error).message += `\nrepeat the inputs: LANEMQ_SEED=${from}`
    throw error
  }
}

describe.runIf(nightlyMs === 0)('explored', () => {
  test.each(Object.keys(areas))('%s', { timeout: ms + slackMs }, async (name) => {
    const guarantee = await exploreArea(name, seed)
    console.log(guarantee)
    expect(guarantee).toContain('no violation')
  })
})

test.runIf(nightlyMs > 0)('explored all night', { timeout: nightlyMs * 2 + slackMs }, async () => {
  const failures: string[] = []
  const end = performance.now() + nightlyMs
  for (let round = 0; performance.now() < end; round++) {
    const from = (seed + Math.imul(round, 0x9e3779b1)) >>> 0
    let schedules = 0
    for (const name of Object.keys(areas)) {
      if (performance.now() >= end) break
      try {
        schedules += Number(/(\d+) schedules/.exec(await exploreArea(name, from))![1])
      } catch (error) {
        failures.push((error as Error).message)
        console.log((error as Error).message)
      }
    }
    console.log(`round ${round}: ${schedules} schedules, seed ${from}, ${failures.length} failures so far`)
  }
  expect(failures.join('\n\n')).toBe('')
})
