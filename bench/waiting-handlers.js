import { freshGroup, mustBe, openTopic } from './lib/engine.js'
import { row } from './lib/rows.js'
import { mean, median, seededRandom } from './lib/statistics.js'

export const name = 'waiting-handlers'
export const measure = 'handlers that wait 0 to 5 ms, 10,000 messages, one partition, concurrency 100, makespan'
export const target = 'ratio <= 1.05 to the optimum max(work / concurrency, longest key chain)'

const MESSAGES = 10_000
const CONCURRENCY = 100
const LONGEST_MS = 5

/** Published for Confluent's Parallel Consumer, the same work against a Kafka broker, in seconds. */
const CASES = [
  { ordering: 'partition', keys: 1, published: 22.2 },
  { ordering: 'key', keys: 1, published: 26.7 },
  { ordering: 'key', keys: 2, published: 13.6 },
  { ordering: 'key', keys: 5, published: 5.9 },
  { ordering: 'key', keys: 10, published: 3.3 },
  { ordering: 'key', keys: 20, published: 2.24 },
  { ordering: 'key', keys: 50, published: 2.2 },
  { ordering: 'key', keys: 100, published: 2.18 },
  { ordering: 'key', keys: 1_000, published: 2.06 },
  { ordering: 'key', keys: 10_000, published: 2.13 },
  { ordering: 'unordered', keys: 10_000, published: 2.83 },
]

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const random = seededRandom(4)
  const waits = Array.from({ length: MESSAGES }, () => Math.floor(random() * (LONGEST_MS + 1)))
  const rows = []
  const ofActualWaits = []
  for (const one of CASES) {
    // What takes long shows little noise and is measured once; what takes a quarter of a second, several times.
    const rounds = one.keys < 5 ? 1 : context.rounds(one.keys < 20 ? 2 : 5)
    const few = context.quick && one.keys < 10
    const measured = await measureCase(context, one, few ? waits.slice(0, MESSAGES / 10) : waits, rounds)
    rows.push(measured.row)
    ofActualWaits.push(measured.ofActualWaits)
  }
  rows.push(
    row({
      measure: 'waiting handlers, against the optimum of the waits as they were inside the handlers',
      unit: 'x',
      result: ofActualWaits,
      note: 'median and range over the cases above: what the schedule loses, apart from timers that fired late',
    }),
  )
  rows[0].note =
    'handlers wait 0 to 5 ms at random, 10,000 messages, one partition, concurrency 100, from subscribing until all is ' +
    'acknowledged; in brackets what Confluent published for its Parallel Consumer at the same work against a broker'
  return rows
}

async function measureCase(context, { ordering, keys, published }, waits, rounds) {
  const { mq, topic } = await openTopic(context, { partitions: 1, codec: 'bytes' })
  const value = Buffer.alloc(100)
  await topic.sendBatch(waits.map((_, index) => ({ key: `key-${index % keys}`, value })))

  const lanes = ordering === 'unordered' ? waits.length : ordering === 'partition' ? 1 : keys
  const optimum = []
  const makespan = []
  const ofActualWaits = []
  // A short first round warms up both sides.
  await control(waits.slice(0, 500), lanes)
  if (rounds > 1) await consume(topic, waits, ordering)
  for (let round = 0; round < rounds; round++) {
    const before = await control(sample(waits, lanes), lanes)
    const consumed = await consume(topic, waits, ordering)
    makespan.push(consumed.seconds)
    ofActualWaits.push(consumed.seconds / shortest(consumed.waits, lanes))
    const after = await control(sample(waits, lanes), lanes)
    const actual = waits.map((wait) => (before[wait] + after[wait]) / 2)
    optimum.push(shortest(actual, lanes))
  }
  await mq.close()

  const label = ordering === 'key' ? `key, keys: ${keys.toLocaleString('en')}` : ordering
  return {
    ofActualWaits: median(ofActualWaits),
    row: row({
      measure: `waiting handlers, ${label} (Parallel Consumer: ${published} s)`,
      unit: 's',
      result: makespan,
      limit: { name: 'computed optimum', samples: optimum },
      target: { of: 'ratio', atMost: 1.05 },
    }),
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Seconds from subscribing until the last message is acknowledged, and how long each handler really waited, in ms. */
async function consume(topic, waits, ordering) {
  let handled = 0
  const actual = new Float64Array(waits.length)
  const start = performance.now()
  const subscription = await topic.subscribe(
    freshGroup(),
    async (message) => {
      const begun = performance.now()
      await sleep(waits[message.offset])
      actual[message.offset] = performance.now() - begun
      handled++
    },
    { from: 'earliest', ordering, concurrency: CONCURRENCY },
  )
  await subscription.idle()
  const seconds = (performance.now() - start) / 1000
  await subscription.close()
  mustBe(handled, waits.length, 'messages handled')
  return { seconds, waits: actual }
}

/** Enough waits to know the timers; the slow cases need not be waited for twice. */
function sample(waits, lanes) {
  return waits.slice(0, Math.min(waits.length, lanes * 400))
}

/**
 * Timers without any queue: as many loops as can run at once, each waiting for the next duration. Says how long a timer
 * of each duration really takes under this load.
 */
async function control(waits, lanes) {
  const sums = new Float64Array(LONGEST_MS + 1)
  const counts = new Float64Array(LONGEST_MS + 1)
  let next = 0
  const loop = async () => {
    while (next < waits.length) {
      const wait = waits[next++]
      const start = performance.now()
      await sleep(wait)
      sums[wait] += performance.now() - start
      counts[wait]++
    }
  }
  await Promise.all(Array.from({ length: Math.min(lanes, CONCURRENCY) }, loop))
  return sums.map((sum, wait) => (counts[wait] ? sum / counts[wait] : wait))
}

/** No schedule can end sooner: all slots busy all the time, or the longest chain without a pause. */
function shortest(actual, lanes) {
  const chains = new Float64Array(lanes)
  actual.forEach((wait, index) => (chains[index % lanes] += wait))
  return Math.max((mean(actual) * actual.length) / CONCURRENCY, Math.max(...chains)) / 1000
}
