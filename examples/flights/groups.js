import { rename, writeFile } from 'node:fs/promises'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { addFlight, emptyAccount, packCode, unpackCode } from './accounts.js'
import { DONE, Journal, readJournal, STARTED } from './journal.js'
import { LATE } from './records.js'

/** The groups' names; each keeps its files in a folder of its name. */
export const GROUPS = ['accounts', 'alerts', 'archive']

/**
 * (a) A running account of every airport. The accounts live in memory; every new state of one goes into the journal, and a
 * later run of the worker goes on from there. Messages are handed out at least once, so a message that the account has
 * seen already changes nothing.
 *
 * @param {import('lanemq').Topic} topic
 * @param {string} folder
 * @param {number} run Which life of the worker this is, from 1.
 */
export function keepAccounts(topic, folder, run) {
  const accounts = restoreAccounts(folder)
  const journal = new Journal(journalPath(folder, run))

  // A synchronous handler: no promise, no waiting.
  const handle = (message) => {
    let account = accounts.get(message.key)
    if (account === undefined) accounts.set(message.key, (account = { ...emptyAccount(), seen: -1 }))
    if (message.offset > account.seen) {
      account.seen = message.offset
      addFlight(account, message.value)
    }
    const { flights, delay, departure, longestGap } = account
    journal.write(DONE, message, packCode(message.key), flights, delay, departure, longestGap)
  }
  return topic.subscribe('accounts', handle, { from: 'earliest', ordering: 'key' })
}

function restoreAccounts(folder) {
  const accounts = new Map()
  for (const path of journalPaths(folder)) {
    for (const { offset, values } of readJournal(path)) {
      const [code, flights, delay, departure, longestGap] = values
      const seen = Math.max(offset, accounts.get(unpackCode(code))?.seen ?? -1)
      accounts.set(unpackCode(code), { flights, delay, departure, longestGap, seen })
    }
  }
  return accounts
}

/**
 * (b) An alert for every flight delayed over an hour. Sending one takes a few milliseconds, as a call to some service
 * would; up to 256 are on their way at once, but never two of the same airport.
 *
 * @param {import('lanemq').Topic} topic
 * @param {string} folder
 * @param {number} run
 */
export function sendAlerts(topic, folder, run) {
  const journal = new Journal(journalPath(folder, run))

  const alert = async (message) => {
    journal.write(STARTED, message)
    await sleep(1 + (message.offset % 4))
    journal.write(DONE, message, message.value.delay)
  }
  // Only the flights that need an alert need a promise.
  const handle = (message) => (message.value.delay > LATE ? alert(message) : journal.write(DONE, message))
  return topic.subscribe('alerts', handle, { from: 'earliest', ordering: 'key', concurrency: 256 })
}

/**
 * (c) An archive of text files, one for each batch. A file appears under its name when it is complete, so a batch is done
 * as a whole or not at all.
 *
 * @param {import('lanemq').Topic} topic
 * @param {string} folder
 * @param {number} run
 */
export function writeArchive(topic, folder, run) {
  let files = 0
  const handle = async (messages) => {
    const name = `${run}-${String(++files).padStart(6, '0')}`
    const lines = messages.map((message) => archiveLine(message.partition, message.offset, message.value))
    await writeFile(join(folder, `${name}.part`), lines.join(''))
    await rename(join(folder, `${name}.part`), join(folder, `${name}.csv`))
  }
  return topic.subscribe('archive', handle, { from: 'earliest', concurrency: 1, batch: { max: 1_000, maxWaitMs: 20 } })
}

/** @param {import('./records.js').Flight} flight */
export function archiveLine(partition, offset, { date, delay, distance, origin, destination }) {
  return `${partition},${offset},${origin},${destination},${date},${delay},${distance}\n`
}

/** The complete archive files in the order in which their batches were handed out, by the run that wrote them. */
export function archivePaths(folder, run) {
  const names = readdirSync(folder).filter((name) => name.startsWith(`${run}-`) && name.endsWith('.csv'))
  return names.toSorted().map((name) => join(folder, name))
}

export function journalPath(folder, run) {
  return join(folder, `${run}.journal`)
}

function journalPaths(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.journal'))
  return names.toSorted().map((name) => join(folder, name))
}
