import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isSameAccount, unpackCode } from './accounts.js'
import { archiveLine, archivePaths, journalPath } from './groups.js'
import { Handlings } from './handlings.js'
import { DONE, readJournal, STARTED } from './journal.js'
import { sum } from './supervisor.js'

/**
 * What one group did, and what it should have done.
 *
 * @typedef {object} GroupResult
 * @property {number} handled Messages, each counted once.
 * @property {number} lost
 * @property {number} outOfOrder
 * @property {number} runningAtKills Handed out and not stored as finished when the process was killed.
 * @property {number} repeated Handed out again after a kill.
 * @property {number} wrong Results that are not those of the file.
 * @property {boolean} ok
 */

/**
 * Compares everything that the lives of the worker left behind with the truth.
 *
 * @param {import('./truth.js').Truth} truth
 * @param {import('./supervisor.js').Life[]} lives
 * @param {string} directory
 */
export function check(truth, lives, directory) {
  const topic = checkTopic(truth, lives)
  const checks = Object.entries({ accounts: checkAccounts, alerts: checkAlerts, archive: checkArchive })
  const groups = {}
  for (const [name, checkGroup] of checks) {
    const restored = lives.map((life) => life.restored[name])
    const reported = lives.map((life) => life.positions[name])
    const handlings = new Handlings(truth, restored, reported)
    const result = checkGroup(truth, lives, join(directory, name), handlings)
    groups[name] = judge(handlings, result)
  }
  return { topic, groups, ok: topic.ok && Object.values(groups).every((group) => group.ok) }
}

/**
 * The sender: what was acknowledged before a kill is there after it, no batch is there in part, and at the end each flight
 * is there once.
 */
function checkTopic(truth, lives) {
  let lost = 0
  let wrong = countDifferences(truth.sizes, lives.at(-1).acked)
  for (let life = 1; life < lives.length; life++) {
    const { present } = lives[life]
    const { acked } = lives[life - 1]
    lost += sum(acked.map((count, partition) => Math.max(0, count - present[partition])))
    wrong += countDifferences(truth.sizesOfFirst(sum(present)), present)
  }
  return { messages: sum(lives.at(-1).acked), lost, wrong, ok: lost === 0 && wrong === 0 }
}

function countDifferences(expected, counts) {
  return sum(expected.map((count, partition) => Math.abs(count - counts[partition])))
}

function judge(handlings, { wrong, ...results }) {
  const { handled, lost, outOfOrder, running, repeated, unearned, unneeded, forgotten } = handlings
  // What ran at the last kill must have been handed out again, all of it; what ran at an earlier one may have had to wait.
  const isRepeatRight = repeated.every((count, kill) => count <= running[kill]) && repeated.at(-1) === running.at(-1)
  return {
    handled,
    ...results,
    lost,
    outOfOrder,
    runningAtKills: sum(running),
    repeated: sum(repeated),
    unearned,
    unneeded,
    forgotten,
    wrong,
    ok: isRepeatRight && [lost, outOfOrder, unearned, unneeded, forgotten, wrong].every((count) => count === 0),
  }
}

/** (a) The last state of every account must be the one computed from the file. */
function checkAccounts(truth, lives, folder, handlings) {
  const accounts = new Map()
  for (const life of lives) {
    handlings.beginLife()
    for (const { partition, offset, values } of readJournal(journalPath(folder, life.run))) {
      handlings.done(partition, offset)
      const [code, flights, delay, departure, longestGap] = values
      accounts.set(code, { flights, delay, departure, longestGap })
    }
  }
  let wrong = Math.max(0, truth.accounts.size - accounts.size)
  for (const [code, account] of accounts) {
    const expected = truth.accounts.get(unpackCode(code))
    if (expected === undefined || !isSameAccount(account, expected)) wrong++
  }
  const all = [...accounts.values()]
  const longestGap = all.reduce((longest, account) => Math.max(longest, account.longestGap), 0)
  return { airports: accounts.size, delay: sum(all.map((account) => account.delay)), longestGap, wrong }
}

/** (b) The flights that an alert was sent for must be the late ones. */
function checkAlerts(truth, lives, folder, handlings) {
  let late = 0
  let wrong = 0
  for (const life of lives) {
    handlings.beginLife()
    for (const { event, partition, offset, values } of readJournal(journalPath(folder, life.run))) {
      if (event === STARTED) handlings.started(partition, offset)
      if (event !== DONE || !handlings.done(partition, offset)) continue
      const delay = values[0]
      if (delay > 0) late++
      if (delay !== (truth.isLateAt(partition, offset) ? truth.flightAt(partition, offset).delay : 0)) wrong++
    }
  }
  return { late, wrong }
}

/** (c) Every line of the archive must be its flight, letter by letter. */
function checkArchive(truth, lives, folder, handlings) {
  let files = 0
  let delay = 0
  let wrong = 0
  for (const life of lives) {
    handlings.beginLife()
    for (const path of archivePaths(folder, life.run)) {
      files++
      for (const line of readFileSync(path, 'latin1').split('\n').slice(0, -1)) {
        const fields = line.split(',')
        const partition = Number(fields[0])
        const offset = Number(fields[1])
        if (!handlings.done(partition, offset)) continue
        delay += Number(fields[5])
        if (`${line}\n` !== archiveLine(partition, offset, truth.flightAt(partition, offset))) wrong++
      }
    }
  }
  return { files, delay, wrong }
}
