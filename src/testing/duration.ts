import { TestError } from './test-error.ts'

/** A span of time: milliseconds, or a number with its unit, as in `'250ms'`, `'1.5s'`, `'2m'`, `'1h'`, `'1d'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const
const pattern = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/**
 * Tells the milliseconds of a duration; `name` is the option that it was given for.
 *
 * @throws TestError `INVALID_OPTION` when it is no duration, not finite, or below 0 without `allowNegative`
 */
export function durationMs(value: Duration, name: string, options?: { readonly allowNegative?: boolean }): number {
  const ms = parse(value)
  const isAllowed = Number.isFinite(ms) && (ms >= 0 || options?.allowNegative === true)
  if (isAllowed) return ms
  const range = options?.allowNegative ? 'finite' : 'finite, from 0 on'
  const allowed = `milliseconds or a string such as '250ms', '1.5s', '2m', '1h' or '1d' (${range})`
  const seen = typeof value === 'string' ? `'${value}'` : typeof value === 'number' ? value : typeof value
  throw new TestError('INVALID_OPTION', `${name} is ${seen}; allowed: ${allowed}`)
}

function parse(value: unknown): number {
  if (typeof value === 'number') return value
  const parts = typeof value === 'string' ? pattern.exec(value) : null
  if (parts === null) return Number.NaN
  // Rounded to a nanosecond, because 1.1 * 1000 is no whole number.
  return Number((Number(parts[1]) * units[parts[2] as keyof typeof units]).toFixed(6))
}

/** Shows milliseconds as people say them: `'0s'`, `'250ms'`, `'1.5s'`, `'2m'`, `'1h 30m'`, `'1d'`. */
export function showDuration(ms: number): string {
  if (ms < 0) return `-${showDuration(-ms)}`
  if (ms === 0) return '0s'
  if (ms < 1000) return `${rounded(ms)}ms`
  const days = Math.floor(ms / units.d)
  const hours = Math.floor((ms % units.d) / units.h)
  const minutes = Math.floor((ms % units.h) / units.m)
  const seconds = rounded((ms % units.m) / units.s)
  const parts = [`${days}d`, `${hours}h`, `${minutes}m`, `${seconds}s`]
  return parts.filter((part) => !/^0[dhms]$/.test(part)).join(' ')
}

function rounded(value: number): number {
  return Number(value.toFixed(3))
}
