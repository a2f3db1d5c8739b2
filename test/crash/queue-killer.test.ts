import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { StorageChild } from './storage-child.ts'

test('PROGRESS-107: a handler that kills its process is stopped after its attempts, and everything beside it gets done', async () => {
  const base = mkdtempSync(join(tmpdir(), 'lanemq-killer-'))
  onTestFinished(() => rmSync(base, { recursive: true, force: true }))
  const said: string[] = []
  let kills = 0
  for (let life = 0; ; life++) {
    expect(life).toBeLessThan(12)
    const child = new StorageChild('queue-killer.mjs', [join(base, 'store'), life === 0 ? 'seed' : 'go'])
    for await (const line of child.lines) said.push(line)
    const { code, signal } = await child.ended
    expect(child.stderr).toBe('')
    if (signal === 'SIGKILL') kills++
    else {
      expect(code).toBe(0)
      break
    }
  }
  // Its three attempts, and the first time, which counts for nobody (more, if it began behind others by then).
  expect(kills).toBeGreaterThanOrEqual(4)
  const begun = said.filter((line) => line.startsWith('begin '))
  const killers = begun.filter((line) => line.startsWith('begin g killer')).map((line) => line.split(' ')[3])
  expect(killers.filter((attempt) => attempt !== '1')).toEqual(['2', '3'])
  expect(said.filter((line) => line.startsWith('failed'))).toEqual([1, 2, 3].map((n) => `failed g PROCESS_ENDED ${n}`))
  expect(said.filter((line) => line.startsWith('parked'))).toEqual(['parked g k9'])
  // Nobody else was counted, and all that does not wait behind it is done: of its key the 10th, 30th and 50th message.
  expect(begun.filter((line) => !line.endsWith(' 1') && !line.includes('killer'))).toEqual([])
  expect(said.at(-1)).toBe('left 3 0')
  for (const group of ['g', 'h']) {
    const done = new Set(said.filter((line) => line.startsWith(`done ${group} `)))
    expect(done.size).toBe(group === 'g' ? 57 : 60)
  }
})
