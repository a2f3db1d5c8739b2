import { AssertionError } from 'node:assert'
import type { DeadMatch, DeliveredMatch, PendingMatch, PublishedMatch } from './assertion-match.ts'
import type { Assertions } from './assertions.ts'
import { TestError } from './test-error.ts'

/** What a matcher answers, to vitest as to jest. */
export interface MatcherResult {
  readonly pass: boolean
  /** What the runner shows when the expectation does not hold. */
  readonly message: () => string
  readonly actual?: unknown
  readonly expected?: unknown
}

/** The matchers as they are called; `R` is what they return. */
export interface QueueMatchers<R = void> {
  /** Checks that a message was sent to a topic and acknowledged. */
  toHavePublished(topic: string, match?: PublishedMatch): R
  /** Checks that a message was handed to a handler of a group. */
  toHaveDelivered(group: string, match?: DeliveredMatch): R
  /** Checks that a message waits for its next attempt. */
  toHavePending(kind: 'retry', match?: PendingMatch): R
  /** Checks that a group gave a message up. */
  toHaveDead(group: string, match?: DeadMatch): R
  /** Checks that every group has finished every message. */
  toBeDrained(): R
}

type Matcher<Args extends readonly unknown[]> = (received: unknown, ...args: Args) => MatcherResult

/** Matchers for `expect.extend` of vitest and jest. They are given the test queue, as in `expect(t).toBeDrained()`. */
export const matchers: {
  readonly [K in keyof QueueMatchers]: Matcher<Parameters<QueueMatchers[K]>>
} = {
  toHavePublished: (received, topic, match) =>
    answer(
      received,
      (to) => to.published(topic, match),
      ({ none }) => none.published(topic, match),
    ),
  toHaveDelivered: (received, group, match) =>
    answer(
      received,
      (to) => to.delivered(group, match),
      ({ none }) => none.delivered(group, match),
    ),
  toHavePending: (received, kind, match) =>
    answer(
      received,
      (to) => to.pending(kind, match),
      ({ none }) => none.pending(kind, match),
    ),
  toHaveDead: (received, group, match) =>
    answer(
      received,
      (to) => to.dead(group, match),
      ({ none }) => none.dead(group, match),
    ),
  toBeDrained: (received) => answer(received, (to) => to.drained(), undefined),
}

/** `opposite` fails where `check` passes: what it says is the message under `.not`. */
function answer(
  received: unknown,
  check: (assert: Assertions) => void,
  opposite: ((assert: Assertions) => void) | undefined,
): MatcherResult {
  const assert = assertionsOf(received)
  const failure = failureOf(() => check(assert))
  if (failure !== undefined) return { pass: false, ...told(failure) }
  const other = opposite === undefined ? undefined : failureOf(() => opposite(assert))
  if (other !== undefined) return { pass: true, ...told(other) }
  return { pass: true, message: () => 'expected a group with unfinished messages, saw that every group is empty' }
}

function assertionsOf(received: unknown): Assertions {
  const { assert } = (received ?? {}) as { readonly assert?: Partial<Assertions> }
  if (typeof assert?.published === 'function') return assert as Assertions
  throw new TestError('INVALID_OPTION', 'expect(...) was given no test queue: hand it the one that the test works on')
}

function failureOf(check: () => void): AssertionError | undefined {
  try {
    check()
  } catch (error) {
    if (error instanceof AssertionError) return error
    throw error
  }
  return undefined
}

function told({ message, actual, expected }: AssertionError): Omit<MatcherResult, 'pass'> {
  return { message: () => message, actual, expected }
}
