import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A child process of a test that talks in lines. */
export class StorageChild {
  readonly pid: number
  /** Resolves when the process has ended and all its lines were read. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  readonly lines: Interface
  stderr = ''
  readonly #process: ChildProcess

  /** `command` runs a script of this folder under another program. */
  constructor(script: string, args: readonly string[], command: readonly string[] = []) {
    const [program, ...rest] = [...command, process.execPath, fileURLToPath(new URL(script, import.meta.url)), ...args]
    this.#process = spawn(program as string, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.pid = this.#process.pid ?? -1
    this.#process.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()))
    this.lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })
    this.ended = new Promise((resolve) => this.#process.once('close', (code, signal) => resolve({ code, signal })))
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#process.kill(signal)
  }
}
