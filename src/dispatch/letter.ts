import type { DeadLetterFacts } from '../dead-letter-facts.ts'
import type { CollectedEffects } from './collected-effects.ts'

/** Why a message goes to the dead letters. */
export interface Letter {
  readonly reason: DeadLetterFacts['reason']
  /** What its last attempt threw; undefined where that is not known, or nothing was thrown. */
  readonly error: unknown
  /** Set where its handler asked for it: what else it wants to happen. */
  readonly effects?: CollectedEffects | undefined
}

/** Why a handler wants its message in the dead letters. */
export function letterOf(effects: CollectedEffects): Letter {
  return { reason: effects.letter!, error: undefined, effects }
}
