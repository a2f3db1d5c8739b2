import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StorageChild } from './storage-child.ts'

const flips = Number(process.env['LANEMQ_FLIPS'] ?? (process.env['LANEMQ_LONG'] === '1' ? 20_000 : 300))
const base = mkdtempSync(join(tmpdir(), 'lanemq-damage-'))
const pristine = join(base, 'pristine', 'store')
afterAll(() => rmSync(base, { recursive: true, force: true }))
beforeAll(async () => {
  expect((await new StorageChild('storage-pristine.mjs', [pristine]).ended).code).toBe(0)
})

describe('storage: damaged files', () => {
  test('LOSS-2: a file cut at any page gives a typed error, and no process dies', async () => {
    const pages = statSync(join(pristine, 'data.mdb')).size / 4096
    const outcomes = await damage('truncate', 0, pages)
    console.log(`cut at each of ${pages} pages: ${JSON.stringify(outcomes)}`)
    // A cut through the free pages at the end takes nothing away.
    const { 'typed STORE_CORRUPT': refused = 0, unharmed = 0, ...others } = outcomes
    expect(others).toEqual({})
    expect(refused).toBeGreaterThan(unharmed)
  })

  test('LOSS-3: after a flipped bit, wrong data is never taken for right', { timeout: 3_600_000 }, async () => {
    const outcomes = await damage('flip', 0, flips)
    console.log(`${flips} bit flips: ${JSON.stringify(outcomes)}`)
    const silent = Object.keys(outcomes).filter((outcome) => /^(different|untyped|died)/.test(outcome))
    expect(silent).toEqual([])
  })
})

/** How many trials ended how. A child that dies is followed by another, from the next trial on. */
async function damage(plan: 'truncate' | 'flip', first: number, end: number): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = {}
  const count = (outcome: string): void => void (outcomes[outcome] = (outcomes[outcome] ?? 0) + 1)
  for (let next = first; next < end;) {
    const work = join(base, `${plan}-${next}`)
    mkdirSync(work)
    const child = new StorageChild('storage-damage.mjs', [pristine, work, String(next), String(end), plan])
    let trying = ''
    for await (const line of child.lines) {
      if (line.startsWith('try')) trying = line
      const outcome = /^end \d+ (.*?) (page|\d+ pages)/.exec(line)?.[1]
      if (outcome === undefined) continue
      if (/^(different|untyped)/.test(outcome)) console.log(line)
      count(outcome)
      next++
    }
    const { code, signal } = await child.ended
    rmSync(work, { recursive: true, force: true })
    if (code === 0) continue
    console.log(`died with ${signal ?? code}: ${trying}: ${child.stderr.slice(0, 200)}`)
    count('died')
    next++
  }
  return outcomes
}
