import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExploreReport, TestError } from '../../src/testing/index.ts'
import { bugs } from './bugs.ts'
import { flows } from './flows.ts'
import { found } from './found.ts'
import { plantedEngine, type PlantedEngine } from './planted-engine.ts'
import { tableText, type FlowRow, type FoundRow } from './table.ts'

/** What the error of a failed exploration carries. */
type Failure = TestError & { readonly deviations: readonly unknown[]; readonly runs: number; readonly broken: string }

/**
 * The file that the table of results is written to. Then each exploration has its default budget of 3 s, and the table
 * says what was measured; otherwise the budget is twice the runs that `found` has, so that a busy machine changes nothing.
 */
const tablePath = process.env['LANEMQ_PLANTED_TABLE']
const isMeasuring = tablePath !== undefined && tablePath !== ''
const mostDeviations = 4
const leastRuns = 20

const foundRows: FoundRow[] = []
const flowRows: FlowRow[] = []

async function explore({ testing }: PlantedEngine, flow: string, runs: number): Promise<ExploreReport> {
  const budget = isMeasuring ? {} : { budget: { runs } }
  return testing.explore({ ...flows[flow]!.options(), ...budget, report: () => {} })
}

/** Twice what it took. */
function budgetOf(runs: number): number {
  return Math.max(leastRuns, 2 * runs)
}

describe('the explorer', () => {
  let sound: PlantedEngine
  beforeAll(async () => {
    sound = await plantedEngine(undefined)
  })
  afterAll(() => {
    sound.remove()
    if (isMeasuring) writeFileSync(fileURLToPath(new URL(tablePath, root)), tableText(bugs, foundRows, flowRows))
  })

  test('has a flow for every planted bug, and a bug for every flow', () => {
    expect(Object.keys(found).toSorted()).toEqual(bugs.map(({ name }) => name).toSorted())
    const used = new Set(Object.values(found).map(({ flow }) => flow))
    expect([...used].toSorted()).toEqual(Object.keys(flows).toSorted())
  })

  for (const [flow, { about }] of Object.entries(flows)) {
    const runs = Math.max(...Object.values(found).map((one) => (one.flow === flow ? budgetOf(one.runs) : 0)))
    test(`finds nothing in the engine without a bug: ${flow}, ${about}`, async () => {
      const report = await explore(sound, flow, runs)
      flowRows.push({ flow, about, schedules: report.schedules, distinct: report.distinct, depth: report.depth })
      expect(report.schedules).toBeGreaterThanOrEqual(Math.min(runs, leastRuns))
    })
  }

  for (const bug of bugs) {
    const { flow, runs } = found[bug.name]!
    test(`finds ${bug.name} in the flow ${flow}`, async () => {
      const engine = await plantedEngine(bug)
      try {
        const startedAt = performance.now()
        const failure = await explore(engine, flow, budgetOf(runs)).then(
          ({ guarantee }) => expect.fail(`not found: ${guarantee}`),
          (error: unknown) => error as Failure,
        )
        const ms = performance.now() - startedAt
        expect(failure, failure.stack).toMatchObject({ code: 'EXPLORATION_FAILED' })
        expect(failure.deviations.length).toBeLessThanOrEqual(mostDeviations)
        const { broken, deviations } = failure
        foundRows.push({ bug: bug.name, flow, broken, runs: failure.runs, ms, deviations: deviations.length })
      } finally {
        engine.remove()
      }
    })
  }
})

const root = new URL('../../', import.meta.url)
