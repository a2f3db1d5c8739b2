import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { errorCodes } from '../src/errors.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const codes = Object.entries(errorCodes)

describe('every error code', () => {
  test('is thrown by the source', () => {
    const source = readAll('src', (name) => name !== 'errors.ts')
    expect(codes.map(([code]) => code).filter((code) => !source.includes(`'${code}'`))).toEqual([])
  })

  test('is seen by a test', () => {
    const tests = readAll('test', (name) => name !== 'errors.test.ts') + readAll('src/testing')
    expect(codes.map(([code]) => code).filter((code) => !tests.includes(`'${code}'`))).toEqual([])
  })

  test('stands in the table of the README', ({ skip }) => {
    const path = join(root, 'README.md')
    skip(!existsSync(path), 'there is no README.md yet')
    const readme = readFileSync(path, 'utf8')
    expect(rowsOf(readme)).toEqual(codes.map(([code, { retriable }]) => [code, retriable ? 'yes' : 'no']))
  })
})

test('the rows of the table are found', () => {
  const readme =
    '| code | retriable | meaning |\n| --- | --- | --- |\n| `CLOSED` | no | it was closed |\n| other | no |'
  expect(rowsOf(readme)).toEqual([['CLOSED', 'no']])
})

/** Code and retriable flag of each row, in order. */
function rowsOf(readme: string): string[][] {
  return [...readme.matchAll(/^\| *`([A-Z_]+)` *\| *(yes|no) *\|/gm)].map(([, code = '', retriable = '']) => [
    code,
    retriable,
  ])
}

function readAll(folder: string, wanted: (name: string) => boolean = () => true): string {
  if (!existsSync(join(root, folder))) return ''
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && wanted(name))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'))
    .join('\n')
}
