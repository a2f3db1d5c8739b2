// npm run bench: every figure of the project beside what bounds it on this machine, measured in the same run.

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { profileBench } from './lib/profile.js'
import { facts, render } from './lib/results-page.js'
import { runBench } from './lib/run-bench.js'
import { remarks, table } from './lib/table.js'

/** In the order of the table. */
const BENCHES = [
  'send-bulk-bytes',
  'send-bulk-json',
  'send-concurrent',
  'send-one',
  'send-to-handler',
  'consume-json',
  'consume-bytes',
  'fan-out',
  'waiting-handlers',
  'hot-key',
  'backlog',
  'reopen',
  'delivery',
  'loop-delay',
  'simulation',
  'seam',
]

const USAGE = `node bench/run.js [options]

  --only a,b       only these benches: ${BENCHES.join(', ')}
  --runs n         rounds of each bench instead of its own number
  --quick          a short look: less work, two rounds
  --json           print a document for programs instead of the table
  --write          also write bench/RESULTS.md
  --directory d    put the stores there instead of the system's temporary directory
  --profile name   run the engine's part of one bench under the CPU profiler and print where the time went;
                   name/side for one of its parts, say consume-bytes/engineAsync
`

const { values: given } = parseArgs({
  options: {
    only: { type: 'string' },
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    directory: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (given.help) console.log(USAGE)
else if (given.profile) console.log(await profileBench(given.profile, given))
else await runAll()

async function runAll() {
  const wanted = given.only ? given.only.split(',') : BENCHES
  const unknown = wanted.filter((name) => !BENCHES.includes(name))
  if (unknown.length > 0) throw new Error(`no such bench: ${unknown.join(', ')}\n\n${USAGE}`)

  const rows = []
  for (const name of wanted) {
    const start = performance.now()
    process.stderr.write(`${name} ...`)
    rows.push(...(await runBench(name, given)))
    process.stderr.write(` ${((performance.now() - start) / 1000).toFixed(1)} s\n`)
  }

  if (given.json) console.log(JSON.stringify({ ...facts(given), rows }, null, 2))
  else console.log(`\n${table(rows)}\n\n${remarks(rows).join('\n')}`)
  if (given.write) writeFileSync(new URL('RESULTS.md', import.meta.url), render(rows, given))
  // A slow machine is no failure; a bench that could not do its work is.
  if (rows.some((row) => row.error)) process.exitCode = 1
}
