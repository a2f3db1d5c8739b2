import { openLmdbIdempotencyStore } from 'lanemq/idempotency'
import { catchUp, fill, mustBe, openTopic } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { batchesOf, byteValues, randomKeys } from './lib/payload.js'
import { pump } from './lib/pump.js'
import { row } from './lib/rows.js'

export const name = 'delivery'
export const measure = 'catch-up with effects'
export const target = 'lmdb idempotency >= 0.4 of plain; transactions of 100 operations >= 100 k operations/s'

const BATCH = 1_000
/** Of so many messages one fails, once. */
const FAILING = 100
/** Operations of a large transaction: as many sends as writes of state. */
const OPERATIONS = 100

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  return [...(await handling(context)), ...(await sending(context))]
}

/** What handlers may ask for beside being called, against the same handler that asks for nothing. */
async function handling(context) {
  const count = context.quick ? 50_000 : 200_000
  const { mq, topic } = await openTopic(context, { partitions: 8, codec: 'bytes' })
  const outputs = await mq.topic('outputs', { partitions: 8, codec: 'bytes' })
  const state = await mq.store('state', { codec: 'bytes' })
  const values = byteValues(Math.min(count, 100_000))
  await fill(topic, batchesOf(values, BATCH, randomKeys(values.length, 10_000)), count / BATCH)

  const failsOnce = ({ offset, attempt }) => {
    if (attempt === 1 && offset % FAILING === 0) throw new Error('once')
  }
  const idempotency = { store: openLmdbIdempotencyStore(mq), ttlMs: 3_600_000 }
  const async = async () => {}
  const samples = await interleave(
    context,
    {
      enginePlain: () => catchUp(topic, count, () => {}),
      enginePlainAsync: () => catchUp(topic, count, async),
      engineRetries: () => catchUp(topic, count, failsOnce, { backoff: { type: 'fixed', delayMs: 1 } }),
      engineOutputs: () => catchUp(topic, count, ({ key, value }, context) => context.send(outputs, { key, value })),
      engineState: () => catchUp(topic, count, ({ key, value }, context) => context.store(state).put(key, value)),
      engineRows: () =>
        catchUp(topic, count, ({ offset, partition, value }, context) =>
          context.store(state).put(`${partition}/${offset}`, value),
        ),
      engineIdempotent: () => catchUp(topic, count, async, { idempotency, concurrency: 1_000 }),
    },
    5,
  )
  await mq.close()

  const unit = '/s'
  const plain = { name: 'a handler without', samples: samples.enginePlain }
  const plainAsync = { name: 'an async handler without', samples: samples.enginePlainAsync }
  const line = (what, side, limit = plain, more = {}) =>
    row({ measure: `${measure}: ${what}`, unit, result: samples[side], limit, ...more })
  return [
    line(`retries, one message of ${FAILING} fails once`, 'engineRetries'),
    line('an output for each message', 'engineOutputs'),
    line('state for each message, 10,000 keys', 'engineState'),
    line('state for each message, a row of its own', 'engineRows'),
    line('lmdb idempotency, async handler', 'engineIdempotent', plainAsync, { target: { of: 'ratio', atLeast: 0.4 } }),
  ]
}

/** Transactions, against sends of the same messages. */
async function sending(context) {
  const count = context.quick ? 20_000 : 100_000
  const { mq, topic } = await openTopic(context, { codec: 'bytes' })
  const state = await mq.store('state', { codec: 'bytes' })
  const [value] = byteValues(1)
  const plan = { perTurn: 100, turnsInFlight: 10 }
  const deduplicated = await mq.topic('deduplicated', { codec: 'bytes', dedupe: { maxCount: 100_000 } })
  let ids = 0

  const many = (index) =>
    mq.transaction((transaction) => {
      const store = transaction.store(state)
      for (let operation = 0; operation < OPERATIONS / 2; operation++) {
        transaction.send(topic, { key: 'key', value })
        store.put(`${(index * OPERATIONS + operation) % 10_000}`, value)
      }
    })
  const samples = await interleave(
    context,
    {
      engineSends: () =>
        rate(
          count,
          pump({ count, ...plan }, () => topic.send({ key: 'key', value })),
        ),
      engineIds: () =>
        rate(
          count,
          pump({ count, ...plan }, () => deduplicated.send({ key: 'key', value, id: `id-${++ids}` })),
        ),
      engineTransactions: () =>
        rate(
          count,
          pump({ count, ...plan }, () =>
            mq.transaction((transaction) => transaction.send(topic, { key: 'key', value })),
          ),
        ),
      engineLarge: () => rate(count, pump({ count: count / OPERATIONS, perTurn: 4, turnsInFlight: 4 }, many)),
    },
    5,
  )
  const rounds = context.profile ? undefined : samples.engineSends.length + 1
  const [{ end }] = topic.offsets()
  if (rounds !== undefined) mustBe(end, rounds * (count + count + count / 2), 'messages sent')
  mustBe(deduplicated.offsets()[0].end, ids, 'messages with ids')
  await mq.close()

  const unit = '/s'
  return [
    row({
      measure: 'sends with ids, looked for among the last 100,000',
      unit,
      result: samples.engineIds,
      limit: { name: 'sends without', samples: samples.engineSends },
    }),
    row({
      measure: 'transactions with one send each',
      unit,
      result: samples.engineTransactions,
      limit: { name: 'sends without', samples: samples.engineSends },
    }),
    row({
      measure: `operations in transactions of ${OPERATIONS}, sends and state`,
      unit,
      result: samples.engineLarge,
      target: { of: 'result', atLeast: 100_000 },
    }),
  ]
}

/** @param {number} count @param {Promise<unknown>} work that has just begun */
async function rate(count, work) {
  const start = performance.now()
  await work
  return count / ((performance.now() - start) / 1000)
}
