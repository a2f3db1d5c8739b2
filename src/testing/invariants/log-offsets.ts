import type { LogSnapshot } from '../log-snapshot.ts'
import type { EventChecks } from './invariant.ts'
import { PartitionMap } from './place-map.ts'

/** Which offsets of a partition are known to exist, and of which key they are. */
export class LogOffsets {
  /** Everything below may have been removed. */
  trimmed = 0
  /** In order, without those that a later crash took away. */
  readonly all: number[] = []
  readonly #known = new Map<number, string | undefined>()
  readonly #byKey = new Map<string, number[]>()

  has(offset: number): boolean {
    return this.#known.has(offset)
  }

  keyOf(offset: number): string | undefined {
    return this.#known.get(offset)
  }

  /** Offsets of a key, in order. */
  ofKey(key: string): readonly number[] {
    return this.#byKey.get(key) ?? []
  }

  add(offset: number, key: string | undefined): void {
    if (this.#known.has(offset)) return
    this.#known.set(offset, key)
    insert(this.all, offset)
    if (key === undefined) return
    const offsets = this.#byKey.get(key)
    if (offsets === undefined) this.#byKey.set(key, [offset])
    else insert(offsets, offset)
  }

  /** Takes what the store holds for what there is. */
  reset({ start, records }: LogSnapshot): void {
    this.trimmed = start
    this.all.length = 0
    this.#known.clear()
    this.#byKey.clear()
    for (const { offset, key } of records) this.add(offset, key)
  }
}

/** The logs of every topic, as far as a history has told of them. */
export class KnownLogs extends PartitionMap<LogOffsets> {
  constructor() {
    super(() => new LogOffsets())
  }

  /**
   * The checks that follow the logs; an invariant that looks at one of these kinds itself has to call it.
   *
   * @param forgotten - told of a topic that is gone, or made anew under its old name
   */
  follow(
    forgotten: (topic: string) => void,
  ): Required<Pick<EventChecks, 'acked' | 'trimmed' | 'topic:created' | 'topic:deleted'>> {
    const forget = ({ topic }: { readonly topic: string }): void => {
      this.forget(topic)
      forgotten(topic)
    }
    return {
      acked: ({ topic, partition, offset, key }) => this.at(topic, partition).add(offset, key),
      trimmed: ({ topic, partition, start }) => {
        const log = this.at(topic, partition)
        log.trimmed = Math.max(log.trimmed, start)
      },
      'topic:created': forget,
      'topic:deleted': forget,
    }
  }

  /** Takes what the store holds for what there is. */
  reset(logs: readonly LogSnapshot[]): void {
    for (const snapshot of logs) this.at(snapshot.topic, snapshot.partition).reset(snapshot)
  }
}

/** Nearly always at the end: acknowledgements of one partition come nearly in order. */
function insert(offsets: number[], offset: number): void {
  let index = offsets.length
  while (index > 0 && offsets[index - 1]! > offset) index--
  if (index === offsets.length) offsets.push(offset)
  else offsets.splice(index, 0, offset)
}
