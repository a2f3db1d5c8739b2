import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const worker = fileURLToPath(new URL('worker.js', import.meta.url))

/** @typedef {{ key: string, value: import('./accounts.js').Account }} AccountEntry One airport's entry in the store. */

/**
 * What is known about one life of the worker.
 *
 * @typedef {object} Life
 * @property {number} run From 1.
 * @property {number[]} present Per partition: how many messages the topic held when it was opened.
 * @property {number[]} acked Per partition: how many messages were acknowledged as flushed, as of the last report.
 * @property {Record<string, { position: number, finishedAbove: number }[]>} restored Per group and partition: the progress
 * that was stored when the topic was opened.
 * @property {AccountEntry[]} accounts What the store of the accounts held then.
 * @property {Record<string, { position: number, finishedAbove: number }[]>} positions The same as of the last report.
 * @property {boolean} killed
 * @property {number} endedAt In milliseconds since the work began.
 */

/**
 * @typedef {object} Settings
 * @property {string} directory
 * @property {number} records
 * @property {number} partitions
 * @property {number} kills
 */

/**
 * Lets the worker do all the work and kills it on the way, each time when the slowest group has done the next part of it:
 * with two kills at one third and at two thirds. The moments follow from what the worker reports, never from the clock.
 *
 * @param {Settings} settings
 * @param {(event: 'progress' | 'killed' | 'restarted', life: Life) => void} listener
 * @returns {Promise<Life[]>}
 */
export async function superviseWorker(settings, listener) {
  const lives = []
  const startedAt = performance.now()
  for (let run = 1; run <= settings.kills + 1; run++) {
    /** @type {Life} */
    const life = { run, present: [], acked: [], restored: {}, accounts: [], positions: {}, killed: false, endedAt: 0 }
    lives.push(life)
    await live(life, settings, (event) => {
      life.endedAt = performance.now() - startedAt
      listener(event, life)
    })
  }
  return lives
}

/** One life, until the worker has finished or was killed. */
async function live(life, { directory, records, partitions, kills }, listener) {
  // Many batches, so that a kill finds the sender in the middle of them.
  const batchSize = Math.min(4_000, Math.ceil(records / 100))
  /** How far the sender may be ahead of the slowest group. */
  const lead = records / 10
  const killAt = life.run <= kills ? (records * life.run) / (kills + 1) : Infinity
  /** Once the kill is due: what had been acknowledged then. */
  let due = Infinity

  const child = fork(worker, [JSON.stringify({ directory, run: life.run, records, partitions, batchSize })])
  child.on('message', (message) => {
    life.acked = message.acked ?? life.acked
    life.positions = message.positions ?? life.positions
    if (message.type === 'opened') {
      life.present = message.acked
      life.restored = message.positions
      life.accounts = message.accounts
      if (life.run > 1) listener('restarted')
    }
    const sent = sum(life.acked)
    const slowest = Math.min(...Object.values(life.positions).map(countFinished))
    if (life.killed) return
    if (sent > due) {
      life.killed = true
      child.kill('SIGKILL')
      return
    }
    // Let the sender go on, and strike when its next batch was acknowledged: then it is in the middle of sending.
    if (slowest >= killAt) due = Math.min(due, sent)
    child.send({ sendUpTo: (due === Infinity ? slowest : due) + lead }, () => {})
    listener('progress')
  })

  // Not 'exit': reports that were on their way may arrive after it, and acknowledgements among them count.
  const [code, signal] = await new Promise((resolve) => child.once('close', (...how) => resolve(how)))
  listener(life.killed ? 'killed' : 'progress')
  if (life.killed ? signal !== 'SIGKILL' : code !== 0) throw new Error(`the worker ended by itself: ${signal ?? code}`)
}

/** @param {{ position: number, finishedAbove: number }[]} positions */
export function countFinished(positions) {
  return positions.reduce((total, { position, finishedAbove }) => total + position + finishedAbove, 0)
}

/** @param {number[]} numbers */
export function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0)
}
