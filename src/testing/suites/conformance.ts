import { realRuntime } from '../../runtime/real-runtime.ts'
import { TestError } from '../test-error.ts'

/**
 * One case of a conformance suite, for any test runner.
 *
 * A suite is a plain list, so registering it takes a line. Every case is listed; those whose feature the subject does not
 * declare carry the reason in {@link ConformanceCase.skipped}, so that the runner counts them:
 *
 * ```ts
 * // node:test, vitest and jest alike
 * describe('my store', () => {
 *   for (const { name, run, skipped } of storageSuite(subject)) (skipped ? test.skip : test)(name, () => run())
 * })
 * ```
 *
 * Without a runner there is {@link runSuite}.
 */
export interface ConformanceCase<Flag extends string = string> {
  /** What has to hold, as a sentence. Those of one suite differ from each other. */
  readonly name: string
  /** The feature without which the case says nothing about the subject. */
  readonly requires?: Flag
  /** Why the case does not apply to the subject; absent when it does. */
  readonly skipped?: string
  /** Opens a subject, checks it and releases it; rejects when the subject breaks the contract. A skipped one always rejects. */
  readonly run: () => Promise<void>
}

/** What a suite is made of: a case before it is tied to a subject. */
export interface CaseTemplate<Under, Flag extends string> {
  readonly name: string
  /** Skipped for a subject without the feature. */
  readonly requires?: Flag
  /** Skipped for a subject with the feature: what has to hold in its absence. */
  readonly unless?: Flag
  readonly run: (under: Under) => Promise<void>
}

/** What a suite needs to know of whatever it looks at. */
export interface ConformanceSubject<Under, Flag extends string> {
  /** What the subject can do. A feature that is left out is one that it lacks. */
  readonly features: Readonly<Partial<Record<Flag, boolean>>>
  /** Opens an empty one; called for each case. */
  readonly open: () => Promise<Under>
}

/** Ties cases to a subject. */
export function casesOf<Under extends { dispose(): Promise<void> }, Flag extends string>(
  templates: readonly CaseTemplate<Under, Flag>[],
  { features, open }: ConformanceSubject<Under, Flag>,
  flags: readonly Flag[],
): ConformanceCase<Flag>[] {
  checkFeatures(features, flags)
  return templates.map(({ name, requires, unless, run }) => {
    const skipped = reasonToSkip(features, requires, unless)
    return {
      name,
      ...(requires !== undefined && { requires }),
      ...(skipped !== undefined && { skipped }),
      run: async () => {
        if (skipped !== undefined) throw new TestError('INVALID_OPTION', `'${name}' does not apply: ${skipped}`)
        const under = await open()
        try {
          await run(under)
        } finally {
          await under.dispose()
        }
      },
    }
  })
}

function reasonToSkip<Flag extends string>(
  features: Readonly<Partial<Record<Flag, boolean>>>,
  requires: Flag | undefined,
  unless: Flag | undefined,
): string | undefined {
  if (requires !== undefined && features[requires] !== true) return `needs '${requires}', which is not declared`
  if (unless !== undefined && features[unless] === true) return `is for subjects without '${unless}'`
  return undefined
}

/** A misspelt feature would skip its cases for ever. */
function checkFeatures(features: Readonly<Record<string, unknown>>, flags: readonly string[]): void {
  for (const [name, value] of Object.entries(features)) {
    if (!flags.includes(name)) {
      throw new TestError('INVALID_OPTION', `feature '${name}' is unknown; there are ${flags.join(', ')}`)
    }
    if (value !== undefined && typeof value !== 'boolean') {
      throw new TestError('INVALID_OPTION', `feature '${name}' has to be true or false`)
    }
  }
}

/** How one case went. */
export type CaseOutcome =
  | { readonly name: string; readonly outcome: 'passed' }
  | { readonly name: string; readonly outcome: 'failed'; readonly error: unknown }
  | { readonly name: string; readonly outcome: 'skipped'; readonly reason: string }

/** How {@link runSuite} runs. */
export interface RunSuiteOptions {
  /** Called after each case. */
  readonly report?: (outcome: CaseOutcome) => void
  /** How long one case may take, in real milliseconds. One that takes longer counts as failed and is left behind. @defaultValue `30_000` */
  readonly timeoutMs?: number
}

/** What {@link runSuite} found: each case stands in exactly one of the lists. */
export interface SuiteResult {
  readonly passed: readonly string[]
  readonly failed: readonly { readonly name: string; readonly error: unknown }[]
  readonly skipped: readonly { readonly name: string; readonly reason: string }[]
}

/** Runs the cases of a suite one after the other, without a test runner. Never rejects because a case does. */
export async function runSuite(
  cases: readonly ConformanceCase[],
  { report = () => {}, timeoutMs = 30_000 }: RunSuiteOptions = {},
): Promise<SuiteResult> {
  const passed: string[] = []
  const failed: { name: string; error: unknown }[] = []
  const skipped: { name: string; reason: string }[] = []
  for (const one of cases) {
    const outcome = await outcomeOf(one, timeoutMs)
    const { name } = outcome
    if (outcome.outcome === 'passed') passed.push(name)
    else if (outcome.outcome === 'failed') failed.push({ name, error: outcome.error })
    else skipped.push({ name, reason: outcome.reason })
    report(outcome)
  }
  return { passed, failed, skipped }
}

async function outcomeOf({ name, skipped, run }: ConformanceCase, timeoutMs: number): Promise<CaseOutcome> {
  if (skipped !== undefined) return { name, outcome: 'skipped', reason: skipped }
  try {
    await within(timeoutMs, run)
    return { name, outcome: 'passed' }
  } catch (error) {
    return { name, outcome: 'failed', error }
  }
}

/** Real time, whatever the subject's own is: a subject that never answers must not hold up the other cases. */
async function within(timeoutMs: number, run: () => Promise<void>): Promise<void> {
  let tooLate: (error: Error) => void
  const end = new Promise<never>((_, reject) => (tooLate = reject))
  const timer = realRuntime.timer(timeoutMs, 'conformance case', () => {
    tooLate(new TestError('WOULD_HANG', `the case did not end within ${timeoutMs} ms`))
  })
  try {
    await Promise.race([run(), end])
  } finally {
    timer.cancel()
  }
}
