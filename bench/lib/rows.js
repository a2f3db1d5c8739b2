import { median, medianRatio } from './statistics.js'

/**
 * One line of the table.
 *
 * @typedef {object} Row
 * @property {string} measure
 * @property {Spread} [result]
 * @property {Spread & { name: string }} [limit]
 * @property {number} [ratio] result / limit, median over the rounds
 * @property {string} [mustReach]
 * @property {boolean} [reached]
 * @property {string} [note]
 * @property {string} [error]
 *
 * @typedef {{ unit: string, median: number, min: number, max: number }} Spread
 *
 * @typedef {{ of: 'ratio' | 'result', atLeast?: number, atMost?: number }} Target
 */

/**
 * @param {object} facts
 * @param {string} facts.measure
 * @param {string} facts.unit of result and limit; `/s` for messages per second
 * @param {readonly number[]} facts.result a sample for each round
 * @param {{ name: string, samples: readonly number[] }} [facts.limit] what bounds the result, from the same rounds
 * @param {Target} [facts.target] left out for lines that only inform
 * @param {string} [facts.note]
 * @returns {Row}
 */
export function row({ measure, unit, result, limit, target, note }) {
  const spread = spreadOf(result, unit)
  const ratio = limit && medianRatio(result, limit.samples)
  const judged = target?.of === 'ratio' ? ratio : spread.median
  return {
    measure,
    result: spread,
    ...(limit && { limit: { name: limit.name, ...spreadOf(limit.samples, unit) }, ratio }),
    ...(target && { mustReach: targetText(target, unit), reached: meets(judged, target) }),
    ...(note && { note }),
  }
}

function spreadOf(samples, unit) {
  return { unit, median: median(samples), min: Math.min(...samples), max: Math.max(...samples) }
}

/** @param {number} value @param {Target} target */
function meets(value, { atLeast = -Infinity, atMost = Infinity }) {
  return value >= atLeast && value <= atMost
}

/** @param {Target} target */
function targetText({ of, atLeast, atMost }, unit) {
  const sign = atLeast === undefined ? '<=' : '>='
  const bound = atLeast ?? atMost
  return of === 'ratio' ? `ratio ${sign} ${bound}` : `${sign} ${quantity(bound, unit)}`
}

/** A number with its unit, three digits and no more. @param {number} value @param {string} unit */
export function quantity(value, unit) {
  if (!Number.isFinite(value)) return '-'
  if (unit.endsWith('/s') && value >= 1e6) return `${digits(value / 1e6)} M${unit}`
  if (unit.endsWith('/s') && value >= 1e3) return `${digits(value / 1e3)} k${unit}`
  return `${digits(value)} ${unit}`.trim()
}

function digits(value) {
  const size = Math.abs(value)
  return value.toFixed(size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2)
}
