import { QueueError } from '../errors.ts'

/** Places of one block. More make fewer rows, and longer ones, each written anew by every commit that adds to it. */
export const placesPerBlock = 512
/**
 * What two bits say of a place. `inRow`: there is a row of its own, since the work left a result or failed for good;
 * when that row's time is over the place is as one without a mark.
 */
export const marked = { not: 0, done: 1, inRow: 2 } as const

/** Who holds claims: the store that gave them. */
export interface ClaimHolder {
  /** Claims on places that go on. */
  claims: number
}

/** A claim on a place of a block. */
export interface HeldPlace {
  readonly holder: ClaimHolder
  release(): void
}

const bitBytes = placesPerBlock / 4
const headBytes = 17
/** What the first byte of a row is; rows of single marks begin with lower numbers. */
const blockKind = 3

/**
 * The marks of consecutive places, in memory, with the claims that go on there. They end together, when the last one that
 * was made has had its time.
 */
export class MarkBlock {
  readonly key: string
  /** The number of the block in its log. */
  readonly number: number
  readonly claims: Map<number, HeldPlace> = new Map()
  /** When the marks end, in milliseconds since 1970; 0 where there are none. */
  endsAt = 0
  /** When the index has it ending, which may be before its time; 0 where it is not there. */
  indexedAt = 0
  /** Whether the next commit writes it. */
  isChanged = false
  /** Nobody looks it up here any more: another may have taken its place. */
  isForgotten = false
  readonly #bits = new Uint8Array(bitBytes)

  constructor(key: string, number: number) {
    this.key = key
    this.number = number
  }

  /** What was stored. @throws `STORE_CORRUPT` */
  restore(stored: Uint8Array): void {
    const row = new DataView(stored.buffer, stored.byteOffset, stored.byteLength)
    if (!isBlock(stored) || stored.length !== headBytes + bitBytes) {
      const message = `a block of idempotency marks has kind ${stored[0]} and ${stored.length} bytes`
      throw new QueueError('STORE_CORRUPT', message)
    }
    this.endsAt = row.getFloat64(1, true)
    this.indexedAt = row.getFloat64(9, true)
    this.#bits.set(stored.subarray(headBytes))
  }

  /** As a row, copied: kind (u8), when its marks end, when the index has it (f64 each), two bits for each place. */
  encode(): Buffer {
    const row = Buffer.allocUnsafe(headBytes + bitBytes)
    row[0] = blockKind
    row.writeDoubleLE(this.endsAt, 1)
    row.writeDoubleLE(this.indexedAt, 9)
    row.set(this.#bits, headBytes)
    return row
  }

  /** One of {@link marked}, whether its time is over or not. */
  at(place: number): number {
    return (this.#bits[place >> 2]! >> ((place & 3) * 2)) & 3
  }

  set(place: number, mark: number): void {
    const shift = (place & 3) * 2
    this.#bits[place >> 2] = (this.#bits[place >> 2]! & ~(3 << shift)) | (mark << shift)
  }

  /** The time of its marks is over. Claims go on. */
  clear(): void {
    this.#bits.fill(0)
    this.endsAt = 0
  }
}

/** Whether a row is a block, and not the mark of one place. */
export function isBlock(stored: Uint8Array): boolean {
  return stored[0] === blockKind
}
