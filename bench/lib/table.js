import { quantity } from './rows.js'

const TITLES = ['measure', 'result', 'raw limit', 'ratio', 'must reach', 'reached?']

/** @param {readonly import('./rows.js').Row[]} rows @returns {string} a Markdown table, aligned for terminals too */
export function table(rows) {
  const cells = [TITLES, ...rows.map(cellsOf)]
  const widths = TITLES.map((_, column) => Math.max(...cells.map((line) => line[column].length)))
  const lines = cells.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`)
  lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`)
  return lines.join('\n')
}

/** The remarks of rows, each once. @param {readonly import('./rows.js').Row[]} rows */
export function remarks(rows) {
  return rows.filter((row) => row.note).map((row) => `- ${row.measure}: ${row.note}`)
}

/** @param {import('./rows.js').Row} row */
function cellsOf(row) {
  if (row.error) return [row.measure, `failed: ${row.error.split('\n')[0]}`, '', '', row.mustReach ?? '', 'no']
  return [
    row.measure,
    spread(row.result),
    row.limit ? `${spread(row.limit)} (${row.limit.name})` : '',
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    row.mustReach ?? '',
    row.reached === undefined ? '' : row.reached ? 'yes' : 'no',
  ]
}

/** Median and, where there was more than one round, the range. */
function spread({ unit, median, min, max }) {
  const middle = quantity(median, unit)
  return min === max ? middle : `${middle} [${quantity(min, unit)} .. ${quantity(max, unit)}]`
}
