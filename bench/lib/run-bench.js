import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const LIMIT_MS = 10 * 60_000

/**
 * Runs one bench in a process of its own.
 *
 * @param {string} name
 * @param {{ quick: boolean, runs?: string, directory?: string }} given what was asked for on the command line
 * @param {{ execArgv?: string[], profile?: { side?: string } }} [how]
 * @returns {Promise<import('./rows.js').Row[]>} a row with an error when the bench could not do its work
 */
export async function runBench(name, given, { execArgv = [], profile } = {}) {
  const root = mkdtempSync(join(given.directory ?? tmpdir(), 'lanemq-bench-'))
  const remove = () => rmSync(root, { recursive: true, force: true })
  const options = { name, root, quick: given.quick, runs: given.runs && Number(given.runs), profile }
  const child = fork(fileURLToPath(new URL('../children/one-bench.js', import.meta.url)), [JSON.stringify(options)], {
    execArgv: ['--expose-gc', ...execArgv],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  // Ctrl-C reaches the child too, but nobody else would remove its stores.
  const interrupted = () => {
    remove()
    process.exit(130)
  }
  process.once('SIGINT', interrupted)
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
  let rows
  let complaint = ''
  child.on('message', (message) => (rows = message))
  child.stderr.on('data', (text) => (complaint += text))
  const [code, signal] = await new Promise((resolve) => child.on('close', (...end) => resolve(end)))
  clearTimeout(timer)
  process.off('SIGINT', interrupted)
  remove()
  if (rows) return rows
  process.stderr.write(`\n${complaint}`)
  const reason = complaint.split('\n').find((line) => /^\S*Error\b/.test(line)) ?? `ended with ${code ?? signal}`
  return [{ measure: name, error: reason }]
}
