import type { WriteList } from '../../storage/write-list.ts'
import type { Point, PointName } from './point.ts'

/** First bytes of the keys of the table `meta`; see key-layout. */
const metaKind = { topic: 1, group: 2, partition: 3 } as const

/** What the numbers in keys stand for, learnt from the rows as they pass. */
export class StoreNames {
  readonly partitions: Map<number, { readonly topic: string; readonly partition: number }> = new Map()
  readonly groups: Map<number, string> = new Map()

  partition(id: number): { readonly topic: string; readonly partition: number } {
    return this.partitions.get(id) ?? { topic: '?', partition: id }
  }

  group(id: number): string {
    return this.groups.get(id) ?? '?'
  }
}

type Stage = 'before' | 'applied' | 'flushed'

/** Reads out of the keys of a commit what it holds. */
export function commitPoint(stage: Stage, writes: readonly WriteList[], names: StoreNames): Point {
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
      } else addMeta(key, values[i], names, add)
    }
  }
  const list = [...parts.values()]
  const content = list.map(({ label }) => label.replace(`:${stage}`, '')).join(', ')
  return { name: `commit:${stage}`, label: `commit:${stage} (${content})`, parts: list }
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
  const name = Buffer.from(key.buffer, key.byteOffset + 1, key.byteLength - 1).toString()
  if (key[0] === metaKind.topic) return add('topic', name, { topic: name })
  names.groups.set((JSON.parse(Buffer.from(value).toString()) as { id: number }).id, name)
  add('group', name, { group: name })
}

function numberAt(key: Uint8Array, at: number): number {
  return ((key[at]! << 24) | (key[at + 1]! << 16) | (key[at + 2]! << 8) | key[at + 3]!) >>> 0
}
