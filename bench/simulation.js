import { createHook } from 'node:async_hooks'
import { openInMemory } from 'lanemq'
import { explore, openTest } from 'lanemq/testing'
import { mustBe } from './lib/engine.js'
import { interleave } from './lib/interleave.js'
import { nextTurn } from './lib/pump.js'
import { row } from './lib/rows.js'
import { median } from './lib/statistics.js'

export const name = 'simulation'
export const measure = 'the testing kit: explored schedules of a flow of 12 messages and 2 groups, memory store'
export const target = '>= 1 k/s; one plain test of that flow < 5 ms; start and dispose < 2 ms'

const MESSAGES = 12
const KEYS = 4

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  const runs = context.quick ? 500 : 2_000
  const tests = context.quick ? 100 : 500
  const work = context.profile ? undefined : await workOfRun(200)
  const samples = await interleave(
    context,
    {
      engineExplore: () => exploreFlow(runs),
      // Tests one after another, in ms each: the median of those of a round.
      enginePlain: () => eachTakes(tests, plainTest),
      engineEmpty: () => eachTakes(tests, emptyTest),
      engineWired: () => eachTakes(tests, wiredTest),
      production: () => eachTakes(tests, productionFlow),
      productionEmpty: () => eachTakes(tests, productionEmpty),
      bare: () => bareRuns(runs, work),
    },
    7,
  )

  const perSecond = samples.enginePlain.map((ms) => 1_000 / ms)
  const bare = { name: 'the promise jobs, ticks and turns of a run, empty', samples: samples.bare }
  const plain = { name: 'plain tests of the flow, one after another', samples: perSecond }
  const production = { name: 'the same on openInMemory, real time', samples: samples.production }
  const productionOpen = { name: 'openInMemory and close', samples: samples.productionEmpty }
  return [
    row({
      measure,
      unit: '/s',
      result: samples.engineExplore,
      limit: bare,
      target: { of: 'result', atLeast: 1_000 },
      note: work && `${runs} runs from one seed, those included that are run twice; a run has ${textOf(work)}`,
    }),
    row({
      measure: 'the same',
      unit: '/s',
      result: samples.engineExplore,
      limit: plain,
    }),
    row({
      measure: 'the testing kit: one plain test of that flow',
      unit: 'ms',
      result: samples.enginePlain,
      limit: production,
      target: { of: 'result', atMost: 5 },
      note: 'openTest, 12 sends, drain, dispose; warm: the first test of a process is slower',
    }),
    row({
      measure: 'the testing kit: start and dispose, nothing wired',
      unit: 'ms',
      result: samples.engineEmpty,
      limit: productionOpen,
      target: { of: 'result', atMost: 2 },
    }),
    row({
      measure: 'the same with a topic and two groups',
      unit: 'ms',
      result: samples.engineWired,
      target: { of: 'result', atMost: 2 },
    }),
  ]
}

/** One group with an asynchronous handler, one with a synchronous one. */
async function wire(mq, { handled = () => {} } = {}) {
  const orders = await mq.topic('orders', { partitions: 2 })
  const billing = await orders.subscribe('billing', async () => handled(), { from: 'earliest' })
  const mailing = await orders.subscribe('mailing', () => handled(), { from: 'earliest' })
  return { orders, groups: [billing, mailing] }
}

/** @param {(message: object) => PromiseLike<unknown>} send */
function sendAll(send) {
  return Promise.all(Array.from({ length: MESSAGES }, (_, value) => send({ key: `key-${value % KEYS}`, value })))
}

function scenario(test) {
  return sendAll((message) => test.send('orders', message))
}

/** Explored schedules/s. @param {number} runs */
async function exploreFlow(runs) {
  const start = performance.now()
  const { schedules } = await explore({ wire: (mq) => wire(mq), scenario, budget: { runs }, report: () => {} })
  const took = (performance.now() - start) / 1000
  if (schedules < runs) throw new Error(`explored ${schedules} instead of ${runs}`)
  return schedules / took
}

async function plainTest() {
  const test = await openTest({ wire: (mq) => wire(mq) })
  await scenario(test)
  const { attempts, idle } = await test.drain()
  await test.dispose()
  mustBe(`${idle}, ${attempts}`, `empty, ${2 * MESSAGES}`, 'what a plain test did')
}

async function emptyTest() {
  const test = await openTest()
  await test.dispose()
}

async function wiredTest() {
  const test = await openTest({ wire: (mq) => wire(mq) })
  await test.dispose()
}

/** The same flow through the engine alone, on its store in memory, in real time. */
async function productionFlow() {
  const mq = await openInMemory()
  let calls = 0
  const { orders, groups } = await wire(mq, { handled: () => void calls++ })
  await sendAll((message) => orders.send(message))
  for (const group of groups) await group.idle()
  await mq.close()
  mustBe(calls, 2 * MESSAGES, 'handler calls')
}

async function productionEmpty() {
  const mq = await openInMemory()
  await mq.close()
}

/** Median of the milliseconds that each call takes. @param {number} times @param {() => Promise<void>} work */
async function eachTakes(times, work) {
  const took = []
  for (let i = 0; i < times; i++) {
    const start = performance.now()
    await work()
    took.push(performance.now() - start)
  }
  return median(took)
}

/**
 * How many promise jobs, ticks and turns of the event loop an explored run has, on average.
 *
 * @param {number} runs
 */
async function workOfRun(runs) {
  const kinds = new Map()
  const counts = { PROMISE: 0, TickObject: 0, Immediate: 0 }
  const hook = createHook({
    init: (id, kind) => void (kind in counts && kinds.set(id, kind)),
    before: (id) => void (kinds.has(id) && counts[kinds.get(id)]++),
  })
  hook.enable()
  const { schedules } = await explore({ wire: (mq) => wire(mq), scenario, budget: { runs }, report: () => {} })
  hook.disable()
  const each = (count) => Math.max(1, Math.round(count / schedules))
  return { jobs: each(counts.PROMISE), ticks: each(counts.TickObject), turns: each(counts.Immediate) }
}

/** The least that so many runs can cost: their jobs in a chain, with the ticks and turns among them; runs/s. */
async function bareRuns(runs, { jobs, ticks, turns }) {
  const jobsPerTick = jobs / (ticks + turns)
  const start = performance.now()
  for (let run = 0; run < runs; run++) {
    let done = 0
    for (let stop = 1; stop <= ticks + turns; stop++) {
      for (; done < jobsPerTick * stop; done++) await undefined
      // Turns are spread among the ticks.
      if (Math.floor((stop * turns) / (ticks + turns)) > Math.floor(((stop - 1) * turns) / (ticks + turns))) {
        await nextTurn()
      } else await nextTick()
    }
  }
  return runs / ((performance.now() - start) / 1000)
}

const nextTick = () => new Promise((resolve) => process.nextTick(resolve))

function textOf({ jobs, ticks, turns }) {
  return `${jobs} promise jobs, ${ticks} ticks and ${turns} turns of the event loop`
}
