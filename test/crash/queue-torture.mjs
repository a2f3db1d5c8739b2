// One life of a queue that will be killed: checks what the last one left, then sends, handles, trims and makes topics
// until it dies. What it does stands in an append-only journal, which outlives it; see queue-history.ts for the lines.
import { open } from '../../dist/index.js'
import { beginLife, live } from './torture-life.mjs'

const [directory, journalPath, round, firstNumber, seed, suicide] = process.argv.slice(2)
const groups = ['sync', 'async', 'batch']
const often = { send: 200, ack: 50, handle: 200 }
const every = (moment) => often[moment] ?? 1
const { note, random, reached, found } = beginLife({ journalPath, seed, suicide, every })

await live(async () => {
  note('R', round)
  reached('start')
  const mq = await open({
    path: directory,
    minFreeBytes: 0,
    retentionCheckMs: 10,
    tailBytes: 65_536,
  })
  reached('open')
  const topics = mq.topics()
  const report = topics.includes('main') ? await mq.verify() : { ok: true, damages: [] }
  const state = { round: Number(round), topics: {}, groups: {}, names: topics, damages: report.damages }
  const main = await mq.topic('main', { partitions: 4, retention: { consumedBy: groups } })
  const trimmed = await mq.topic('trimmed', { partitions: 2 })
  for (const topic of [main, trimmed]) state.topics[topic.name] = await dump(topic)
  for (const group of mq.groups()) state.groups[group] = mq.group(group).positions()
  found('state', state)
  reached('dumped')
  const handled = await consume(mq, main)
  if (suicide === 'finish') return finish(mq, Object.values(handled.subscriptions))
  let number = Number(firstNumber)
  const numbers = { next: () => number++, handled }
  await Promise.all([
    ...[1, 2, 3].map(() => sendSingly(main, numbers)),
    sendBatches(main, numbers),
    sendAndTrim(trimmed, numbers),
    makeAndDelete(mq),
    sample(mq, handled.subscriptions),
  ])
})

async function dump(topic) {
  const messages = []
  for await (const { partition, offset, id, value } of topic.read()) messages.push([partition, offset, id, value.n])
  return { offsets: topic.offsets(), messages }
}

/** The last life: everything that is there gets done. */
async function finish(mq, subscriptions) {
  await Promise.all(subscriptions.map((subscription) => subscription.drain({ timeoutMs: 60_000 })))
  for (const group of groups) note('Z', group, mq.group(group).lag().count)
  await mq.close()
  reached('finished')
}

/** Three groups; counts what each has finished, and wakes the senders that wait for them. */
async function consume(mq, main) {
  const handled = { done: { sync: 0, async: 0, batch: 0 }, sent: 0, wake: [], subscriptions: {} }
  let calls = 0
  const begin = (group, { id, key, value, offset, partition, attempt }, call) =>
    note('H', group, id, value.n, key, partition, offset, attempt, call)
  const end = (group, { id }) => {
    note('D', group, id)
    handled.done[group]++
    reached('handle')
  }
  const wake = () => {
    const waiting = handled.wake
    handled.wake = []
    for (const resolve of waiting) resolve()
  }
  const fails = ({ value, attempt }) => value.n % 97 === 0 && attempt === 1
  const failed = (group, { id }) => {
    note('E', group, id)
    return new Error('once')
  }
  const options = { from: 'earliest', backoff: { delayMs: 1 }, concurrency: 16 }
  const { subscriptions } = handled
  subscriptions.sync = await main.subscribe(
    'sync',
    (message) => {
      begin('sync', message, ++calls)
      if (fails(message)) throw failed('sync', message)
      end('sync', message)
      wake()
    },
    options,
  )
  subscriptions.async = await main.subscribe(
    'async',
    async (message) => {
      begin('async', message, ++calls)
      for (let turns = random(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
      if (fails(message)) throw failed('async', message)
      end('async', message)
      wake()
    },
    options,
  )
  subscriptions.batch = await main.subscribe(
    'batch',
    async (messages) => {
      const call = ++calls
      for (const message of messages) begin('batch', message, call)
      await new Promise((resolve) => setImmediate(resolve))
      const stuck = new Set()
      const outcomes = messages.map((message) => {
        // What follows a failed one of its key is taken back, whatever is said of it here.
        if (stuck.has(message.key)) return note('B', 'batch', message.id)
        if (!fails(message)) return end('batch', message)
        stuck.add(message.key)
        return failed('batch', message)
      })
      wake()
      return outcomes
    },
    { ...options, batch: { max: 20 } },
  )
  return handled
}

function message(n) {
  return { key: `k${n % 23}`, value: { n, pad: '.'.repeat(n % 300) } }
}

/** Keeps the backlog short, so that retention has something to remove. */
async function room(handled) {
  while (handled.sent - Math.min(...Object.values(handled.done)) > 1_500) {
    await new Promise((resolve) => handled.wake.push(resolve))
  }
}

async function sendSingly(topic, { next, handled }) {
  for (;;) {
    await room(handled)
    const acks = random(3) === 0 ? 'buffered' : 'flushed'
    const n = next()
    handled.sent++
    const sent = topic.send(message(n), { acks })
    reached('send')
    const { partition, offset } = await sent
    note('A', topic.name, n, partition, offset, acks)
    reached('ack')
  }
}

async function sendBatches(topic, { next, handled }) {
  for (;;) {
    await room(handled)
    const numbers = Array.from({ length: 1 + random(60) }, next)
    handled.sent += numbers.length
    note('M', topic.name, numbers.join(','))
    const acks = random(3) === 0 ? 'buffered' : 'flushed'
    const results = await topic.sendBatch(numbers.map(message), { acks })
    results.forEach(({ partition, offset }, i) => note('A', topic.name, numbers[i], partition, offset, acks))
    reached('batch')
  }
}

async function sendAndTrim(topic, { next }) {
  for (;;) {
    for (let i = 0; i < 20; i++) {
      const n = next()
      const { partition, offset } = await topic.send(message(n))
      note('A', topic.name, n, partition, offset, 'flushed')
    }
    const partition = random(2)
    const { start, end } = topic.offsets()[partition]
    const before = start + random(end - start + 1)
    note('T', topic.name, partition, before)
    await topic.trim(partition, before)
    note('t', topic.name, partition, before)
    reached('trim')
  }
}

async function makeAndDelete(mq) {
  for (let i = 0; ; i++) {
    const name = `made-${round}-${i}`
    note('C', name)
    const topic = await mq.topic(name, { partitions: 3 })
    note('c', name)
    reached('make')
    for (let j = 0; j < 10; j++) await topic.send({ value: j })
    if (i % 4 === 3) continue
    note('X', name)
    await mq.deleteTopic(name)
    note('x', name)
    reached('delete')
  }
}

/** Notes how many of the messages that a group finished are durable: they are settled in the order they were finished. */
async function sample(mq, subscriptions) {
  const noted = {}
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    for (const { group, handled, unsettled } of mq.stats().subscriptions) {
      const durable = handled - unsettled
      if (durable > (noted[group] ?? 0)) note('Q', group, (noted[group] = durable))
    }
    for (const { failure } of Object.values(subscriptions)) if (failure) throw failure
    reached('settle')
  }
}
