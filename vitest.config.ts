import { randomInt } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from 'vitest/config'

// Every run draws another seed; LANEMQ_SEED repeats one. Workers inherit it, so all files of a run share it.
process.env['LANEMQ_SEED'] ||= String(randomInt(2 ** 31 - 1))

/** The projects run one after the other in this order, so that loaded tests never disturb each other. */
export const projects: TestProjectInlineConfiguration[] = [
  project('unit', ['test/unit', 'test/types', 'test/tidy.test.ts', 'test/errors.test.ts']),
  project('conformance', ['test/storage', 'test/conformance', 'test/behaviour']),
  project('property', ['test/property', 'test/simulation'], {
    testTimeout: 120_000,
    globalSetup: ['test/seed.ts'],
    setupFiles: ['test/seed.ts'],
  }),
  // They wait for servers and for leases to end, not for a core.
  project('idempotency', ['test/idempotency'], { maxWorkers: 4 }),
  // Bugs that the explorer has to find: it is the explorer that is tested, so one Node.js is enough.
  project('planted', ['test/planted']),
  project('docs', ['test/docs.test.ts', 'test/examples.test.ts', 'test/examples'], { globalSetup: ['test/build.ts'] }),
  // Alone on the machine: these start, kill and restart processes, and watch their timing.
  project('crash', ['test/crash'], { testTimeout: 300_000, maxWorkers: 1, globalSetup: ['test/build.ts'] }),
  project('package', ['test/package'], { testTimeout: 120_000, maxWorkers: 1, globalSetup: ['test/build.ts'] }),
].map((one, groupOrder) => ({ test: { ...one, sequence: { groupOrder } } }))

function project(
  name: string,
  places: string[],
  more: TestProjectInlineConfiguration['test'] = {},
): NonNullable<TestProjectInlineConfiguration['test']> {
  return {
    name,
    include: places.map((place) => (place.endsWith('.ts') ? place : `${place}/**/*.test.ts`)),
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: availableParallelism(),
    ...more,
  }
}

const config: ViteUserConfig = defineConfig({ test: { projects, passWithNoTests: false } })

export default config
