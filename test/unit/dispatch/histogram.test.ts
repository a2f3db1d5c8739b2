import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Histogram } from '../../../src/dispatch/histogram.ts'
import { runs } from '../../runs.ts'

describe('histogram', () => {
  test('says nothing of nothing', () => {
    expect(new Histogram().summary()).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 })
  })

  test('knows percentiles to within a tenth above, count, mean and maximum exactly', () => {
    const durations = fc.array(fc.double({ min: 0.002, max: 1e8, noNaN: true }), { minLength: 1, maxLength: 300 })
    fc.assert(
      fc.property(durations, (given) => {
        const histogram = new Histogram()
        for (const ms of given) histogram.record(ms)
        const sorted = given.toSorted((a, b) => a - b)
        const summary = histogram.summary()
        expect(summary.count).toBe(given.length)
        expect(summary.max).toBe(sorted.at(-1))
        expect(summary.mean).toBeCloseTo(given.reduce((sum, ms) => sum + ms, 0) / given.length, 0)
        for (const [share, seen] of [
          [0.5, summary.p50],
          [0.9, summary.p90],
          [0.99, summary.p99],
        ] as const) {
          const exact = sorted[Math.ceil(given.length * share) - 1]!
          expect(seen).toBeGreaterThanOrEqual(exact * 0.999_999)
          expect(seen).toBeLessThanOrEqual(exact * 1.1)
        }
      }),
      runs(100),
    )
  })

  test('takes nothing, and more than the longest, without losing count', () => {
    const histogram = new Histogram()
    for (const ms of [0, 0.0001, 1e15]) histogram.record(ms)
    expect(histogram.summary()).toMatchObject({ count: 3, max: 1e15 })
    expect(histogram.summary().p50).toBeLessThanOrEqual(0.001)
  })
})
