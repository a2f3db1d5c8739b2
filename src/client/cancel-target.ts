import type { DeliveredEntry } from '../dispatch/delivered-entry.ts'
import { custom, integer, invalid, resolveOptions } from '../options.ts'

/** Which running handler calls {@link Subscription.cancel} is about: those with a message of a key, or with one message. */
export type CancelTarget =
  | { readonly key: string }
  | {
      /** @defaultValue every topic of the subscription */
      readonly topic?: string
      readonly partition: number
      readonly offset: number
    }

interface TargetFacts {
  readonly key?: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
}

export interface ResolvedCancelTarget {
  readonly matches: (entry: DeliveredEntry) => boolean
  readonly facts: TargetFacts
  /** In words. */
  readonly text: string
}

/** @throws `INVALID_OPTION` */
export function resolveCancelTarget(target: CancelTarget): ResolvedCancelTarget {
  const where = 'cancel'
  const text = custom<string>('text', (value) => typeof value === 'string')
  const fields = { key: text, topic: text, partition: integer(0, 4095), offset: integer(0, Number.MAX_SAFE_INTEGER) }
  const facts = resolveOptions<TargetFacts>(target, fields, where)
  const { key, topic, partition, offset } = facts
  if (key !== undefined && Object.keys(facts).length === 1) {
    return { matches: (entry) => entry.key === key, facts, text: `key ${key}` }
  }
  if (key !== undefined || partition === undefined || offset === undefined) {
    throw invalid(where, 'target', target, 'either { key } or { partition, offset } with or without topic')
  }
  const matches = ({ offset: other, intake: { assignment } }: DeliveredEntry): boolean => {
    if (other !== offset || assignment.partition !== partition) return false
    return topic === undefined || assignment.topic.name === topic
  }
  return { matches, facts, text: `offset ${offset} of ${topic ?? 'partition'}${topic ? '/' : ' '}${partition}` }
}
