import { AssertionError } from 'node:assert'
import { isDeepStrictEqual } from 'node:util'
import {
  Pattern,
  type DeadMatch,
  type DeliveredMatch,
  type PendingMatch,
  type PublishedMatch,
} from './assertion-match.ts'
import { showDuration } from './duration.ts'
import type { Inspection } from './inspect.ts'
import { showKey, showValue } from './show.ts'
import { TestError } from './test-error.ts'

/** What assertions look at. */
export interface AssertionSource {
  readonly inspection: Inspection
  /** Its last lines are added to every failure. */
  timeline(): string
  /** Virtual milliseconds since the test began. */
  now(): number
}

/** How often a message has to be there; at least once when nothing is said. */
export interface TimesOptions {
  readonly times?: number
}

/** How often a message has to be delivered. */
export interface DeliveredOptions extends TimesOptions {
  /** How many of the deliveries ended without an error. */
  readonly effects?: number
}

/** The positions of a group: a list by partition of all of them, or an object of some of them. */
export type CommittedMatch = Readonly<Record<string, readonly number[] | Readonly<Record<number, number>>>>

/** How many candidates are set beside what was asked for, the nearest first. */
const mostShown = 10
const timelineLines = 20

interface Question {
  readonly operator: string
  /** As in `published to 'orders'`. */
  readonly what: string
  readonly candidates: readonly object[]
  readonly match: unknown
}

interface Failure {
  readonly operator: string
  readonly actual: unknown
  readonly expected: unknown
}

/**
 * Checks what happened in a test. What does not hold is thrown as an `AssertionError` with `actual` and `expected`, of
 * which node:test, vitest and jest show a difference, and with the end of the timeline.
 */
export class Assertions {
  /** The same, the other way round: that something did not happen. */
  readonly none: NoneAssertions
  readonly #source: AssertionSource

  constructor(source: AssertionSource) {
    this.#source = source
    this.none = new NoneAssertions(source)
  }

  /** Checks that two values are deeply and strictly equal. @throws AssertionError */
  equal(actual: unknown, expected: unknown): void {
    if (isDeepStrictEqual(actual, expected)) return
    const sentence = `expected ${showValue(expected)}, saw ${showValue(actual)}`
    fail(this.#source, sentence, { operator: 'equal', actual, expected })
  }

  /**
   * Checks that messages were sent to a topic and acknowledged.
   *
   * @throws AssertionError; TestError `UNKNOWN_NAME`
   */
  published<V = unknown>(topic: string, match?: PublishedMatch<V>, options: TimesOptions = {}): void {
    this.#count(publishedQuestion(this.#source, topic, match), options.times)
  }

  /**
   * Checks that messages were handed to handlers of a group.
   *
   * @throws AssertionError; TestError `UNKNOWN_NAME`
   */
  delivered(group: string, match?: DeliveredMatch, options: DeliveredOptions = {}): void {
    const { times, effects } = options
    const question = deliveredQuestion(this.#source, group, match)
    if (effects === undefined) {
      this.#count(question, times)
      return
    }
    const pattern = new Pattern(match)
    const found = this.#source.inspection.group(group).delivered.filter((one) => pattern.accepts(one))
    const seen = { times: found.length, effects: found.filter(({ outcome }) => outcome === 'done').length }
    const isMet = seen.effects === effects && (times === undefined || seen.times === times)
    if (isMet) return
    const expected = times === undefined ? { effects } : { times, effects }
    const actual = times === undefined ? { effects: seen.effects } : seen
    const wanted = times === undefined ? '' : `${times} times `
    const sentence =
      `expected messages ${question.what}${like(pattern)} ${wanted}with ${effects} effects, ` +
      `saw them ${seen.times} times with ${seen.effects} effects`
    fail(this.#source, sentence, { operator: 'delivered', actual, expected })
  }

  /**
   * Checks that messages wait for their next attempt; `in: '1s'` says when from now.
   *
   * @throws AssertionError; TestError `INVALID_OPTION`
   */
  pending(kind: 'retry', match?: PendingMatch, options: TimesOptions = {}): void {
    this.#count(pendingQuestion(this.#source, kind, match), options.times)
  }

  /**
   * Checks that a group gave messages up.
   *
   * @throws AssertionError; TestError `UNKNOWN_NAME`
   */
  dead(group: string, match?: DeadMatch, options: TimesOptions = {}): void {
    this.#count(deadQuestion(this.#source, group, match), options.times)
  }

  /**
   * Checks the durable positions of a group: `{ orders: [3, 0] }` for all partitions, `{ orders: { 0: 3 } }` for some.
   * A partition in which nothing is durable yet is at 0.
   *
   * @throws AssertionError; TestError `UNKNOWN_NAME`
   */
  committed(group: string, expected: CommittedMatch): void {
    const { inspection } = this.#source
    const positions = inspection.group(group).committed
    const at = (topic: string, partition: number): number =>
      positions.find((one) => one.topic === topic && one.partition === partition)?.position ?? 0
    const actual = Object.fromEntries(
      Object.entries(expected).map(([topic, wanted]) => {
        const { partitions } = inspection.topic(topic)
        if (Array.isArray(wanted)) return [topic, Array.from({ length: partitions }, (_, i) => at(topic, i))]
        return [topic, Object.fromEntries(Object.keys(wanted).map((i) => [i, at(topic, Number(i))]))]
      }),
    )
    if (isDeepStrictEqual(actual, { ...expected })) return
    const sentence = `expected '${group}' to have committed ${showValue(expected)}, saw ${showValue(actual)}`
    fail(this.#source, sentence, { operator: 'committed', actual, expected })
  }

  /**
   * Checks that a group has finished all messages durably and that nothing of it runs.
   *
   * @throws AssertionError; TestError `UNKNOWN_NAME`
   */
  empty(group: string): void {
    const actual = loadOf(this.#source.inspection, group)
    if (actual.lag === 0 && actual.inFlight === 0) return
    const sentence = `expected '${group}' to be empty, saw ${showLoad(actual)}`
    fail(this.#source, sentence, { operator: 'empty', actual, expected: { lag: 0, inFlight: 0 } })
  }

  /** Checks that every group is empty. @throws AssertionError */
  drained(): void {
    const { inspection } = this.#source
    const actual: Record<string, unknown> = {}
    const expected: Record<string, unknown> = {}
    const seen: string[] = []
    for (const group of inspection.groups) {
      const load = loadOf(inspection, group)
      if (load.lag === 0 && load.inFlight === 0) continue
      actual[group] = load
      expected[group] = { lag: 0, inFlight: 0 }
      seen.push(`'${group}' with ${showLoad(load)}`)
    }
    if (seen.length === 0) return
    const sentence = `expected every group to be empty, saw ${seen.join('; ')}`
    fail(this.#source, sentence, { operator: 'drained', actual, expected })
  }

  /** Checks that the process died and was not restarted since. @throws AssertionError */
  crashed(): void {
    if (this.#source.inspection.isCrashed) return
    const sentence = 'expected the process to have crashed, saw it run'
    fail(this.#source, sentence, { operator: 'crashed', actual: 'running', expected: 'crashed' })
  }

  #count(question: Question, times: number | undefined): void {
    const pattern = new Pattern(question.match)
    const { operator, what, candidates } = question
    const found = candidates.filter((one) => pattern.accepts(one))
    if (times === undefined ? found.length > 0 : found.length === times) return
    const messages = times === undefined ? 'a message' : times === 1 ? '1 message' : `${times} messages`
    const wanted = `expected ${messages} ${what}${like(pattern)}`
    if (found.length > 0) {
      const saw = `saw ${found.length}: ${showList(found, pattern)}`
      fail(this.#source, `${wanted}, ${saw}`, { operator, actual: { times: found.length }, expected: { times } })
    }
    const nearest = candidates.toSorted((a, b) => pattern.distance(a) - pattern.distance(b))
    const saw = nearest.length === 0 ? 'saw none at all' : `saw none like that; nearest: ${showList(nearest, pattern)}`
    const actual = nearest.slice(0, mostShown).map((one) => pattern.restrict(one))
    fail(this.#source, `${wanted}, ${saw}`, { operator, actual, expected: [expectedOf(pattern)] })
  }
}

/** Checks that something did not happen. What did is thrown as an `AssertionError`, with the messages as `actual`. */
export class NoneAssertions {
  readonly #source: AssertionSource

  constructor(source: AssertionSource) {
    this.#source = source
  }

  /** Checks that no such message was sent to a topic and acknowledged. @throws AssertionError; TestError `UNKNOWN_NAME` */
  published<V = unknown>(topic: string, match?: PublishedMatch<V>): void {
    this.#none(publishedQuestion(this.#source, topic, match))
  }

  /** Checks that no such message was handed to a group. @throws AssertionError; TestError `UNKNOWN_NAME` */
  delivered(group: string, match?: DeliveredMatch): void {
    this.#none(deliveredQuestion(this.#source, group, match))
  }

  /** Checks that no such message waits for its next attempt. @throws AssertionError; TestError `INVALID_OPTION` */
  pending(kind: 'retry', match?: PendingMatch): void {
    this.#none(pendingQuestion(this.#source, kind, match))
  }

  /** Checks that a group (any group when none is given) gave up no such message. @throws AssertionError; TestError `UNKNOWN_NAME` */
  dead(group?: string, match?: DeadMatch): void {
    this.#none(deadQuestion(this.#source, group, match))
  }

  #none({ operator, what, candidates, match }: Question): void {
    const pattern = new Pattern(match)
    const found = candidates.filter((one) => pattern.accepts(one))
    if (found.length === 0) return
    const sentence = `expected no message ${what}${like(pattern)}, saw ${found.length}: ${showList(found, pattern)}`
    const actual = found.slice(0, mostShown).map((one) => pattern.restrict(one))
    fail(this.#source, sentence, { operator: `none.${operator}`, actual, expected: [] })
  }
}

function publishedQuestion({ inspection }: AssertionSource, topic: string, match: unknown): Question {
  const candidates = inspection.topic(topic).published
  return { operator: 'published', what: `published to '${topic}'`, candidates, match }
}

function deliveredQuestion({ inspection }: AssertionSource, group: string, match: unknown): Question {
  const candidates = inspection.group(group).delivered
  return { operator: 'delivered', what: `delivered to '${group}'`, candidates, match }
}

function pendingQuestion({ inspection }: AssertionSource, kind: string, match: unknown): Question {
  if (kind !== 'retry') throw new TestError('INVALID_OPTION', `kind is ${showValue(kind)}; allowed: 'retry'`)
  return { operator: 'pending', what: 'waiting for a retry', candidates: inspection.pending(), match }
}

function deadQuestion({ inspection }: AssertionSource, group: string | undefined, match: unknown): Question {
  // Asked for its check of the name.
  if (group !== undefined) inspection.group(group)
  const candidates = inspection.dead().filter((one) => group === undefined || one.group === group)
  return {
    operator: 'dead',
    what: `given up by ${group === undefined ? 'any group' : `'${group}'`}`,
    candidates,
    match,
  }
}

interface Load {
  readonly lag: number
  readonly inFlight: number
}

function loadOf(inspection: Inspection, group: string): Load {
  const { lag, inFlight } = inspection.group(group)
  return { lag, inFlight: inFlight.length }
}

function showLoad({ lag, inFlight }: Load): string {
  return `${lag} unfinished, ${inFlight} in flight`
}

function like(pattern: Pattern): string {
  if (pattern.wanted === undefined) return ''
  return pattern.hasFields ? ` like ${showValue(pattern.wanted)}` : ' that the function accepts'
}

function expectedOf(pattern: Pattern): unknown {
  return pattern.hasFields ? pattern.wanted : pattern.wanted === undefined ? 'a message' : 'what the function accepts'
}

function showList(list: readonly object[], pattern: Pattern): string {
  const shown = list.slice(0, 3).map((one) => (pattern.hasFields ? showValue(pattern.restrict(one)) : showMessage(one)))
  return list.length > shown.length ? `${shown.join(', ')}, …` : shown.join(', ')
}

function showMessage(message: object): string {
  const { topic, partition, offset, key } = message as Record<'topic' | 'partition' | 'offset' | 'key', unknown>
  const place = `${String(topic)}[${String(partition)}]@${String(offset)}`
  return typeof key === 'string' ? `${place} ${showKey(key)}` : place
}

function fail(source: AssertionSource, sentence: string, failure: Failure): never {
  const lines = source.timeline().split('\n').slice(-timelineLines)
  const end = lines.join('\n') === '' ? '' : `\n\n${lines.join('\n')}\n`
  const message = `At +${showDuration(source.now())}: ${sentence}.${end}`
  throw new AssertionError({ ...failure, message })
}
