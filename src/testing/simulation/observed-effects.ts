import type { Broker, Effects } from '../../contracts/broker.ts'
import type { CommitPart } from '../../contracts/commit-part.ts'
import type { EffectSource } from '../history.ts'
import type { ObservedLife } from './observed-life.ts'

/**
 * Has effects tell when they are taken: between a first part and a last one everything belongs to `of`. They are parts
 * like all others, so what is told is the moment at which it takes effect, however long it waited for its turn.
 */
export function observedEffects(
  { outputs, parts }: Effects,
  of: EffectSource,
  sends: readonly number[],
  life: ObservedLife,
): Effects {
  const first: CommitPart = {
    check: () => {},
    apply: () => {
      life.taking = of
    },
  }
  const last: CommitPart = {
    check: () => {},
    apply: (results) => {
      life.taking = undefined
      const places = outputs.flatMap(({ topic, record: { key } }, i) => {
        const { partition, offset, duplicate } = results[i]!
        // What was there before is no part of it.
        return duplicate ? [] : [{ send: sends[i]!, topic: topic.name, partition, offset, key }]
      })
      life.note('accepted', { of, outputs: places })
    },
  }
  return { outputs, parts: [first, ...parts, last] }
}

/** Tells of every row of state that is written, by users and by the engine's own stores of marks. */
export function observeState({ state }: Broker, life: ObservedLife): void {
  if (state === undefined) return
  const write = state.write.bind(state)
  state.write = (space, key, value) => {
    write(space, key, value)
    life.note('state', { store: space.name, key, value: stateValue(value), of: life.taking })
  }
}

/** A value as histories have it: what JSON makes of it, or the bytes. */
export function stateValue(value: Uint8Array | undefined): unknown {
  if (value === undefined) return undefined
  const bytes = Buffer.from(value)
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    return bytes
  }
}
