import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { printsOf } from './documents/blocks.ts'
import { outcomeOf, root, success } from './documents/program.ts'

const examples = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.js'))

test('there are examples', () => expect(examples).not.toEqual([]))

describe.each(examples)('examples/%s', (name) => {
  const file = join(root, 'examples', name)
  const code = readFileSync(file, 'utf8')

  test('prints what its comments say', ({ onTestFinished }) => {
    const directory = mkdtempSync(join(tmpdir(), 'lanemq-example-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    expect(outcomeOf(file, directory)).toEqual(success(printsOf(code)))
  })

  test('shows something, and imports the package by its name', () => {
    expect(printsOf(code)).not.toEqual([])
    expect(code).toMatch(/from 'lanemq(\/\w+)?'/)
    expect(code).not.toMatch(/\.\.\/(src|dist)/)
  })
})
