import { mkdtempSync, readFileSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runBench } from './run-bench.js'

const LINES = 30

/**
 * Where the engine's part of one bench spends its time, by self time.
 *
 * @param {string} what the name of a bench, or name/side for one of the things that it measures
 */
export async function profileBench(what, given) {
  const [name, side] = what.split('/')
  const directory = mkdtempSync(join(tmpdir(), 'lanemq-profile-'))
  const execArgv = ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=500']
  const [failed] = (await runBench(name, given, { execArgv, profile: { side } })).filter((row) => row.error)
  if (failed) return failed.error
  const file = join(directory, readdirSync(directory)[0])
  const { total, functions } = selfTimes(JSON.parse(readFileSync(file, 'utf8')))
  const lines = functions
    .slice(0, LINES)
    .map(({ place, time }) => `${((100 * time) / total).toFixed(1).padStart(5)} %  ${place}`)
  return [`${what}: ${(total / 1e6).toFixed(1)} s, self time (${file})`, ...lines].join('\n')
}

/** @param {{ nodes: object[], samples: number[], timeDeltas: number[] }} profile as V8 writes it */
function selfTimes({ nodes, samples, timeDeltas }) {
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const times = new Map()
  let total = 0
  samples.forEach((id, index) => {
    const place = places.get(id)
    times.set(place, (times.get(place) ?? 0) + timeDeltas[index])
    total += timeDeltas[index]
  })
  const functions = [...times].map(([place, time]) => ({ place, time })).toSorted((a, b) => b.time - a.time)
  return { total, functions }
}

function placeOf({ functionName, url, lineNumber }) {
  const file = url.split('/').slice(-2).join('/')
  return `${functionName || '(anonymous)'}${file && `  ${file}:${lineNumber + 1}`}`
}
