import type { CommitPart } from '../contracts/commit-part.ts'
import type { LocalClaim, RememberedError } from '../contracts/idempotency-store.ts'

/** Marks by key, and the claims on them by their fences. */
export interface KeyMarks {
  completion(key: string, fence: number, result: Uint8Array | undefined, ttlMs: number): CommitPart
  failure(key: string, fence: number, error: RememberedError, ttlMs: number): CommitPart
  release(key: string, fence: number): void
}

/** A claim on a key by a subscription, with the part of a commit that ends it. */
export class KeyClaim implements LocalClaim {
  readonly outcome = 'acquired'
  readonly #marks: KeyMarks
  readonly #key: string
  readonly #fence: number

  constructor(marks: KeyMarks, key: string, fence: number) {
    this.#marks = marks
    this.#key = key
    this.#fence = fence
  }

  completion(result: Uint8Array | undefined, ttlMs: number): CommitPart {
    return this.#ending(this.#marks.completion(this.#key, this.#fence, result, ttlMs))
  }

  failure(error: RememberedError, ttlMs: number): CommitPart {
    return this.#ending(this.#marks.failure(this.#key, this.#fence, error, ttlMs))
  }

  release(): void {
    this.#marks.release(this.#key, this.#fence)
  }

  /** No lease ends the claim, so the part does, whatever becomes of it. */
  #ending(part: CommitPart): CommitPart {
    return { ...part, end: () => this.release() }
  }
}
