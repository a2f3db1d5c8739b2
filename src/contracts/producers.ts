import type { CommitPart } from './commit-part.ts'

/** Where a send with a sequence went. Of a batch: its first message. */
export interface SequencedPlace {
  readonly sequence: number
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
}

/**
 * What a session knows of a sequence: it is `new`; it is a `duplicate` of what was accepted, whose place may not be known
 * any more; or it is `late`: it was never accepted, but greater ones were.
 */
export type SequenceFinding =
  { readonly kind: 'new' | 'late' } | { readonly kind: 'duplicate'; readonly place: SequencedPlace | undefined }

/** One opening of a producer's name. Who opens the name again fences it. */
export interface ProducerSession {
  readonly name: string
  /** Rises with every opening of the name, over restarts too. */
  readonly epoch: number
  /** The last send with a sequence that was accepted under this name, in this life or an earlier one. */
  readonly last: SequencedPlace | undefined
  find(sequence: number): SequenceFinding
  /**
   * Goes into every commit that is made under the name. With a sequence that is new, it becomes the last one.
   *
   * Its check throws `FENCED` once the name was opened again.
   */
  part(sequence?: number): CommitPart
  /** Lets go of the name, which stays known. Idempotent. */
  close(): void
}

/** Who sends under which name. */
export interface Producers {
  /** Raises the epoch of a name; it is stored when this settles, and older sessions are fenced at once. */
  open(name: string): Promise<ProducerSession>
}
