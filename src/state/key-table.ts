import type { StateSpace } from '../contracts/state.ts'
import { placeOf } from './state-log.ts'

/** Up to so many keys are compared one by one. */
const few = 8

/** Something by the key of a store. Most transactions touch a key or two: an index is made when there are more. */
export class KeyTable<T extends { readonly space: StateSpace; readonly key: string }> {
  /** In the order in which they were added. */
  readonly all: T[] = []
  #index: Map<string, T> | undefined

  get(space: StateSpace, key: string): T | undefined {
    if (this.#index !== undefined) return this.#index.get(placeOf(space.id, key))
    for (const one of this.all) if (one.key === key && one.space.id === space.id) return one
    return undefined
  }

  /** Adds what is not there yet. */
  add(one: T): void {
    this.all.push(one)
    if (this.#index !== undefined) this.#index.set(placeOf(one.space.id, one.key), one)
    else if (this.all.length > few) {
      this.#index = new Map(this.all.map((each) => [placeOf(each.space.id, each.key), each]))
    }
  }
}
