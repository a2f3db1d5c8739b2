import { rename, writeFile } from 'node:fs/promises'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { addFlight, emptyAccount } from './accounts.js'
import { DONE, Journal, STARTED } from './journal.js'
import { LATE } from './records.js'

/** The groups' names; each keeps its files in a folder of its name. */
export const GROUPS = ['accounts', 'alerts', 'archive']

/** The store of the accounts, by airport. */
export const ACCOUNTS = 'accounts'

/**
 * (a) A running account of every airport, in a store beside the log. What the handler puts there commits with its
 * acknowledgement: after a kill it may be called again for a message, but the account that it gets then is the one without
 * that message. So it need not remember what it has seen already.
 *
 * @param {import('lanemq').Topic} topic
 * @param {string} folder
 * @param {number} run Which life of the worker this is, from 1.
 */
export function keepAccounts(topic, folder, run) {
  const journal = new Journal(journalPath(folder, run))

  // A synchronous handler: no promise, no waiting.
  const handle = (message, context) => {
    const accounts = context.store(ACCOUNTS)
    const account = accounts.get(message.key) ?? emptyAccount()
    addFlight(account, message.value)
    accounts.put(message.key, account)
    journal.write(DONE, message)
  }
  return topic.subscribe('accounts', handle, { from: 'earliest', ordering: 'key' })
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
