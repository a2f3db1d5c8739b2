import type { PlantedEngine } from './planted-engine.ts'

/** Steps that lead to one planted bug, and what they show without it and with it. */
export interface Scene {
  readonly right: unknown
  readonly wrong: unknown
  play(engine: PlantedEngine): Promise<unknown>
}
