import { AssertionError } from 'node:assert'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Assertions } from '../../../src/testing/assertions.ts'
import { History } from '../../../src/testing/history.ts'
import { Inspection } from '../../../src/testing/inspect.ts'
import { matchers } from '../../../src/testing/matchers.ts'

let history: History
let t: { assert: Assertions }

beforeAll(() => import('../../../src/testing/vitest.ts'))

beforeEach(() => {
  history = new History(() => 0)
  const inspection = new Inspection(history, () => 0)
  t = { assert: new Assertions({ inspection, timeline: () => 'the timeline', now: () => 0 }) }
  const place = { topic: 'orders', partition: 0, key: 'o-1' }
  const first = { ...place, offset: 0 }
  const limits = { ordering: 'key', concurrency: 1, attempts: 2, batchMax: undefined } as const
  history.add('joined', { group: 'idle', member: 'm2', topics: [], ...limits })
  history.add('joined', { group: 'billing', member: 'm1', topics: ['orders'], ...limits })
  history.add('send', { ...place, send: 1, value: { total: 40 }, headers: {}, batch: undefined, acks: 'flushed' })
  history.add('acked', { ...first, send: 1, acks: 'flushed' })
  const call = { ...first, group: 'billing', member: 'm1', call: 1, attempt: 1, fence: 1, isDuplicate: false }
  history.add('deliver', call)
  const error = new TypeError('no')
  history.add('error', { ...call, error })
  history.add('failed', { ...first, group: 'billing', attempt: 1, error, retryInMs: 1000 })
  history.add('parked', { ...first, offset: 1, group: 'billing', error })
})

function failureOf(check: () => void): Error & { actual?: unknown; expected?: unknown } {
  try {
    check()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

describe('in vitest', () => {
  test('each holds, and its opposite does not', () => {
    expect(t).toHavePublished('orders', { value: { total: 40 } })
    expect(t).toHaveDelivered('billing', { attempt: 1, error: TypeError })
    expect(t).toHavePending('retry', { in: '1s' })
    expect(t).toHaveDead('billing', { error: 'no' })
    expect(() => expect(t).not.toHavePublished('orders')).toThrow('expected no message published')
    expect(() => expect(t).not.toHaveDelivered('billing')).toThrow('expected no message delivered')
    expect(() => expect(t).not.toHavePending('retry')).toThrow('expected no message waiting')
    expect(() => expect(t).not.toHaveDead('billing')).toThrow('expected no message given up')
  })

  test('each opposite holds, and it does not itself', () => {
    expect(t).not.toHavePublished('orders', { key: 'o-2' })
    expect(t).not.toHaveDelivered('idle')
    expect(t).not.toHavePending('retry', { in: '2s' })
    expect(t).not.toHaveDead('idle')
    expect(t).not.toBeDrained()
    expect(() => expect(t).toHavePublished('orders', { key: 'o-2' })).toThrow('expected a message published')
    expect(() => expect(t).toHaveDelivered('idle')).toThrow('expected a message delivered')
    expect(() => expect(t).toHavePending('retry', { in: '2s' })).toThrow('expected a message waiting')
    expect(() => expect(t).toHaveDead('idle')).toThrow('expected a message given up')
    expect(() => expect(t).toBeDrained()).toThrow("saw 'billing' with 1 unfinished, 0 in flight")
  })

  test('drained', () => {
    history.add('trimmed', { topic: 'orders', partition: 0, start: 1 })
    expect(t).toBeDrained()
    expect(() => expect(t).not.toBeDrained()).toThrow('every group is empty')
  })

  test('failures carry what the difference is made of, and the timeline', () => {
    const byMatcher = failureOf(() => expect(t).toHavePublished('orders', { key: 'o-2' }))
    const byAssertion = failureOf(() => t.assert.published('orders', { key: 'o-2' }))
    for (const failure of [byMatcher, byAssertion]) {
      expect(failure).toMatchObject({ actual: [{ key: 'o-1' }], expected: [{ key: 'o-2' }] })
      expect(failure.message).toMatch(/\n\nthe timeline\n$/)
    }
    expect(byAssertion).toBeInstanceOf(AssertionError)
  })

  test('bad use is no failed assertion, also the other way round', () => {
    expect(() => expect(t).toHavePublished('order')).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }))
    expect(() => expect(t).not.toHaveDead('bill')).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }))
    for (const received of [undefined, null, {}, { assert: {} }, 'orders']) {
      expect(() => expect(received).not.toBeDrained()).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    }
  })
})

describe('in jest', () => {
  afterEach(() => vi.unstubAllGlobals())

  test('the global expect gets the matchers', async () => {
    const extend = vi.fn<(added: object) => void>()
    vi.stubGlobal('expect', { extend })
    vi.resetModules()
    await import('../../../src/testing/jest.ts')
    expect(Object.keys(extend.mock.calls[0]![0])).toEqual(Object.keys(matchers))
  })

  test('without one it is said what to do', async () => {
    vi.stubGlobal('expect', undefined)
    vi.resetModules()
    await expect(import('../../../src/testing/jest.ts')).rejects.toThrow('call `expect.extend(matchers)`')
  })
})
