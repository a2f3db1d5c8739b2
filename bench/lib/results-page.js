import { statfsSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem, type } from 'node:os'
import { remarks, table } from './table.js'

const TMPFS = 0x0102_1994

/** What the figures depend on. @param {{ directory?: string }} given */
export function facts(given) {
  const processors = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    command: ['npm run bench', process.argv.slice(2).join(' ')].filter(Boolean).join(' -- '),
    machine: `${processors.length} x ${processors[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB, ${type()} ${release()}`,
    node: process.version,
    // Without a disk, nothing that is said about durable sends means anything.
    disk:
      statfsSync(given.directory ?? tmpdir()).type === TMPFS ? 'memory (tmpfs): durable sends cost nothing' : 'disk',
  }
}

/** bench/RESULTS.md. @param {readonly import('./rows.js').Row[]} rows */
export function render(rows, given) {
  const { date, command, machine, node, disk } = facts(given)
  return `# Results

\`${command}\`, ${date}. Node.js ${node}; ${machine}; stores on: ${disk}.

Every figure stands beside what bounds it on this machine, measured in the same run: medians of interleaved rounds, with
the range. A ratio is the median over the rounds. Messages have 100 bytes unless a line says otherwise. Figures of
different runs, or of other machines, cannot be compared; ratios can, with care.

${table(rows)}

Remarks:

${remarks(rows).join('\n')}
`
}
