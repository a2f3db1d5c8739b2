import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { open, partitionOf } from 'lanemq'
import { isSameAccount } from './accounts.js'
import { ACCOUNTS, archiveLine, archivePaths, journalPath } from './groups.js'
import { Handlings } from './handlings.js'
import { DONE, readJournal, STARTED } from './journal.js'
import { countFinished, sum } from './supervisor.js'

/**
 * What one group did, and what it should have done.
 *
 * @typedef {object} GroupResult
 * @property {number} handled Messages, each counted once.
 * @property {number} lost
 * @property {number} outOfOrder
 * @property {number} runningAtKills Handed out and not stored as finished when the process was killed.
 * @property {number} repeated Handed out again after a kill.
 * @property {number} repeatedEffects What was done once more for a message: in the store never, outside of it it happens.
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
export async function check(truth, lives, directory) {
  const stored = await readStored(join(directory, 'queue'))
  const topic = checkTopic(truth, lives)
  const checks = Object.entries({ accounts: checkAccounts, alerts: checkAlerts, archive: checkArchive })
  const groups = {}
  for (const [name, checkGroup] of checks) {
    const restored = lives.map((life) => life.restored[name])
    const reported = lives.map((life) => life.positions[name])
    const handlings = new Handlings(truth, restored, reported)
    const result = checkGroup(truth, lives, join(directory, name), handlings, stored)
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

/** What the accounts' store holds in the end, beside the group's progress; read by another process than the one that wrote. */
async function readStored(path) {
  const mq = await open({ path })
  const stored = { accounts: (await mq.store(ACCOUNTS)).range(), positions: mq.group('accounts').positions() }
  await mq.close()
  return stored
}

function judge(handlings, { wrong, repeatedEffects = handlings.doneAgain, isExact = true, ...results }) {
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
    repeatedEffects,
    unearned,
    unneeded,
    forgotten,
    wrong,
    ok:
      isRepeatRight &&
      isExact &&
      [lost, outOfOrder, unearned, unneeded, forgotten, wrong].every((count) => count === 0),
  }
}

/**
 * (a) Whenever the store was opened, every account must be the one of its airport's first flights, of as many as the group
 * had finished. In the end that is all of them, and the account is the one computed from the file.
 */
function checkAccounts(truth, lives, folder, handlings, stored) {
  for (const life of lives) {
    handlings.beginLife()
    for (const { partition, offset } of readJournal(journalPath(folder, life.run))) handlings.done(partition, offset)
  }
  const { accounts } = stored
  let wrong = Math.max(0, truth.accounts.size - accounts.length) + countWrong(accounts, truth.accounts)
  const differences = [difference(stored)]
  for (const { accounts, restored } of lives.slice(1)) {
    wrong += countWrong(accounts, truth.accountsAfter(new Map(accounts.map(({ key, value }) => [key, value.flights]))))
    differences.push(difference({ accounts, positions: restored.accounts }))
  }
  const repeatedEffects = Math.max(...differences.map(({ more }) => more))
  const lostEffects = Math.max(...differences.map(({ less }) => less))
  const delay = sum(accounts.map(({ value }) => value.delay))
  const longestGap = Math.max(...accounts.map(({ value }) => value.longestGap))
  const isExact = repeatedEffects === 0 && lostEffects === 0
  return { airports: accounts.length, delay, longestGap, repeatedEffects, lostEffects, isExact, wrong }
}

function countWrong(accounts, expected) {
  return accounts.filter(({ key, value }) => !expected.has(key) || !isSameAccount(value, expected.get(key))).length
}

/** Flights that the accounts of a partition hold more, or less, than the group had finished there at the same moment. */
function difference({ accounts, positions }) {
  const counted = positions.map(() => 0)
  for (const { key, value } of accounts) counted[partitionOf(key, positions.length)] += value.flights
  const more = positions.map((position, partition) => counted[partition] - countFinished([position]))
  return { more: sum(more.filter((count) => count > 0)), less: -sum(more.filter((count) => count < 0)) }
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
