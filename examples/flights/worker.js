/**
 * The working process: sends the flights and runs the three groups. main.js starts it, kills it in the middle of the work,
 * and starts it again with the same arguments; it finds out by itself where to go on.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lanemq'
import { ACCOUNTS, GROUPS, keepAccounts, sendAlerts, writeArchive } from './groups.js'
import { readFlights } from './records.js'

const { directory, run, records, partitions, batchSize } = JSON.parse(process.argv[2])

// Without its parent it would work for nobody.
const giveUp = () => process.exit(1)
process.on('disconnect', giveUp)

const mq = await open({ path: join(directory, 'queue') })
const topic = await mq.topic('flights', { partitions })
const accounts = await mq.store(ACCOUNTS)
/** How many flights of each partition are in the topic for certain. */
const acked = topic.offsets().map(({ end }) => end)
/** The positions of a group that does not exist yet. */
const nothing = Array.from({ length: partitions }, () => ({ position: 0, finishedAbove: 0 }))
// What survived the last kill, before anything else happens.
process.send({ type: 'opened', acked, positions: groupPositions(), accounts: accounts.range() })

const folders = GROUPS.map((group) => join(directory, group))
for (const folder of folders) mkdirSync(folder, { recursive: true })
const subscriptions = await Promise.all([
  keepAccounts(topic, folders[0], run),
  sendAlerts(topic, folders[1], run),
  writeArchive(topic, folders[2], run),
])

const permission = sendingPermission()
const reports = setInterval(() => void report(), 50)
await sendFlights()
for (const subscription of subscriptions) await subscription.idle()
clearInterval(reports)
await report()
await mq.close()
process.off('disconnect', giveUp)
process.disconnect()

/**
 * Sends the flights in the order of the file. After a kill it goes on where the topic ends: batches get there in their
 * order, and each of them as a whole or not at all, so what is there are the first flights of the file. Nothing is lost,
 * nothing is sent twice.
 */
async function sendFlights() {
  let sent = sum(acked)
  let messages = []
  // One batch is being written while the next one is made.
  let previous = Promise.resolve()

  const sendBatch = async () => {
    const batch = messages
    messages = []
    await permission(sent)
    await previous
    sent += batch.length
    previous = topic.sendBatch(batch).then(acknowledge)
  }

  for await (const flights of readFlights(sent, records)) {
    for (const flight of flights) {
      messages.push({ key: flight.origin, value: flight })
      if (messages.length === batchSize) await sendBatch()
    }
  }
  if (messages.length > 0) await sendBatch()
  await previous
}

/** @param {import('lanemq').SendResult[]} results */
function acknowledge(results) {
  for (const { partition, offset } of results) acked[partition] = offset + 1
  return process.send({ type: 'acknowledged', acked })
}

/**
 * The parent says how far the sender may go: it keeps the sender from running far ahead of the groups, and makes sure that
 * all of them are at work when the kill comes. Waits until so many messages may have been sent before the next ones.
 */
function sendingPermission() {
  let limit = 0
  let wake = () => {}
  process.on('message', ({ sendUpTo }) => {
    limit = sendUpTo
    wake()
  })
  const changed = () => new Promise((resolve) => (wake = resolve))
  return async (sent) => {
    for (;;) {
      if (sent < limit) return
      await changed()
    }
  }
}

/** Tells what the groups have finished, once it is on disk: from then on no kill may make them forget it. */
async function report() {
  const positions = groupPositions()
  await mq.flush()
  process.send({ type: 'finished', positions })
}

/** Per group and partition: what is finished. */
function groupPositions() {
  const known = mq.groups()
  return Object.fromEntries(GROUPS.map((name) => [name, known.includes(name) ? mq.group(name).positions() : nothing]))
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0)
}
