import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root: string = fileURLToPath(new URL('../..', import.meta.url))

/** A fresh directory of a user's project in which `lanemq` is this package; gone when the callback has ended. */
export function inProject<T>(use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'lanemq-'))
  try {
    mkdirSync(join(directory, 'node_modules'))
    symlinkSync(root, join(directory, 'node_modules/lanemq'), 'dir')
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    return use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** How a program ended and what it printed, line by line. */
export interface Outcome {
  readonly ended: string
  readonly stderr: string
  readonly printed: readonly string[]
}

/** Runs a program to its own end: one that needs to be killed left something open. */
export function outcomeOf(file: string, cwd: string, parameters: string[] = []): Outcome {
  const run = spawnSync(process.execPath, [file, ...parameters], {
    cwd,
    encoding: 'utf8',
    timeout: 25_000,
    killSignal: 'SIGKILL',
  })
  const printed = run.stdout.split('\n').map((line) => line.trimEnd())
  while (printed.at(-1) === '') printed.pop()
  return { ended: run.error?.message ?? `code ${run.status}`, stderr: run.stderr, printed }
}

/** The outcome of a program that does what it says and prints exactly these lines. */
export function success(printed: readonly string[]): Outcome {
  return { ended: 'code 0', stderr: '', printed }
}
