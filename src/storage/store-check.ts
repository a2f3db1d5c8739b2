import type { Runtime } from '../runtime/runtime.ts'
import { DataFile } from './data-file.ts'
import type { Environment } from './lmdb-environment.ts'
import { TreeCheck } from './tree-check.ts'

/** Pages between two turns: about a millisecond when they are in memory. */
const pagesPerTurn = 64
/** A store with more damage than this needs no longer list. */
const longestReport = 1_000

/** A check of a whole live store, page by page, in slices. */
export class StoreCheck {
  readonly #file: string
  readonly #runtime: Runtime
  readonly #damages: string[] = []
  #data: DataFile | undefined
  #steps: Generator<void> | undefined
  #unpin: (() => void) | undefined

  constructor(file: string, runtime: Runtime) {
    this.#file = file
    this.#runtime = runtime
  }

  /** Pins the newest snapshot. No commit may be under way. */
  start(root: Environment['root']): void {
    root.resetReadTxn()
    const snapshot = root.useReadTransaction()
    this.#unpin = () => snapshot.done()
    this.#data = new DataFile(this.#file)
    try {
      const meta = this.#data.currentMeta()
      this.#steps = new TreeCheck({
        meta,
        read: this.#data.reader(meta.pageSize),
        filePages: Math.floor(this.#data.bytes / meta.pageSize),
        report: ({ message }) => this.#damages.push(message),
        budget: Infinity,
      }).run()
    } catch (error) {
      this.#damages.push((error as Error).message)
    }
  }

  /** A line for each damage. `goOn` is called before each slice, and throws to end the check. */
  async finish(goOn: () => void): Promise<string[]> {
    try {
      while (this.#advance()) {
        await new Promise<void>((resolve) => this.#runtime.later('verify', resolve))
        goOn()
      }
      return this.#damages
    } finally {
      this.#data?.close()
      this.#unpin?.()
    }
  }

  #advance(): boolean {
    for (let page = 0; page < pagesPerTurn; page++) {
      if (this.#damages.length >= longestReport || this.#steps?.next().done !== false) return false
    }
    return true
  }
}
