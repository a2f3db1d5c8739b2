import { describe, expect, test } from 'vitest'
import { durationMs, showDuration, type Duration } from '../../../src/testing/duration.ts'

describe('durationMs', () => {
  test.each<[Duration, number]>([
    [0, 0],
    [1.5, 1.5],
    ['0s', 0],
    ['250ms', 250],
    ['1.5s', 1500],
    ['1.1s', 1100],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['30d', 2_592_000_000],
  ])('%s is %s ms', (given, ms) => {
    expect(durationMs(given, 'by')).toBe(ms)
  })

  test.each([-1, '-1s', Number.NaN, Infinity, '', '1', '1 s', 's', '1w', '1h 30m', undefined, null, {}])(
    '%j is refused with the option, the value and what is allowed',
    (given) => {
      expect(() => durationMs(given as Duration, 'horizon')).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTION',
          message: expect.stringMatching(/^horizon is .*; allowed: .*'1\.5s'.*from 0 on/) as string,
        }),
      )
    },
  )

  test('a clock may jump back', () => {
    expect(durationMs('-1h', 'by', { allowNegative: true })).toBe(-3_600_000)
    expect(() => durationMs(-Infinity, 'by', { allowNegative: true })).toThrow('by is -Infinity')
  })
})

test.each([
  [0, '0s'],
  [250, '250ms'],
  [0.5, '0.5ms'],
  [1000, '1s'],
  [1500, '1.5s'],
  [1001, '1.001s'],
  [90_000, '1m 30s'],
  [120_000, '2m'],
  [5_400_000, '1h 30m'],
  [86_400_000, '1d'],
  [90_060_001, '1d 1h 1m 0.001s'],
  [-3_600_000, '-1h'],
])('%s ms is shown as %s', (ms, text) => {
  expect(showDuration(ms)).toBe(text)
})
