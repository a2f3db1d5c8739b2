import { availableParallelism, cpus } from 'node:os'
import type { PlantedBug } from './bugs.ts'

/** How a bug was found. */
export interface FoundRow {
  readonly bug: string
  readonly flow: string
  readonly broken: string
  readonly runs: number
  /** From the beginning of the exploration to its story, shrinking included. */
  readonly ms: number
  readonly deviations: number
}

/** How the engine without a bug passed a flow. */
export interface FlowRow {
  readonly flow: string
  readonly about: string
  readonly schedules: number
  readonly distinct: number
  readonly depth: number
}

const command =
  'LANEMQ_PLANTED_TABLE=docs/planted-bugs.md npx vitest run --project planted test/planted/explore.test.ts && npx prettier --write docs/planted-bugs.md'

/** The page `docs/planted-bugs.md`. */
export function tableText(bugs: readonly PlantedBug[], found: readonly FoundRow[], flows: readonly FlowRow[]): string {
  const runs = found.map((row) => row.runs).toSorted((a, b) => a - b)
  const inPlainRun = found.filter((row) => row.deviations === 0).length
  const most = Math.max(...found.map((row) => row.deviations))
  const checks = new Set(found.map(({ broken }) => broken)).size
  const schedules = Math.min(...flows.map((row) => row.schedules))
  return `# Planted bugs

Does \`explore\` find bugs? ${bugs.length} bugs are planted into the engine, one at a time, each a small patch of one file
as a mistake would be (\`test/planted/bugs.ts\`; many of them are bugs that other queues had). The explorer runs one of
${flows.length} small flows (\`test/planted/flows.ts\`) on the patched engine, with its default budget of 3 s.

- It finds **${found.length} of ${bugs.length}**, the last one in run ${runs.at(-1)}, half of them by run ${runs[Math.floor(runs.length / 2)]}.
- ${inPlainRun} show in the plain run already: there the flow and the invariants are enough. ${found.length - inPlainRun} need a crash, a fault or another
  order that the explorer has to find.
- After shrinking a failure has at most ${most} ${most === 1 ? 'deviation' : 'deviations'}.
- ${checks} different checks catch them.
- The engine without a bug passes at least ${schedules} schedules of every flow.

What the columns say:

- **runs** — schedules that were run until the bug showed, repetitions for determinism included. 1 is the plain run.
- **time** — until the error was thrown, with the repetition and the shrinking. It depends on the machine; runs do not.
- **deviations** — departures from the plain run that are left after shrinking. 0: the plain run shows it.
- **caught by** — a default invariant; \`check\` is the flow's own function of that name, \`wire\` means that the wiring
  failed (the engine refuses the store that the bug damaged), and \`no-idle-hands\` is an invariant that the flow adds
  (\`test/planted/idle-hands.ts\`), as an application can.

| bug | what it breaks | flow | caught by | runs | time (ms) | deviations |
| --- | --- | --- | --- | --: | --: | --: |
${bugs.map((bug) => bugRow(bug, found)).join('\n')}

## The flows, and the engine without a bug

Every flow has at most 12 messages. **depth** is how many departures from the plain run were tried in every combination;
the schedules after that are pairs of them. **most runs** is what the bug of this flow took that was found last.

| flow | what it uses | most runs | schedules without a violation | distinct histories | depth |
| --- | --- | --: | --: | --: | --: |
${flows.map((row) => flowRow(row, found)).join('\n')}

## How it was measured

Written by the test itself, on ${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Node ${process.versions.node}:

\`\`\`sh
${command}
\`\`\`

Without the variable the same test is part of \`npm test\`: there each exploration gets twice the runs of
\`test/planted/found.ts\` instead of 3 s, so that a busy machine changes nothing.
`
}

function flowRow({ flow, about, schedules, distinct, depth }: FlowRow, found: readonly FoundRow[]): string {
  const most = Math.max(...found.map((row) => (row.flow === flow ? row.runs : 0)))
  return `| ${flow} | ${about} | ${most} | ${schedules} | ${distinct} | ${depth} |`
}

function bugRow({ name, about }: PlantedBug, found: readonly FoundRow[]): string {
  const row = found.find(({ bug }) => bug === name)
  if (row === undefined) return `| ${name} | ${about} | | not found | | | |`
  const { flow, broken, runs, ms, deviations } = row
  return `| ${name} | ${about} | ${flow} | ${broken} | ${runs} | ${Math.round(ms)} | ${deviations} |`
}
