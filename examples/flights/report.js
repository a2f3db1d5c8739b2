import { countFinished, sum } from './supervisor.js'

/** @typedef {ReturnType<typeof import('./check.js').check>} Checked */

const format = (value) => (typeof value === 'number' ? value.toLocaleString('en-US') : (value ?? ''))

/**
 * One line about how far the work is.
 *
 * @param {'progress' | 'killed' | 'restarted'} event
 * @param {import('./supervisor.js').Life} life
 */
export function renderProgress(event, { endedAt, acked, positions }) {
  const time = `${(endedAt / 1_000).toFixed(1).padStart(5)} s   `
  if (event === 'killed') return `${time}SIGKILL to the worker, in the middle of sending and handling`
  if (event === 'restarted') return `${time}the worker is back, with ${format(sum(acked))} flights in the topic`
  const groups = Object.entries(positions).map(([name, group]) => `${name} ${format(countFinished(group)).padStart(9)}`)
  return `${time}sent ${format(sum(acked)).padStart(9)}   ${groups.join('   ')}`
}

/**
 * The table at the end: beside what the file says, what each group says.
 *
 * @param {import('./truth.js').Truth} truth
 * @param {Checked} checked
 */
export function renderTable(truth, { topic, groups }) {
  const { accounts, alerts, archive } = groups
  const all = [accounts, alerts, archive]
  const rows = [
    ['', 'the file', 'the topic', 'accounts', 'alerts', 'archive'],
    ['flights', truth.flights, topic.messages, ...all.map((group) => group.handled)],
    ['airports', truth.accounts.size, '', accounts.airports],
    ['sum of delays, minutes', truth.delay, '', accounts.delay, '', archive.delay],
    ['longest gap, minutes', truth.longestGap, '', accounts.longestGap],
    ['over an hour late', truth.late, '', '', alerts.late],
    ['results that differ', '', topic.wrong, ...all.map((group) => group.wrong)],
    ['lost', '', topic.lost, ...all.map((group) => group.lost)],
    ['out of order', '', '', ...all.map((group) => group.outOfOrder)],
    ['running at the kills', '', '', ...all.map((group) => group.runningAtKills)],
    ['handled again after them', '', '', ...all.map((group) => group.repeated)],
    ['effects repeated by that', '', '', ...all.map((group) => group.repeatedEffects)],
    ['', '', ...[topic, ...all].map(({ ok }) => (ok ? 'agrees' : 'WRONG'))],
  ].map((row) => Array.from({ length: 6 }, (_, column) => format(row[column])))
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const pad = (cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))
  return rows.map((row) => row.map(pad).join('   ').trimEnd()).join('\n')
}

/** @param {Checked} checked */
export function renderSummary(run, checked) {
  const { seconds, sentPerSecond, handledPerSecond } = rates(run)
  return `${seconds.toFixed(1)} s from the first start to the last message, both kills included
${format(sentPerSecond)} flights sent and ${format(handledPerSecond)} messages handled a second
${checked.ok ? 'everything agrees' : 'NOT everything agrees'}`
}

/**
 * The same for a program.
 *
 * @param {import('./truth.js').Truth} truth
 * @param {Checked} checked
 */
export function toDocument(truth, run, { ok, topic, groups }) {
  const { flights, delay, late, longestGap, accounts } = truth
  const kills = run.lives.slice(0, -1).map((life, index) => ({
    seconds: life.endedAt / 1_000,
    acked: sum(life.acked),
    present: sum(run.lives[index + 1].present),
  }))
  const expected = { flights, airports: accounts.size, delay, longestGap, late }
  return { ok, records: run.records, ...rates(run), kills, truth: expected, topic, groups }
}

function rates({ records, lives }) {
  const seconds = lives.at(-1).endedAt / 1_000
  const groups = Object.keys(lives[0].restored).length
  return {
    seconds,
    sentPerSecond: Math.round(records / seconds),
    handledPerSecond: Math.round((records * groups) / seconds),
  }
}
