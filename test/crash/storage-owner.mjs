// node storage-owner.mjs <directory> <journal> <times> [keep]: owns the directory again and again, and writes it into a journal.
//
// Lines are appended whole and in order by the system, and a dead process appends nothing: an owner that appends a line
// after a later owner's first one has been an owner at the same time.
import { appendFileSync, writeSync } from 'node:fs'
import { takeOwnerLock } from '../../dist/storage/owner-lock.js'

const [directory, journal, times, keep] = process.argv.slice(2)
const say = (line) => writeSync(1, `${line}\n`)
const turn = () => new Promise((resolve) => setImmediate(resolve))

say('ready')
for (let owned = 0; owned < Number(times);) {
  let lock
  try {
    lock = await takeOwnerLock(directory)
  } catch (error) {
    if (error.code !== 'STORE_LOCKED') throw error
    await turn()
    continue
  }
  const { generation } = lock
  owned++
  appendFileSync(journal, `own ${generation} ${process.pid}\n`)
  say(`own ${generation}`)
  for (let beat = 0; beat < 20; beat++) {
    appendFileSync(journal, `beat ${generation} ${process.pid}\n`)
    await turn()
  }
  appendFileSync(journal, `leave ${generation} ${process.pid}\n`)
  // Keeping it must not keep the process alive.
  if (keep === undefined) await lock.release()
  await turn()
}
say('done')
