import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { mulberry32 } from '../../src/testing/virtual-runtime.ts'
import { EffectsHistory, type FoundEffects } from './effects-history.ts'
import { StorageChild } from './storage-child.ts'

const isLong = process.env['LANEMQ_LONG'] === '1'
const rounds = Number(process.env['LANEMQ_ROUNDS'] ?? (isLong ? 250 : 8))
/** Rounds with one store; then it is worked off to the end, and the next ones begin with an empty one. */
const roundsPerStore = 25
const base = mkdtempSync(join(tmpdir(), 'lanemq-effects-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))

/** Moments of a life, and how many of them may pass before it ends. */
const moments = {
  open: 1,
  told: 1,
  sent: 150,
  collected: 150,
  committed: 100,
  begin: 600,
  end: 600,
  fail: 40,
  array: 60,
  turn: 100,
} as const
type Moment = keyof typeof moments
/** The child says one of so many. */
const throttle = 20

const seed = Number(process.env['LANEMQ_SEED'] ?? 1)

/** Lives of a queue on one store, killed one after the other, with a history that follows them. */
class Torture {
  readonly history = new EffectsHistory()
  readonly kills: Record<string, number> = {}
  readonly #random: (limit: number) => number
  readonly #engine: 'sound' | 'broken'
  #store = 0
  #linesRead = 0

  constructor(engine: 'sound' | 'broken') {
    const draw = mulberry32(seed)
    this.#random = (limit) => Math.floor(draw() * limit)
    this.#engine = engine
  }

  get #journal(): string {
    return join(base, `${this.#engine}-${this.#store}.journal`)
  }

  /** One life: killed by itself, or from outside. */
  async live(round: number): Promise<void> {
    const names = Object.keys(moments) as Moment[]
    const moment = names[this.#random(names.length)]!
    const passed = this.#random(moments[moment])
    const isOwn = this.#random(2) === 0 || moments[moment] < throttle
    const child = this.#start(round, isOwn ? `${moment}-${passed}` : 'parent')
    let countdown = Math.floor(passed / throttle)
    for await (const line of child.lines) {
      if (line.startsWith('error')) throw new Error(`round ${round}, seed ${seed}: ${line}`)
      if (!isOwn && line === moment && countdown-- === 0) child.kill()
    }
    const { signal } = await child.ended
    expect([signal, child.stderr]).toEqual(['SIGKILL', ''])
    this.kills[moment] = (this.kills[moment] ?? 0) + 1
    this.#judge(round)
  }

  /** The last life on a store: everything that is there gets done. */
  async finish(): Promise<void> {
    const child = this.#start(0, 'finish')
    const lines: string[] = []
    for await (const line of child.lines) lines.push(line)
    expect([lines.at(-1), await child.ended]).toEqual(['finished', { code: 0, signal: null }])
    this.#judge(0)
    this.history.check(readFound(`${this.#journal}.left`)!, true)
    this.history.endStore()
    this.#store++
    this.#linesRead = 0
  }

  #start(round: number, suicide: string): StorageChild {
    const directory = join(base, `${this.#engine}-${this.#store}`)
    const numbers = [round, this.#random(2 ** 31)].map(String)
    return new StorageChild('effects-torture.mjs', [directory, this.#journal, ...numbers, suicide, this.#engine])
  }

  /** Tells the history what a life wrote: what it found comes right after its first line. */
  #judge(round: number): void {
    const lines = readFileSync(this.#journal, 'utf8').split('\n').slice(0, -1)
    const [first, ...rest] = lines.slice(this.#linesRead)
    this.#linesRead = lines.length
    this.history.line(first!)
    const found = readFound(`${this.#journal}.found`)
    if (found?.round === round) this.history.check(found)
    for (const line of rest) this.history.line(line)
  }
}

function readFound(path: string): FoundEffects | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as FoundEffects) : undefined
}

describe('effects: kill -9', () => {
  test('ONCE-121: killed at any moment, nothing is lost, done twice, torn or out of order', async () => {
    const torture = new Torture('sound')
    for (let round = 1; round <= rounds; round++) {
      await torture.live(round)
      if (round % roundsPerStore === 0 || round === rounds) await torture.finish()
      expect(torture.history.violations.slice(0, 20), `seed ${seed}`).toEqual([])
    }
    const { counts } = torture.history
    expect(Math.min(counts.acknowledged, counts.transactions, counts.effects)).toBeGreaterThan(rounds)
    console.log(`kill -9 amid effects: ${JSON.stringify({ ...counts, kills: torture.kills })}`)
  })

  test('a queue that commits state one commit later than progress is seen through', async () => {
    const torture = new Torture('broken')
    for (let round = 1; round <= 20 && torture.history.violations.length === 0; round++) await torture.live(round)
    expect(torture.history.violations).not.toEqual([])
  })
})
