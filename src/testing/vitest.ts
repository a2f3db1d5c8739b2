import { expect } from 'vitest'
import { matchers, type QueueMatchers } from './matchers.ts'

declare module 'vitest' {
  // The parameter has to be that of vitest.
  interface Matchers<T> extends QueueMatchers {}
}

expect.extend(matchers)
