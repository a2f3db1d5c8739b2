import { matchers, type QueueMatchers } from './matchers.ts'
import { TestError } from './test-error.ts'

declare global {
  // Jest's own types, where they are installed, merge with this.
  namespace jest {
    interface Matchers<R, T> extends QueueMatchers<R> {}
  }
}

const { expect } = globalThis as { readonly expect?: { extend?: (added: object) => void } }
if (typeof expect?.extend !== 'function') {
  throw new TestError(
    'INVALID_OPTION',
    "There is no global `expect`: with `injectGlobals: false`, call `expect.extend(matchers)` with the matchers of 'lanemq/testing'",
  )
}
expect.extend(matchers)
