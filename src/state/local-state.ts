import type { RowSource, State, StateEntry, StateRange, StateSpace, StateTransaction } from '../contracts/state.ts'
import { ReadWriteTransaction } from './read-write-transaction.ts'
import { StateLog } from './state-log.ts'
import type { StateTable } from './state-table.ts'

/** What names stand for, and who gives out numbers. */
export interface SpaceNames {
  /** The number of a store, if there is one of that name. */
  find(name: string): number | undefined
  /** Gives a number to a new name; stored with the next commit. */
  create(name: string): number
  all(): Iterable<readonly [name: string, id: number]>
}

/** The user's own stores, as rows of the {@link StateTable}. */
export class LocalState implements State {
  readonly epoch: number
  readonly #table: StateTable
  readonly #names: SpaceNames
  readonly #log = new StateLog()
  /** The stores that were asked for, by their names. */
  readonly #spaces = new Map<string, StateSpace>()

  constructor(epoch: number, table: StateTable, names: SpaceNames) {
    this.epoch = epoch
    this.#table = table
    this.#names = names
  }

  space(name: string): StateSpace {
    let space = this.#spaces.get(name)
    if (space === undefined) {
      space = { name, id: this.#names.find(name) ?? this.#names.create(name) }
      this.#spaces.set(name, space)
    }
    return space
  }

  spaces(): StateSpace[] {
    return [...this.#names.all()].map(([name, id]) => ({ name, id }))
  }

  get(space: StateSpace, key: string): Uint8Array | undefined {
    return this.#table.get(space.id, key)
  }

  range(space: StateSpace, range: StateRange): StateEntry[] {
    const { from = '', to, limit, reverse } = range
    const end = to === undefined ? undefined : Buffer.from(to)
    const rows = this.#table.range(space.id, { from: Buffer.from(from), to: end, limit, reverse })
    return rows.map(({ key, value }) => ({ key: Buffer.from(key).toString(), value }))
  }

  write(space: StateSpace, key: string, value: Uint8Array | undefined): void {
    if (value === undefined) this.#table.remove(space.id, key)
    else this.#table.put(space.id, key, value)
    this.#log.changed(space.id, key)
  }

  mark(source: RowSource): void {
    this.#table.mark(source)
  }

  begin(): StateTransaction {
    return new ReadWriteTransaction(this, this.#log)
  }
}
