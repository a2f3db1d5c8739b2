import type { Place } from '../history.ts'

/** Something for each partition of each topic. */
export class PartitionMap<T> {
  readonly #make: () => T
  readonly #topics = new Map<string, T[]>()

  /** `make` gives what a partition begins with. */
  constructor(make: () => T) {
    this.#make = make
  }

  find(topic: string, partition: number): T | undefined {
    return this.#topics.get(topic)?.[partition]
  }

  at(topic: string, partition: number): T {
    let partitions = this.#topics.get(topic)
    if (partitions === undefined) this.#topics.set(topic, (partitions = []))
    return (partitions[partition] ??= this.#make())
  }

  forget(topic: string): void {
    this.#topics.delete(topic)
  }

  forEach(visit: (value: T, topic: string, partition: number) => void): void {
    for (const [topic, partitions] of this.#topics) {
      partitions.forEach((value, partition) => visit(value, topic, partition))
    }
  }
}

/** Something for each partition that each group consumes. */
export class GroupMap<T> {
  readonly #make: () => T
  readonly #groups = new Map<string, PartitionMap<T>>()

  constructor(make: () => T) {
    this.#make = make
  }

  at(group: string, topic: string, partition: number): T {
    let partitions = this.#groups.get(group)
    if (partitions === undefined) this.#groups.set(group, (partitions = new PartitionMap(this.#make)))
    return partitions.at(topic, partition)
  }

  of(group: string): PartitionMap<T> | undefined {
    return this.#groups.get(group)
  }

  forget(topic: string): void {
    for (const partitions of this.#groups.values()) partitions.forget(topic)
  }

  forgetGroup(group: string): void {
    this.#groups.delete(group)
  }

  forEach(visit: (value: T, group: string, topic: string, partition: number) => void): void {
    for (const [group, partitions] of this.#groups) {
      partitions.forEach((value, topic, partition) => visit(value, group, topic, partition))
    }
  }
}

/** As in `orders[0]@4 (key o-1)`. */
export function placeText({ topic, partition, offset, key }: Place): string {
  return `${offsetText(topic, partition, offset)}${key === undefined ? '' : ` (key ${key})`}`
}

/** As in `orders[0]@4`. */
export function offsetText(topic: string, partition: number, offset: number): string {
  return `${topic}[${partition}]@${offset}`
}
