/**
 * Three million real flights through one topic and three groups, with the working process killed twice on the way.
 *
 *     npm start                           the first 1,000,000 flights
 *     npm start -- --all                  all of them
 *     npm start -- --records 50000
 *     npm start -- --json                 one JSON document for a program, nothing else
 *     npm start -- --keep new-folder      leaves everything there, to look at it
 *     npm start -- --check that-folder    only compares once more what was kept there
 *
 * Exits with 0 only when every result agrees with the truth.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { check } from './check.js'
import { readOptions } from './options.js'
import { renderProgress, renderSummary, renderTable, toDocument } from './report.js'
import { superviseWorker } from './supervisor.js'
import { Truth } from './truth.js'

const PARTITIONS = 8
const KILLS = 2

const options = readOptions()
const say = options.json ? () => {} : console.log
const directory = chooseDirectory()
const run = options.check === undefined ? await work() : JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8'))

say('comparing with the file …\n')
const truth = await Truth.of(run.records, PARTITIONS)
const checked = await check(truth, run.lives, directory)
say(`${renderTable(truth, checked)}\n\n${renderSummary(run, checked)}`)
if (options.json) console.log(JSON.stringify(toDocument(truth, run, checked), undefined, 2))
process.exitCode = checked.ok ? 0 : 1

/** Lets the worker do its work, and shows how it goes. */
async function work() {
  const { records } = options
  say(`${records.toLocaleString('en-US')} flights into ${PARTITIONS} partitions on disk, for three groups at once`)
  let shownAt = 0
  const lives = await superviseWorker({ directory, records, partitions: PARTITIONS, kills: KILLS }, (event, life) => {
    if (event === 'progress' && life.endedAt - shownAt < 1_000) return
    shownAt = life.endedAt
    say(renderProgress(event, life))
  })
  const done = { records, lives }
  writeFileSync(join(directory, 'run.json'), JSON.stringify(done))
  return done
}

/** A temporary folder that goes with the process, or the one that the user named. */
function chooseDirectory() {
  if (options.check !== undefined) return resolve(options.check)
  if (options.keep !== undefined) {
    mkdirSync(options.keep)
    return resolve(options.keep)
  }
  const temporary = mkdtempSync(join(tmpdir(), 'lanemq-flights-'))
  process.on('exit', () => rmSync(temporary, { recursive: true, force: true }))
  process.once('SIGINT', () => process.exit(130))
  process.once('SIGTERM', () => process.exit(143))
  return temporary
}
