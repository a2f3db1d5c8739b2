import type { SendResult } from '../message.ts'

/**
 * Something of this environment that takes effect together with acknowledgements and outputs.
 *
 * All parts are checked first, then the outputs are taken and all parts are applied, in one synchronous stretch: so they
 * take effect together and go to disk in the same commit.
 */
export interface CommitPart {
  /** What it adds to the store, for which there must be room; nothing when it is left out. */
  readonly bytes?: number | undefined
  /** Changes nothing. @throws why it can't take effect, as `CONFLICT` or `FENCED` */
  check(): void
  /**
   * Takes effect in memory and has its rows written by the next commit; never throws after its check has passed.
   * `results` says where the outputs of the commit went, in their order.
   */
  apply(results: readonly SendResult[]): void
  /** Lets go of it, whether it took effect or not. Idempotent. */
  end?(): void
}
