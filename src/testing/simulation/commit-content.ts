import { stateSpaces } from '../../key-layout.ts'
import { preparedIn } from '../../state/prepared-rows.ts'
import type { WriteList } from '../../storage/write-list.ts'
import type { Point, PointName } from './point.ts'

/** First bytes of the keys of the table `meta`; see key-layout. */
const metaKind = { topic: 1, group: 2, partition: 3, store: 6 } as const

/** What the numbers in keys stand for, learnt from the rows as they pass. */
export class StoreNames {
  readonly partitions: Map<number, { readonly topic: string; readonly partition: number }> = new Map()
  readonly groups: Map<number, string> = new Map()
  /** The user's stores of state. */
  readonly stores: Map<number, string> = new Map()

  partition(id: number): { readonly topic: string; readonly partition: number } {
    return this.partitions.get(id) ?? { topic: '?', partition: id }
  }

  group(id: number): string {
    return this.groups.get(id) ?? '?'
  }
}

type Stage = 'before' | 'applied' | 'flushed'

/** A point of a commit. What it holds is read out of its keys when somebody asks: most schedules do not. */
export function commitPoint(stage: Stage, writes: readonly WriteList[], names: StoreNames): Point {
  learnGroups(writes, names)
  return new CommitPoint(stage, writes, names)
}

class CommitPoint implements Point {
  readonly name: PointName
  readonly #stage: Stage
  readonly #writes: readonly WriteList[]
  readonly #names: StoreNames
  #parts: readonly Point[] | undefined
  #label: string | undefined

  constructor(stage: Stage, writes: readonly WriteList[], names: StoreNames) {
    this.name = `commit:${stage}`
    this.#stage = stage
    this.#writes = writes
    this.#names = names
  }

  get parts(): readonly Point[] {
    return (this.#parts ??= partsOf(this.#stage, this.#writes, this.#names))
  }

  get label(): string {
    return (this.#label ??= `${this.name} (${this.parts.map(({ label }) => label.replace(`:${this.#stage}`, '')).join(', ')})`)
  }
}

function partsOf(stage: Stage, writes: readonly WriteList[], names: StoreNames): Point[] {
  const parts = new Map<string, Point>()
  const add = (what: string, subject: string, facts: Omit<Point, 'name' | 'label'>): void => {
    const label = `${what}:${stage} ${subject}`
    if (!parts.has(label)) parts.set(label, { name: `${what}:${stage}` as PointName, label, ...facts })
  }
  for (const { tables, keys, values } of writes) {
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      if (tables[i] === 'log') {
        if (values[i] === undefined) continue
        const { topic, partition } = names.partition(numberAt(key, 0))
        add('send', `${topic}[${partition}]`, { topic, partition })
      } else if (tables[i] === 'progress') {
        const group = names.group(numberAt(key, 0))
        const { topic, partition } = names.partition(numberAt(key, 4))
        add('settle', `${group} ${topic}[${partition}]`, { group, topic, partition })
      } else if (tables[i] === 'state') {
        addState(key, names, add)
      } else addMeta(key, values[i], names, add)
    }
  }
  return [...parts.values()]
}

function addState(
  key: Uint8Array,
  names: StoreNames,
  add: (what: string, subject: string, facts: Omit<Point, 'name' | 'label'>) => void,
): void {
  const space = numberAt(key, 0)
  const store = names.stores.get(space)
  if (store !== undefined) add('state', store, { store })
  if (space !== stateSpaces.prepared) return
  const { producer } = preparedIn(key.subarray(4))
  add('prepared', producer, { producer })
}

/** The names of groups and stores are nowhere but in their rows. */
function learnGroups(writes: readonly WriteList[], names: StoreNames): void {
  for (const { tables, keys, values } of writes) {
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      const value = values[i]
      if (tables[i] !== 'meta' || value === undefined) continue
      if (key[0] !== metaKind.group && key[0] !== metaKind.store) continue
      const known = key[0] === metaKind.group ? names.groups : names.stores
      known.set((JSON.parse(Buffer.from(value).toString()) as { id: number }).id, nameIn(key))
    }
  }
}

function addMeta(
  key: Uint8Array,
  value: Uint8Array | undefined,
  names: StoreNames,
  add: (what: string, subject: string, facts: Omit<Point, 'name' | 'label'>) => void,
): void {
  if (key[0] === metaKind.partition) {
    const { topic, partition } = names.partition(numberAt(key, 1))
    add('trim', `${topic}[${partition}]`, { topic, partition })
    return
  }
  if (value === undefined || (key[0] !== metaKind.group && key[0] !== metaKind.topic)) return
  const name = nameIn(key)
  if (key[0] === metaKind.topic) add('topic', name, { topic: name })
  else add('group', name, { group: name })
}

function nameIn(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset + 1, key.byteLength - 1).toString()
}

function numberAt(key: Uint8Array, at: number): number {
  return ((key[at]! << 24) | (key[at + 1]! << 16) | (key[at + 2]! << 8) | key[at + 3]!) >>> 0
}
