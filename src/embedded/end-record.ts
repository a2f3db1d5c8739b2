import type { LifeEnds } from '../contracts/broker.ts'
import type { Contributor, Storage, WriteBatch } from '../contracts/storage.ts'
import { endKey } from '../key-layout.ts'
import type { GroupCommit } from '../log/group-commit.ts'

/** What is kept of the present life. */
interface EndRow {
  /** Ends without a close before it. */
  readonly unclean: number
  /** Whether messages run one by one, each marked, so that an end tells which one ran. */
  readonly isAlone: boolean
}

/**
 * One row that says how the life of the store's owner ended: it is there from the first member of a group until the queue
 * is closed. Who finds it knows that handlers may have run when the process ended.
 */
export class EndRecord implements LifeEnds, Contributor {
  readonly unclean: number
  readonly #commit: GroupCommit
  /** As the next commit leaves it; undefined while there is nothing of this life to keep. */
  #row: EndRow | undefined

  constructor(storage: Storage, commit: GroupCommit) {
    this.#commit = commit
    const row = storage.get('meta', endKey)
    this.unclean = row === undefined ? 0 : endsAfter(JSON.parse(Buffer.from(row).toString()) as EndRow)
  }

  /** Handlers may run once the next commit is flushed. */
  begin(): void {
    if (this.#row === undefined) this.#put({ unclean: this.unclean, isAlone: this.unclean > 0 })
  }

  sideBySide(): Promise<void> {
    if (this.#row?.isAlone) this.#put({ ...this.#row, isAlone: false })
    return this.#commit.flush()
  }

  forget(): void {
    if (this.#row !== undefined && this.#row.unclean > 0) this.#put({ unclean: 0, isAlone: false })
  }

  /** The queue is closed. Where nothing was handed out, what was known of earlier lives stays. */
  close(): void {
    if (this.#row === undefined) return
    this.#row = undefined
    this.#commit.mark(this)
  }

  contribute(writes: WriteBatch): void {
    if (this.#row === undefined) writes.remove('meta', endKey)
    else writes.put('meta', endKey, Buffer.from(JSON.stringify(this.#row)))
  }

  #put(row: EndRow): void {
    this.#row = row
    this.#commit.mark(this)
  }
}

/** An end while messages ran alone was what running alone is for: looking at more of them would not tell more. */
function endsAfter({ unclean, isAlone }: EndRow): number {
  return isAlone ? unclean : unclean + 1
}
