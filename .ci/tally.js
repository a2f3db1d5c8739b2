import { appendFileSync, writeSync } from 'node:fs'

/**
 * A vitest reporter beside the usual one: prints why tests were skipped, and adds a line of totals to the file that
 * LANEMQ_TALLY names, so that `.ci/run` can sum its runs.
 *
 * @implements {import('vitest/reporters').Reporter}
 */
class Tally {
  /**
   * @param {readonly import('vitest/node').TestModule[]} modules
   * @param {readonly unknown[]} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const count = (/** @type {string} */ state) => tests.filter((test) => test.result().state === state).length
    for (const test of tests) {
      const result = test.result()
      if (result.state === 'skipped') writeSync(1, `skipped: ${test.fullName} (${result.note ?? 'see the title'})\n`)
    }
    // Failures that belong to no test: a file that could not be loaded, a hook, an error after the tests.
    const places = modules.flatMap((module) => [module, ...module.children.allSuites()])
    const broken = places.filter((place) => place.errors().length > 0).length + unhandledErrors.length
    const failed = count('failed') + count('pending') + broken
    const line = `${count('passed')} ${failed} ${count('skipped')}\n`
    if (process.env.LANEMQ_TALLY) appendFileSync(process.env.LANEMQ_TALLY, line)
  }
}

export { Tally as default }
