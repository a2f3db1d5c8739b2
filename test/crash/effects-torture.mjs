// One life of a queue whose handlers and transactions have effects in the store, until it is killed: it tells what it
// finds, then sends, handles and commits. What it does stands in an append-only journal, which outlives it; see
// effects-history.ts for the lines, and for what must hold.
import { openLmdbIdempotencyStore } from '../../dist/idempotency/index.js'
import { open } from '../../dist/index.js'
import { beginLife, live, say } from './torture-life.mjs'

const [directory, journalPath, round, seed, suicide, engine] = process.argv.slice(2)
const { note, random, reached, found } = beginLife({ journalPath, seed, suicide, every: () => 20 })
if (engine === 'broken') await breakEngine()

await live(async () => {
  note('R', round)
  const mq = await open({ path: directory, minFreeBytes: 0 })
  reached('open')
  const topics = {
    orders: await mq.topic('orders', { partitions: 4 }),
    payments: await mq.topic('payments', { partitions: 2 }),
    ledger: await mq.topic('ledger', { partitions: 4 }),
    audit: await mq.topic('audit', { partitions: 2 }),
  }
  await tell(mq, topics, 'found')
  reached('told')
  const subscriptions = await consume(topics, await openLmdbIdempotencyStore(mq))
  if (suicide === 'finish') {
    // The last one handles what the first one sends.
    for (const subscription of subscriptions) {
      const { left } = await subscription.drain({ timeoutMs: 300_000 })
      if (left > 0) throw new Error(`${left} messages of group ${subscription.group} were left`)
      // What it sent may be read from now on.
      await mq.flush()
    }
    await tell(mq, topics, 'left')
    await mq.close()
    return say('finished')
  }
  let number = Number(round) * 100_000
  const numbers = { next: () => number++ }
  await Promise.all([
    ...[1, 2, 3].map(() => sendSingly(topics.orders, numbers)),
    ...[1, 2, 3, 4].map(() => transact(mq, topics, numbers)),
    watch(subscriptions),
  ])
})

/** Writes down everything that is in the store. */
async function tell(mq, topics, suffix) {
  const state = { round: Number(round), topics: {}, stores: {}, groups: {} }
  const letters = ['book', 'bill'].map((group) => `orders.${group}.dlq`).filter((name) => mq.topics().includes(name))
  for (const name of [...Object.keys(topics), ...letters]) {
    const topic = topics[name] ?? (await mq.topic(name))
    state.topics[name] = []
    for await (const { partition, offset, key, value, deadLetterFacts: letter } of topic.read()) {
      state.topics[name].push({ partition, offset, key, value, ...(letter && { letter }) })
    }
  }
  for (const name of ['book', 'bill', 'post', 'accounts', 'outbox']) {
    state.stores[name] = (await mq.store(name)).range({ limit: 100_000 })
  }
  for (const name of mq.groups()) state.groups[name] = mq.group(name).positions()
  found(suffix, state)
}

/** Counts that a message was handled: once, however often it is handed out. */
function mark(context, group, { partition, offset, key, value }) {
  const store = context.store(group)
  const place = `${partition}/${String(offset).padStart(9, '0')}`
  store.put(place, { n: value.n, key, times: (store.get(place)?.times ?? 0) + 1 })
}

/** Three groups: one synchronous, one that waits and has marks, and one of arrays that handles what the first one sends. */
async function consume({ orders, ledger, audit }, store) {
  const begin = (group, { partition, offset, key, value, attempt }, call) => {
    note('H', group, partition, offset, key, value.n, attempt, call)
    reached('begin')
    if (value.isDoomed || (value.n % 13 === 5 && attempt === 1)) {
      note('E', group, partition, offset)
      reached('fail')
      throw new Error('not this time')
    }
  }
  const end = (group, { partition, offset }) => {
    note('D', group, partition, offset)
    reached('end')
  }
  let calls = 0
  const held = new Set()
  const options = { from: 'earliest', backoff: { type: 'fixed', delayMs: 2 }, attempts: 5 }
  const book = await orders.subscribe(
    'book',
    (message, context) => {
      begin('book', message, ++calls)
      mark(context, 'book', message)
      const { partition, offset, key, value } = message
      const accounts = context.store('accounts')
      const { count, last, inOrder } = accounts.get(key) ?? { count: 0, last: -1, inOrder: true }
      accounts.put(key, { count: count + 1, last: offset, inOrder: inOrder && last < offset })
      context.send(ledger, { key, value: { n: value.n, partition, offset } })
      end('book', message)
    },
    options,
  )
  const bill = await orders.subscribe(
    'bill',
    async (message, context) => {
      begin('bill', message, ++calls)
      mark(context, 'bill', message)
      for (let turns = random(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
      const { partition, offset, key, value } = message
      context.send(audit, { key, value: { n: value.n, partition, offset } })
      end('bill', message)
    },
    { ...options, concurrency: 16, idempotency: { store } },
  )
  const post = await ledger.subscribe(
    'post',
    async (messages, context) => {
      const call = ++calls
      for (const message of messages)
        note('H', 'post', message.partition, message.offset, message.key, message.value.n, message.attempt, call)
      for (const message of messages) mark(context, 'post', message)
      await new Promise((resolve) => setImmediate(resolve))
      // Each once in a life. Not by the attempt: that of a message behind another one of its key does not rise.
      const isHeld = messages.some(({ value }) => value.n % 41 === 3 && !held.has(value.n))
      for (const { value } of messages) held.add(value.n)
      for (const { partition, offset } of messages) note(isHeld ? 'E' : 'D', 'post', partition, offset)
      reached('array')
      if (isHeld) throw new Error('not this time')
    },
    { ...options, attempts: 1_000, batch: { max: 10 } },
  )
  return [book, bill, post]
}

/** Some fail as often as they are tried. */
function message(n) {
  return { key: `k${n % 17}`, value: { n, isDoomed: n % 89 === 7 } }
}

async function sendSingly(orders, { next }) {
  for (;;) {
    const n = next()
    note('S', n)
    const { partition, offset } = await orders.send(message(n))
    note('A', n, partition, offset)
    reached('sent')
  }
}

/** Puts an order, its payment and a row beside them into one commit; what they count together makes them meet. */
async function transact(mq, { orders, payments }, { next }) {
  for (;;) {
    const n = next()
    note('S', n)
    const { sends } = await mq.transaction(
      async (transaction) => {
        const outbox = transaction.store('outbox')
        const total = outbox.get('total') ?? 0
        transaction.send(orders, message(n))
        if (random(3) === 0) await new Promise((resolve) => setImmediate(resolve))
        transaction.send(payments, message(n))
        outbox.put(String(n), 1)
        outbox.put('total', total + 1)
        reached('collected')
      },
      { attempts: 1_000 },
    )
    note('T', n, sends[0].partition, sends[0].offset)
    reached('committed')
  }
}

async function watch(subscriptions) {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    for (const { failure } of subscriptions) if (failure) throw failure
    reached('turn')
  }
}

/** Rows of state go to disk one commit later than what belongs with them. */
async function breakEngine() {
  const { StateTable } = await import('../../dist/state/state-table.js')
  const { contribute } = StateTable.prototype
  let late = []
  StateTable.prototype.contribute = function (writes) {
    for (const [method, ...row] of late) writes[method](...row)
    late = []
    const collect =
      (method) =>
      (...row) =>
        void late.push([method, ...row])
    contribute.call(this, { put: collect('put'), remove: collect('remove') })
  }
}
