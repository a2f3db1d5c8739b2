import { describe, expect, test } from 'vitest'
import { keepEverything, trimPoint, type RetainedBatch, type RetentionView } from '../../../src/log/retention.ts'

const hour = 3_600_000
const now = 100 * hour

/** Ten batches of 100 messages and 1,000 bytes, one each hour; the newest is of now. */
const batches: RetainedBatch[] = Array.from({ length: 10 }, (_, i) => {
  return { nextOffset: (i + 1) * 100, timestamp: now - (9 - i) * hour, bytes: 1000 }
})
const view: RetentionView = { now, bytes: 10_000, consumed: Infinity }
const keep = keepEverything

describe('retention', () => {
  test.each([
    ['keeps everything without a limit', keep, view, undefined],
    ['removes what is older than the age', { ...keep, maxAgeMs: 3 * hour }, view, 600],
    ['keeps what is exactly as old', { ...keep, maxAgeMs: 9 * hour }, view, undefined],
    ['removes the oldest beyond the bytes', { ...keep, maxBytes: 4500 }, view, 600],
    ['keeps what fits exactly', { ...keep, maxBytes: 10_000 }, view, undefined],
    ['may empty the partition by age', { ...keep, maxAgeMs: 1 }, { ...view, now: now + hour }, 1000],
    ['goes by whichever limit removes more', { ...keep, maxAgeMs: 8 * hour, maxBytes: 4500 }, view, 600],
    ['waits for the named groups', { ...keep, maxBytes: 4500, consumedBy: ['g'] }, { ...view, consumed: 250 }, 200],
    ['removes what they finished, without limits', { ...keep, consumedBy: ['g'] }, { ...view, consumed: 300 }, 300],
    ['removes nothing unfinished', { ...keep, consumedBy: ['g'] }, { ...view, consumed: 99 }, undefined],
    [
      'keeps what they finished, within limits',
      { ...keep, maxBytes: 8000, consumedBy: ['g'] },
      { ...view, consumed: 900 },
      200,
    ],
    [
      'goes over their heads at the hard cap',
      { ...keep, consumedBy: ['g'], hardMaxBytes: 7000 },
      { ...view, consumed: 100 },
      300,
    ],
  ])('%s', (_title, settings, seen, expected) => {
    expect(trimPoint(settings, seen, batches)).toBe(expected)
  })

  test('a clock that was set back removes nothing', () => {
    expect(trimPoint({ ...keep, maxAgeMs: 1 }, { ...view, now: now - 50 * hour }, batches)).toBeUndefined()
  })
})
