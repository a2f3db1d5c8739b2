/** Every code that an error of `lanemq/testing` can carry. */
export const testErrorCodes = {
  FAKE_TIMERS: 'fake timers of a test framework are installed',
  VERB_RUNNING: 'a verb was called while another one had not ended',
  WOULD_HANG: 'something waits that nothing in the test can end',
  ENDLESS: 'the work does not come to an end within its limits',
  UNEXPECTED_FAILURES: 'messages were given up that the test did not allow',
  CRASHED: 'the process is dead: restart it first',
  DISPOSED: 'the test queue was disposed',
  OWN_TIMERS: 'the wiring keeps timers of its own, which virtual time does not move',
  LEFT_RUNNING: 'the test queue was disposed while handlers were running',
  NOT_DETERMINISTIC: 'the same schedule gave two different histories',
  IMPURE: 'a handler waits for something outside of the test that it did not declare',
  REPLAY_TOKEN: 'a replay token is damaged, or of another version',
  DIVERGED: 'a replay met something else than what was recorded',
  INVARIANT: 'an invariant of the queue does not hold',
  EXPLORATION_FAILED: 'an explored schedule failed',
  INVALID_OPTION: 'an option is unknown, missing, of the wrong type or out of range',
  UNKNOWN_NAME: 'no topic, group or handler has that name',
} as const

/** The `code` of a {@link TestError}. */
export type TestErrorCode = keyof typeof testErrorCodes

/** What `lanemq/testing` throws beside failed assertions (those are `AssertionError`s). Match on {@link TestError.code}. */
export class TestError extends Error {
  override readonly name = 'TestError'
  readonly code: TestErrorCode

  constructor(code: TestErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** @throws `INVALID_OPTION` when an option is not one of the names @internal */
export function refuseUnknown(where: string, options: object, names: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown === undefined) return
  throw new TestError('INVALID_OPTION', `${where}: unknown option ${unknown}; allowed are ${names.join(', ')}`)
}
