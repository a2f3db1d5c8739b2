import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { mulberry32 } from '../../src/testing/virtual-runtime.ts'
import { History, type FoundState } from './queue-history.ts'
import { StorageChild } from './storage-child.ts'

const rounds = process.env['LANEMQ_LONG'] === '1' ? 250 : 15
const base = mkdtempSync(join(tmpdir(), 'lanemq-torture-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))

/** Moments of a life, and how many of them may pass before it ends. */
const moments = {
  start: 1,
  open: 1,
  dumped: 1,
  send: 600,
  ack: 400,
  batch: 60,
  handle: 2_000,
  settle: 60,
  trim: 8,
  make: 6,
  delete: 4,
} as const
/** The child says one of so many. */
const throttle: Partial<Record<keyof typeof moments, number>> = { send: 200, ack: 50, handle: 200 }

describe('queue: kill -9', () => {
  test('LOSS-41, ORDER-41, PROGRESS-43, DURA-43: killed at any moment, a queue keeps what it promised', async () => {
    const seed = Number(process.env['LANEMQ_SEED'] ?? 1)
    const draw = mulberry32(seed)
    const random = (limit: number): number => Math.floor(draw() * limit)
    const names = Object.keys(moments) as (keyof typeof moments)[]
    const [directory, journal] = [join(base, 'store'), join(base, 'journal')]
    const history = new History()
    const reader = new JournalReader(journal)
    const kills: Record<string, number> = {}
    for (let round = 1; round <= rounds; round++) {
      const moment = names[random(names.length)]!
      const passed = random(moments[moment])
      const own = random(2) === 0
      const suicide = own ? `${moment}-${passed}` : 'parent'
      const numbers = [round, round * 100_000, random(2 ** 31)].map(String)
      const child = new StorageChild('queue-torture.mjs', [directory, journal, ...numbers, suicide])
      let countdown = Math.floor(passed / (throttle[moment] ?? 1))
      for await (const line of child.lines) {
        if (line.startsWith('error')) throw new Error(`round ${round}, seed ${seed}: ${line}`)
        if (!own && line === moment && countdown-- === 0) child.kill()
      }
      const { signal } = await child.ended
      expect([signal, child.stderr]).toEqual(['SIGKILL', ''])
      kills[moment] = (kills[moment] ?? 0) + 1
      judge(history, reader, `${journal}.state`, round)
      expect(history.violations.slice(0, 20), `seed ${seed}`).toEqual([])
    }
    const last = new StorageChild('queue-torture.mjs', [directory, journal, '0', '0', '1', 'finish'])
    const lines: string[] = []
    for await (const line of last.lines) lines.push(line)
    expect([lines.at(-1), await last.ended]).toEqual(['finished', { code: 0, signal: null }])
    judge(history, reader, `${journal}.state`, 0)
    expect(history.violations.slice(0, 20), `seed ${seed}`).toEqual([])
    expect(history.counts.acknowledged).toBeGreaterThan(rounds)
    console.log(`kill -9 of a queue: ${JSON.stringify({ ...history.counts, kills })}`)
  })
})

/** Tells the history what one life wrote: what it found at its beginning comes right after its first line. */
function judge(history: History, reader: JournalReader, statePath: string, round: number): void {
  const [first, ...rest] = reader.newLines()
  if (first !== undefined) history.line(first)
  const state = existsSync(statePath) ? (JSON.parse(readFileSync(statePath, 'utf8')) as FoundState) : undefined
  if (state?.round === round) history.check(state)
  for (const line of rest) history.line(line)
}

/** Reads what was added to a growing file of lines. */
class JournalReader {
  readonly #path: string
  #offset = 0

  constructor(path: string) {
    this.#path = path
  }

  newLines(): string[] {
    if (!existsSync(this.#path)) return []
    const file = openSync(this.#path, 'r')
    const chunks: Buffer[] = []
    for (;;) {
      const chunk = Buffer.alloc(1 << 20)
      const count = readSync(file, chunk, 0, chunk.length, this.#offset)
      if (count === 0) break
      this.#offset += count
      chunks.push(chunk.subarray(0, count))
    }
    closeSync(file)
    return Buffer.concat(chunks).toString().split('\n').slice(0, -1)
  }
}
