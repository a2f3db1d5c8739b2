import type { Runtime } from '../runtime/runtime.ts'
import type { Broker } from './broker.ts'
import type { CommitPart } from './commit-part.ts'

/** What lies beneath a queue, for what is built into the same environment. */
export interface Environment {
  readonly broker: Broker
  readonly runtime: Runtime
}

/** A queue, as those see it who build on its environment. */
export interface EnvironmentOwner {
  /** @internal */
  readonly environment: Environment
}

/** A handler's context or a transaction, as those see it who add to its commit. */
export interface Joinable {
  /** Has a part take effect with the rest, or not at all. @internal */
  join(part: CommitPart): void
}
