import { environmentVariable, print, realMs } from '../real-loop.ts'
import { refuseFakeTimers, storeOf } from '../open-test.ts'
import { refuseUnknown, TestError } from '../test-error.ts'
import { mulberry32 } from '../virtual-runtime.ts'
import { candidatesOf, type Candidate } from './candidates.ts'
import { deviationKinds, type Deviation, type DeviationKind } from './deviation.ts'
import { exploreOptionNames, type ExploreOptions, type ExploreReport } from './exploration.ts'
import { RandomStrategy } from './random-strategy.ts'
import { failureText, firstDifference, guaranteeText, replayedText, tokenOf, type Finding } from './report.ts'
import { runSchedule, type RunPlan, type RunResult } from './run.ts'
import { shrink } from './shrink.ts'
import { decodeToken, replayVariable } from './token.ts'

/** One in so many passing runs is run again, to see that it gives the same history. */
const sampleEvery = 50
const defaultMs = 3_000
/** Pairs stop here, so that some of the budget is left for schedules that are further from the plain run. */
const pairsShare = 0.7
/** Real time that shrinking may take, in milliseconds; the run under way then ends by its own limits. */
const shrinkMs = 30_000

/**
 * Runs a scenario under many schedules and faults, and fails with the smallest one that breaks it.
 *
 * First the plain run; then every single departure from it; then every pair of them, as long as no more than 70 % of the
 * budget is spent; then random schedules with what is left of it. After the faults of a run have ended everything must drain.
 * Whatever fails is run again, made small, and told as a story with a token that repeats it. That comes after the budget:
 * making small takes at most 400 runs or 30 s, and the story says when it was not done to the end. A run that does not end
 * by itself (within 3 000 000 tasks or a minute of real time) fails with `ENDLESS`.
 *
 * @throws `INVALID_OPTION`; `EXPLORATION_FAILED`; `NOT_DETERMINISTIC` when a schedule gives two histories; `IMPURE` when a
 * handler waits for something outside without `context.external`; `DIVERGED` and `REPLAY_TOKEN` in a replay
 */
export async function explore<W>(options: ExploreOptions<W>): Promise<ExploreReport> {
  refuseUnknown('explore', options, exploreOptionNames)
  refuseBudget(options.budget)
  refuseFakeTimers()
  const token = environmentVariable(replayVariable)
  const exploration = new Exploration(options)
  if (token !== undefined && token !== '') {
    const replay = decodeToken(token)
    if (replay.name === exploration.name) return exploration.replay(replay)
  }
  return exploration.explore()
}

class Exploration<W> {
  readonly name: string
  readonly #options: ExploreOptions<W>
  readonly #store: 'memory' | 'lmdb-tmp'
  readonly #seed: number
  readonly #kinds: ReadonlySet<DeviationKind>
  readonly #startedAt = realMs()
  readonly #endsAt: number
  readonly #mostRuns: number
  readonly #seen = new Set<number>()
  readonly #landed = new Map<string, number>()
  readonly #reached = new Set<string>()
  #runs = 0
  /** A level was cut short by the budget. */
  #singles = { done: 0, isComplete: false }
  #pairs = { done: 0, isComplete: false }
  #random = 0

  constructor(options: ExploreOptions<W>) {
    this.#options = options
    this.name = options.name ?? 'explore'
    this.#seed = options.seed ?? 1
    this.#store = storeOf(options)
    const unknown = (options.faults ?? []).find((kind) => !deviationKinds.includes(kind))
    if (unknown !== undefined) {
      throw new TestError('INVALID_OPTION', `faults has ${unknown as string}; allowed is ${deviationKinds.join(', ')}`)
    }
    this.#kinds = new Set(options.faults ?? deviationKinds)
    this.#mostRuns = options.budget?.runs ?? Infinity
    this.#endsAt = this.#startedAt + (options.budget?.ms ?? (options.budget?.runs === undefined ? defaultMs : Infinity))
  }

  async explore(): Promise<ExploreReport> {
    await this.#run({ seed: this.#seed, isGated: false, deviations: [] })
    const singles = await this.#firstLevel()
    if (this.#singles.isComplete) await this.#secondLevel(singles)
    await this.#thirdLevel()
    return this.#finish()
  }

  /** Runs what a token says, and nothing else. */
  async replay(replay: { seed: number; isGated: boolean; deviations: readonly Deviation[] }): Promise<ExploreReport> {
    const result = await runSchedule(this.#options, { ...replay }, this.#store)
    const [diverged] = result.schedule.diverged
    if (diverged !== undefined) throw new TestError('DIVERGED', `the replay diverged ${diverged}`)
    const [unused] = result.schedule.unused
    if (unused !== undefined && result.failure === undefined) {
      throw new TestError(
        'DIVERGED',
        `the replay never came to "${unused.at}" for the ${unused.nth}. time: the code has changed`,
      )
    }
    this.#runs++
    if (result.failure) {
      const before = result.schedule.taken.length
      throw this.#failed(result, { foundIn: 0, before, runs: 0, ms: 0, isCut: false })
    }
    return this.#finish(replayedText(this.name, replay.deviations))
  }

  /** Every single departure from the plain run, where handlers begin and end as they are chosen, and where they do not. */
  async #firstLevel(): Promise<{ isGated: boolean; candidate: Candidate }[]> {
    const found: { isGated: boolean; candidate: Candidate }[] = []
    for (const isGated of [true, false]) {
      const base = await this.#run({ seed: this.#seed, isGated, deviations: [], isRecording: true })
      const candidates = candidatesOf(base.schedule, this.#kinds)
      // Without gates only faults are left to choose: the order of what can run is that of the engine.
      const chosen = isGated ? candidates : candidates.filter(({ kind }) => kind !== 'schedule')
      for (const candidate of chosen) found.push({ isGated, candidate })
    }
    for (const { isGated, candidate } of found) {
      if (this.#isSpent) return found
      await this.#run({ seed: this.#seed, isGated, deviations: [candidate.deviation] })
      this.#singles.done++
    }
    this.#singles.isComplete = true
    return found
  }

  /** Every pair: each single departure once more, recorded, and each that comes after it in that run. */
  async #secondLevel(singles: readonly { isGated: boolean; candidate: Candidate }[]): Promise<void> {
    for (const index of shuffled(singles.length, this.#seed)) {
      if (this.#isPairsShareSpent) return
      const { isGated, candidate } = singles[index]!
      const first = await this.#run({
        seed: this.#seed,
        isGated,
        deviations: [candidate.deviation],
        isRecording: true,
      })
      for (const { deviation, moment } of candidatesOf(first.schedule, this.#kinds)) {
        if (moment < candidate.moment) continue
        if (this.#isPairsShareSpent) return
        await this.#run({ seed: this.#seed, isGated, deviations: [candidate.deviation, deviation] })
        this.#pairs.done++
      }
    }
    this.#pairs.isComplete = true
  }

  async #thirdLevel(): Promise<void> {
    for (let round = 1; !this.#isSpent; round++) {
      const seed = (this.#seed + Math.imul(round, 0x9e3779b1)) >>> 0
      const strategy = new RandomStrategy(seed, this.#kinds)
      const inputs = round % 2 === 0 ? this.#seed : seed
      await this.#run({ seed: inputs, isGated: round % 4 !== 0, deviations: [], strategy })
      this.#random++
    }
  }

  /** Which part of the budget is used up. */
  get #spent(): number {
    return Math.max(this.#runs / this.#mostRuns, (realMs() - this.#startedAt) / (this.#endsAt - this.#startedAt))
  }

  get #isPairsShareSpent(): boolean {
    return this.#isSpent || this.#spent > pairsShare
  }

  get #isSpent(): boolean {
    return this.#runs >= this.#mostRuns || realMs() >= this.#endsAt
  }

  async #run(plan: RunPlan): Promise<RunResult> {
    const result = await runSchedule(this.#options, plan, this.#store)
    this.#runs++
    this.#seen.add(result.fingerprint)
    for (const name of result.reached) this.#reached.add(name)
    for (const deviation of result.schedule.taken) {
      const kind = deviation.kind === 'fault' ? deviation.fault.kind : 'schedule'
      this.#landed.set(kind, (this.#landed.get(kind) ?? 0) + 1)
    }
    refuseImpure(result)
    if (result.failure) await this.#fail(result)
    else if (this.#runs % sampleEvery === 1) await this.#same(result)
    return result
  }

  /** A run and its repetition have to be equal, else neither says anything. */
  async #same(result: RunResult): Promise<RunResult> {
    const { seed, isGated } = result.plan
    const repeated = await runSchedule(this.#options, { seed, isGated, deviations: result.schedule.taken }, this.#store)
    this.#runs++
    // A short wait for something real may have gone unseen in one of the two.
    refuseImpure(repeated)
    const [first, second] = [result.timeline('all'), repeated.timeline('all')]
    if (first === second) return repeated
    const difference = firstDifference(first, second)
    throw new TestError(
      'NOT_DETERMINISTIC',
      `the same schedule gave two histories: something decides by real time, chance or order outside of the test\n${difference}`,
    )
  }

  async #fail(result: RunResult): Promise<never> {
    const foundIn = this.#runs
    await this.#same(result)
    const { seed, isGated } = result.plan
    const startedAt = realMs()
    const shrunk = await shrink(
      result,
      (deviations, strategy) => runSchedule(this.#options, { seed, isGated, deviations, strategy }, this.#store),
      () => realMs() - startedAt >= shrinkMs,
    )
    const { runs, isCut } = shrunk
    const before = result.schedule.taken.length
    throw this.#failed(shrunk.result, { foundIn, before, runs, ms: realMs() - startedAt, isCut })
  }

  #failed(result: RunResult, finding: Omit<Finding, 'name'>): TestError {
    const text = failureText(result, { ...finding, name: this.name })
    return Object.assign(new TestError('EXPLORATION_FAILED', text, { cause: result.failure!.cause }), {
      deviations: result.schedule.taken,
      runs: finding.foundIn,
      broken: result.failure!.what,
      token: tokenOf(this.name, result),
    })
  }

  #finish(replayed?: string): ExploreReport {
    const unreached = Object.keys(this.#options.sometimes ?? {}).filter((name) => !this.#reached.has(name))
    if (unreached.length > 0 && replayed === undefined) {
      throw new TestError(
        'EXPLORATION_FAILED',
        `explore: sometimes ${unreached.join(', ')} never held in ${this.#runs} schedules: the exploration does not get there`,
      )
    }
    const facts = {
      schedules: this.#runs,
      distinct: this.#seen.size,
      depth: depthOf(this.#singles.isComplete, this.#pairs.isComplete),
      singles: this.#singles,
      pairs: this.#pairs,
      random: this.#random,
      landed: Object.fromEntries(this.#landed),
      seed: this.#seed,
      elapsedMs: Math.round(realMs() - this.#startedAt),
    }
    const guarantee = replayed ?? guaranteeText(facts, this.name)
    const { report } = this.#options
    if (report) report(guarantee)
    else print(guarantee)
    return { ...facts, guarantee }
  }
}

/** A budget that is no number would never be spent. */
function refuseBudget(budget: ExploreOptions['budget']): void {
  if (budget === undefined) return
  if (typeof budget !== 'object' || budget === null) throw badBudget('budget', budget, 'an object with ms or runs')
  refuseUnknown('explore: budget', budget, ['ms', 'runs'])
  const { ms, runs } = budget
  if (ms !== undefined && !(Number.isFinite(ms) && ms > 0)) throw badBudget('budget.ms', ms, 'a finite number above 0')
  if (runs !== undefined && !(Number.isSafeInteger(runs) && runs > 0))
    throw badBudget('budget.runs', runs, 'a whole number from 1')
}

function badBudget(name: string, value: unknown, allowed: string): TestError {
  return new TestError('INVALID_OPTION', `explore: ${name} is ${String(value)}; allowed is ${allowed}`)
}

function refuseImpure({ impure }: RunResult): void {
  if (impure.length === 0) return
  throw new TestError(
    'IMPURE',
    `these handlers wait for something outside of the test: ${impure.join(', ')}; wrap it in context.external(label, call), or pass something that answers at once`,
  )
}

function depthOf(singles: boolean, pairs: boolean): 0 | 1 | 2 {
  if (!singles) return 0
  return pairs ? 2 : 1
}

/** Every index once, in an order that the seed gives. */
function shuffled(length: number, seed: number): number[] {
  const list = Array.from({ length }, (_, index) => index)
  const random = mulberry32(seed)
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
  return list
}
