// What each process of the kill -9 tests does: keeps a journal that outlives it, and ends itself at a moment it was told.
import { openSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { mulberry32 } from '../../dist/testing/virtual-runtime.js'

/**
 * The life of one process. `suicide` is a moment and how many of them pass before it, as in `send-12`; the parent hears of
 * a moment each `every(moment)` times, so that it can kill the process itself.
 */
export function beginLife({ journalPath, seed, suicide, every }) {
  const journal = openSync(journalPath, 'a')
  const draw = mulberry32(Number(seed))
  const [ownMoment, ownCount] = suicide.split('-')
  let ownCountdown = Number(ownCount)
  const counts = {}
  return {
    note: (...words) => void writeSync(journal, `${words.join(' ')}\n`),
    random: (limit) => Math.floor(draw() * limit),
    reached(moment) {
      counts[moment] = (counts[moment] ?? 0) + 1
      // At a place that no signal from outside would hit.
      if (moment === ownMoment && ownCountdown-- <= 0) process.kill(process.pid, 'SIGKILL')
      if (counts[moment] % every(moment) === 0) say(moment)
    },
    /** Writes down what was found: whole, or not at all. */
    found(suffix, state) {
      writeFileSync(`${journalPath}.part`, JSON.stringify(state))
      renameSync(`${journalPath}.part`, `${journalPath}.${suffix}`)
    },
  }
}

/** Tells the parent a line. */
export function say(line) {
  writeSync(1, `${line}\n`)
}

/** Runs a life until it is killed, or tells why it could not be lived. */
export async function live(life) {
  try {
    await life()
  } catch (error) {
    say(`error ${error.code ?? ''} ${String(error.stack ?? error).replaceAll('\n', ' ')}`)
    process.exit(1)
  }
}
