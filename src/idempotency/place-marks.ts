import type { LocalOutcome, PlaceMarks } from '../contracts/idempotency-store.ts'
import { marked, placesPerBlock, type ClaimHolder, type MarkBlock } from './mark-block.ts'
import type { MarkBlocks } from './mark-blocks.ts'
import { PlaceClaim } from './place-claim.ts'

/** How long someone waits who finds a place that is worked on. */
const lookAgainMs = 1_000
/** Logs of which the block that was used last is at hand. */
const mostLogs = 1_024

const done: LocalOutcome = Object.freeze({ outcome: 'done', result: undefined })
const busy: LocalOutcome = Object.freeze({ outcome: 'busy', retryAfterMs: lookAgainMs, owner: '' })

/** The marks by place that one group makes. */
export class GroupPlaceMarks implements PlaceMarks {
  readonly #group: string
  readonly #blocks: MarkBlocks
  readonly #holder: ClaimHolder
  readonly #makeRoom: () => void
  /** The block that was used last of each log: mostly the next message falls into it, too. */
  readonly #last = new Map<string, MarkBlock>()

  /** `makeRoom` throws when there is no room for another claim. */
  constructor(group: string, blocks: MarkBlocks, holder: ClaimHolder, makeRoom: () => void) {
    this.#group = group
    this.#blocks = blocks
    this.#holder = holder
    this.#makeRoom = makeRoom
  }

  begin(origin: string, offset: number): LocalOutcome {
    const number = Math.floor(offset / placesPerBlock)
    const place = offset - number * placesPerBlock
    const block = this.#blockOf(origin, number)
    const mark = this.#blocks.at(block, place)
    if (mark === marked.done) return done
    if (mark === marked.inRow) {
      const found = this.#blocks.rowOf(block, place)
      if (found !== undefined) return found
    }
    if (block.claims.has(place)) return busy
    this.#makeRoom()
    return new PlaceClaim(this.#holder, this.#blocks, block, place)
  }

  #blockOf(origin: string, number: number): MarkBlock {
    const last = this.#last.get(origin)
    if (last !== undefined && last.number === number && !last.isForgotten) return last
    const block = this.#blocks.find(this.#group, origin, number)
    // Every life of the process writes under a name of its own.
    if (last === undefined && this.#last.size >= mostLogs) this.#last.clear()
    this.#last.set(origin, block)
    return block
  }
}
