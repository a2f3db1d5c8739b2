import { readFileSync, writeFileSync } from 'node:fs'
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
 * The file that the table of results is written to. Then each bug is looked for with the default budget of 3 s, and the
 * table says what was measured; otherwise budgets are twice the runs that `found` has, so that a busy machine changes nothing.
 */
const tablePath = process.env['LANEMQ_PLANTED_TABLE']
const isMeasuring = tablePath !== undefined && tablePath !== ''
const root = new URL('../../', import.meta.url)
const mostDeviations = 4
const leastRuns = 20
/** Schedules of the engine without a bug that the table tells of. */
const measuredSchedules = 1_000

const foundRows: FoundRow[] = []
const flowRows: FlowRow[] = []

/** With the default budget unless `runs` is given. */
async function explore(engine: PlantedEngine, flow: string, runs: number | undefined): Promise<ExploreReport> {
  const budget = runs === undefined ? {} : { budget: { runs } }
  return engine.testing.explore({ ...flows[flow]!.options(engine), ...budget, report: () => {} })
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

  test('has a line for every bug in docs/planted-bugs.md', () => {
    const lines = readFileSync(new URL('docs/planted-bugs.md', root), 'utf8').split('\n')
    for (const [bug, { flow }] of Object.entries(found)) {
      const line = lines.find((text) => text.startsWith(`| ${bug} `)) ?? ''
      expect(line.split('|').map((cell) => cell.trim())).toContain(flow)
    }
  })

  for (const [flow, { about }] of Object.entries(flows)) {
    const runs = Math.max(...Object.values(found).map((one) => (one.flow === flow ? budgetOf(one.runs) : 0)))
    test(`finds nothing in the engine without a bug: ${flow}, ${about}`, async () => {
      const report = await explore(sound, flow, isMeasuring ? measuredSchedules : runs)
      flowRows.push({ flow, about, schedules: report.schedules, distinct: report.distinct, depth: report.depth })
      expect(report.schedules).toBeGreaterThanOrEqual(runs)
    }, 120_000)
  }

  for (const bug of bugs) {
    const { flow, runs } = found[bug.name]!
    test(`finds ${bug.name} in the flow ${flow}`, async () => {
      const engine = await plantedEngine(bug)
      try {
        const startedAt = performance.now()
        const failure = await explore(engine, flow, isMeasuring ? undefined : budgetOf(runs)).then(
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
