import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { mulberry32 } from '../../src/testing/virtual-runtime.ts'
import { StorageChild } from './storage-child.ts'

const seed = Number(process.env['LANEMQ_SEED'] ?? 1)
const keys = 40
const perKey = 60

/** What the child said, without its turns; it is killed at the turn of that number. */
async function lifeOf(args: readonly string[], killAt = Infinity): Promise<{ said: string[]; isKilled: boolean }> {
  const child = new StorageChild('redrive-killed.mjs', args)
  const said: string[] = []
  let turns = 0
  for await (const line of child.lines) {
    if (line !== 'turn') said.push(line)
    else if (turns++ === killAt) child.kill()
  }
  const { code, signal } = await child.ended
  expect(child.stderr).toBe('')
  if (signal === null) expect([code, said.filter((line) => line.startsWith('error'))]).toEqual([0, []])
  return { said, isKilled: signal === 'SIGKILL' }
}

test('LOSS-87: killed while letters are sent back, each is there once, in the order of its key, and for one group', async () => {
  const base = mkdtempSync(join(tmpdir(), 'lanemq-redrive-'))
  onTestFinished(() => rmSync(base, { recursive: true, force: true }))
  const directory = join(base, 'store')
  const random = mulberry32(seed)
  expect((await lifeOf([directory, 'seed'])).isKilled).toBe(false)
  let kills = 0
  let last = await lifeOf([directory, 'redrive'], Math.floor(random() * 10))
  // Each life sends some of them back, so an end is near; one that is over before its turn came ends it.
  for (; last.isKilled; kills++) {
    expect(kills).toBeLessThan(100)
    last = await lifeOf([directory, 'redrive'], Math.floor(random() * (10 + 20 * kills)))
  }
  expect(kills).toBeGreaterThan(2)
  const inOrder = Array.from({ length: perKey }, (_, n) => String(n))
  for (const word of ['copy', 'billing']) {
    const told = last.said.map((line) => line.split(' ')).filter(([first]) => first === word)
    for (let i = 0; i < keys; i++) {
      const values = told.filter(([, key]) => key === `k${i}`).map(([, , value]) => value)
      expect(values, `seed ${seed}: ${word} of k${i}`).toEqual(inOrder)
    }
  }
  const copies = last.said.filter((line) => line.startsWith('copy'))
  expect(new Set(copies.map((line) => line.split(' ')[4])).size).toBe(keys * perKey)
  expect(copies.filter((line) => line.split(' ')[3] !== 'billing')).toEqual([])
  expect(last.said.filter((line) => line.startsWith('audit'))).toEqual([])
  expect(last.said.at(-1)).toBe('left 0')
  console.log(`kill -9 of a redrive: ${kills} kills, ${copies.length} letters`)
})
