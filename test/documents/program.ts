import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'

export const root: string = fileURLToPath(new URL('../..', import.meta.url))

/** What a user's project may have installed beside this package. */
const companions = ['vitest', 'fast-check']

/** A fresh directory of a user's project in which `lanemq` is this package; gone when the callback has ended. */
export function inProject<T>(use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'lanemq-'))
  try {
    mkdirSync(join(directory, 'node_modules'))
    symlinkSync(root, join(directory, 'node_modules/lanemq'), 'dir')
    for (const name of companions) {
      symlinkSync(join(root, 'node_modules', name), join(directory, 'node_modules', name), 'dir')
    }
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
export function outcomeOf(
  file: string,
  cwd: string,
  parameters: string[] = [],
  environment: Record<string, string> = {},
): Outcome {
  const run = spawnSync(process.execPath, [file, ...parameters], {
    cwd,
    env: { ...environment, ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
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

/** A line that runners of tests print at the end: some passed. */
export const passed: unknown = expect.stringMatching(/^(#|ℹ) pass [1-9]|^ *Tests {2}[1-9]\d* passed/)

/** Puts what was printed in place of each line that fits it, where `…` stands for anything: times differ from run to run. */
export function filledIn(prints: readonly string[], { printed }: Outcome): readonly string[] {
  return prints.map((line, i) => {
    const parts = line.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
    return new RegExp(`^${parts.join('.*')}$`).test(printed[i] ?? '') ? printed[i]! : line
  })
}
