import { describeDeviation, type Deviation } from './deviation.ts'
import type { ExploreReport } from './exploration.ts'
import type { RunResult } from './run.ts'
import { encodeToken, replayVariable } from './token.ts'

/** Lines of the timeline that a failure shows. */
const shownLines = 60

/** How a failure was found. */
export interface Finding {
  readonly name: string
  readonly foundIn: number
  readonly before: number
  readonly runs: number
  readonly ms: number
  /** Whether shrinking was given up before its end. */
  readonly isCut: boolean
}

/** A failure as a short story: what is broken, by which few departures, what happened, how to see it again. */
export function failureText(result: RunResult, { name, foundIn, before, runs, ms, isCut }: Finding): string {
  const { taken } = result.schedule
  const { what, text } = result.failure!
  const count = taken.length === 1 ? '1 deviation' : `${taken.length} deviations`
  const found =
    foundIn === 0
      ? 'replayed'
      : `found in run ${foundIn}, shrunk ${before} -> ${count} (${runs} runs, ${Math.round(ms)} ms${isCut ? ', not to the end' : ''})`
  const story =
    taken.length === 0
      ? ['  in the plain run']
      : ['  the plain run, except:', ...taken.map((deviation, i) => `    ${i + 1}. ${describeDeviation(deviation)}`)]
  const token = tokenOf(name, result)
  return [
    `${name}: ${what} broken, ${found}`,
    ...story,
    ...text.split('\n').map((line) => `  ${line}`),
    '',
    tail(result.timeline('commits')),
    '',
    `replay: ${replayVariable}=${token}`,
  ].join('\n')
}

/** Repeats a run. */
export function tokenOf(name: string, { plan, schedule }: RunResult): string {
  return encodeToken({ name, seed: plan.seed, isGated: plan.isGated, deviations: schedule.taken })
}

/** What a replay says that does not fail any more. */
export function replayedText(name: string, deviations: readonly Deviation[]): string {
  const story =
    deviations.length === 0 ? 'the plain run' : `the plain run, except: ${deviations.map(describeDeviation).join('; ')}`
  return `${name}: the replay passes, the failure is gone (${story})`
}

/** What a passing exploration says, and no more than that. */
export function guaranteeText(
  { schedules, distinct, depth, singles, pairs, random, seed, elapsedMs }: Omit<ExploreReport, 'guarantee'>,
  name: string,
): string {
  const within =
    depth === 0 ? 'in the plain run' : `within ${depth === 1 ? '1 deviation' : `${depth} deviations`} of the plain run`
  const rate = Math.round((schedules / Math.max(1, elapsedMs)) * 1000)
  const more = `${singles.done} single deviations${singles.isComplete ? ', all of them' : ''}; ${pairs.done} pairs${pairs.isComplete ? ', all of them' : ''}; ${random} random`
  return `${name}: no violation ${within}; ${schedules} schedules, ${distinct} distinct histories (${more}), seed ${seed}, ${elapsedMs} ms, ${rate} schedules/s`
}

/** The first line in which two texts differ. */
export function firstDifference(first: string, second: string): string {
  const a = first.split('\n')
  const b = second.split('\n')
  const index = a.findIndex((line, i) => line !== b[i])
  const place = index < 0 ? a.length : index
  return `  line ${place + 1}\n  first:  ${a[place] ?? '(nothing)'}\n  second: ${b[place] ?? '(nothing)'}`
}

function tail(text: string): string {
  const lines = text.split('\n')
  return lines.length <= shownLines ? text : ['…', ...lines.slice(-shownLines)].join('\n')
}
