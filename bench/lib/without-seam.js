import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mustBe } from './engine.js'

// A copy of dist/ that calls the platform itself where the engine goes through its runtime and its observer.

const dist = fileURLToPath(new URL('../../dist', import.meta.url))
// Below node_modules, so that the copies find the packages they import.
const cache = fileURLToPath(new URL('../../node_modules/.cache', import.meta.url))

/** Ways through the seam, wherever the engine takes them; each has to be found somewhere. */
const CALLS = [
  { name: 'now', pattern: /[\w.#]*\bruntime\.now\(\)/g, direct: 'seamless.now()' },
  { name: 'monotonic', pattern: /[\w.#]*\bruntime\.monotonic\(\)/g, direct: 'seamless.performance.now()' },
  { name: 'soon', pattern: /[\w.#]*\bruntime\.soon\('[\w -]+', /g, direct: 'seamless.queueMicrotask(' },
  { name: 'later', pattern: /[\w.#]*\bruntime\.later\('[\w -]+', /g, direct: 'seamless.setImmediate(' },
  { name: 'random', pattern: /[\w.#]*\bruntime\.random\('[\w -]+'\)/g, direct: 'seamless.random()' },
  { name: 'point', pattern: /[\w.#]*\bruntime\.point\?\.\([^()]*\);/g, direct: '' },
]

/** Ways that are taken once, by file. */
const PLACES = {
  'storage/memory-storage.js': [
    [/const \{ point: pass \} = this\.#runtime;\s*if \(pass !== undefined\)\s*pass\([^;]*\);/, ''],
  ],
  'open.js': [[/\bobserver\?\.opened\(broker, events, turns\);/, '']],
  'client/message-queue.js': [[/this\.#parts\.observer\?\.topic\(name, codec\);/, '']],
  'client/subscriptions.js': [[/observer\?\.handler\(dispatch, consumed, given, remembering\) \?\? given/, 'given']],
}

/** What must not be left anywhere. Timers stay: they are set once for many messages, and production needs its own kind. */
const LEFT = /\bruntime\??\.(now|monotonic|soon|later|random|point)\b|\bobserver\?|\bpoint\b.*= this\.#runtime/

// As real-runtime has them: taken from the platform once.
const PRELUDE = `const seamless = {
  now: Date.now,
  performance: globalThis.performance,
  queueMicrotask: globalThis.queueMicrotask,
  setImmediate: globalThis.setImmediate,
  random: Math.random,
}
`

/**
 * Copies of dist/, removed when the process ends.
 *
 * @param {Record<string, boolean>} sides by name, whether the copy keeps the seam
 * @returns {Record<string, string>} the path of each copy
 */
export function copiesOfDist(sides) {
  mkdirSync(cache, { recursive: true })
  const root = mkdtempSync(join(cache, 'lanemq-seam-'))
  process.once('exit', () => rmSync(root, { recursive: true, force: true }))
  const paths = {}
  for (const [name, keepsSeam] of Object.entries(sides)) {
    paths[name] = join(root, name)
    cpSync(dist, paths[name], { recursive: true, filter: (path) => !path.endsWith('.d.ts') })
    writeFileSync(join(paths[name], 'package.json'), '{ "type": "module" }')
    if (!keepsSeam) removeSeam(paths[name])
  }
  return paths
}

/** @param {string} directory */
function removeSeam(directory) {
  const found = new Map(CALLS.map(({ name }) => [name, 0]))
  const places = new Set()
  for (const path of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.js') || /^(testing|runtime)\b/.test(path)) continue
    const before = readFileSync(join(directory, path), 'utf8')
    let after = before
    for (const { name, pattern, direct } of CALLS) {
      after = after.replaceAll(pattern, () => {
        found.set(name, found.get(name) + 1)
        return direct
      })
    }
    for (const [pattern, direct] of PLACES[path] ?? []) {
      if (!pattern.test(after)) throw new Error(`the seam has changed: ${path} has no ${pattern.source}`)
      after = after.replace(pattern, direct)
      places.add(path)
    }
    const left = after.split('\n').find((line) => LEFT.test(line) && !/^\s*(\/\/|\/?\*)/.test(line))
    if (left) throw new Error(`the seam has changed: ${path} still has ${left.trim()}`)
    if (after !== before) writeFileSync(join(directory, path), PRELUDE + after)
  }
  for (const [name, times] of found) if (times === 0) throw new Error(`the seam has changed: no call of ${name}`)
  mustBe(places.size, Object.keys(PLACES).length, 'patched places of the seam')
}
