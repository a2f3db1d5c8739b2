// Graceful shutdown: close() lets running handlers finish, hands out nothing more, and the next start goes on from there.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const done = []

async function start(handler, concurrency) {
  const mq = await open({ path })
  const jobs = await mq.topic('jobs')
  const worker = await jobs.subscribe('worker', handler, { from: 'earliest', concurrency })
  return { mq, jobs, worker }
}

let running = 0
let twoRun
const bothRun = new Promise((resolve) => (twoRun = resolve))
const work = async ({ value }) => {
  if (++running === 2) twoRun()
  await sleep(20)
  done.push(value)
}
const first = await start(work, 2)
await first.jobs.sendBatch([1, 2, 3, 4, 5].map((value) => ({ value })))
await bothRun
await first.mq.close() // a service does this on SIGTERM
console.log('done before the restart', done) // => done before the restart [ 1, 2 ]

const second = await start(work, 1)
await second.worker.drain()
console.log('done', done) // => done [ 1, 2, 3, 4, 5 ]
await second.mq.close()

// A handler that does not end: its signal is aborted at the deadline, and close() says what it left.
const stuck = (message, { signal }) => new Promise((resolve, reject) => (signal.onabort = reject))
const third = await start(stuck, 1)
await third.jobs.send({ value: 6 })
await sleep(10)
const { left } = await third.mq.close({ timeoutMs: 50 })
console.log('left at offset', left[0].offset) // => left at offset 5

rmSync(path, { recursive: true })
