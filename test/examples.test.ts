import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { printsOf } from './documents/blocks.ts'
import { filledIn, outcomeOf, passed, root, success } from './documents/program.ts'

const examples = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.js'))

/** Where a database is looked for, unless the environment says so; and no word of Node.js about how new its SQLite is. */
const environment = {
  LANEMQ_POSTGRES: 'postgres://root@127.0.0.1:5432/test',
  NODE_OPTIONS: '--disable-warning=ExperimentalWarning',
}
/** What an example says, and nothing else, where a server is not there that it can't do without. */
const skipped = /^skipped: (.+)$/

test('there are examples', () => expect(examples).not.toEqual([]))

describe.each(examples)('examples/%s', (name) => {
  const file = join(root, 'examples', name)
  const code = readFileSync(file, 'utf8')
  // Tests print what their runner says about them.
  const isTest = code.includes(`from 'node:test'`)

  test('prints what its comments say', ({ onTestFinished, skip }) => {
    const directory = mkdtempSync(join(tmpdir(), 'lanemq-example-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const outcome = outcomeOf(file, directory, [], environment)
    const reason = skipped.exec(outcome.printed[0] ?? '')?.[1]
    if (reason !== undefined && code.includes(`from './servers/`)) {
      expect(outcome).toEqual(success([`skipped: ${reason}`]))
      skip(reason)
    }
    if (isTest) expect(outcome).toMatchObject({ ended: 'code 0', printed: expect.arrayContaining([passed]) as unknown })
    else expect(outcome).toEqual(success(filledIn(printsOf(code), outcome)))
  })

  test('shows something, and imports the package by its name', () => {
    if (!isTest) expect(printsOf(code)).not.toEqual([])
    expect(code).toMatch(/from 'lanemq(\/\w+)?'/)
    expect(code).not.toMatch(/\.\.\/(src|dist)/)
  })
})
