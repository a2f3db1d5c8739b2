import type { RememberedError } from '../contracts/idempotency-store.ts'
import { QueueError } from '../errors.ts'

/** A mark as a row of the store. */
export interface MarkRow {
  readonly fence: number
  /** When it ends, in milliseconds since 1970. */
  readonly endsAt: number
  readonly fingerprint: string | undefined
  readonly mark:
    | { readonly outcome: 'done'; readonly result: Uint8Array | undefined }
    | { readonly outcome: 'failed'; readonly error: RememberedError }
}

const kinds = { done: 0, doneWithResult: 1, failed: 2 } as const
const headBytes = 19

/** Kind (u8), fence and end (f64 each), length of the fingerprint (u16, one more than it is, 0 for none), it, and the rest. */
export function encodeMark({ fence, endsAt, fingerprint, mark }: MarkRow): Buffer {
  const rest = restOf(mark)
  const nameBytes = fingerprint === undefined ? 0 : Buffer.byteLength(fingerprint)
  const row = Buffer.allocUnsafe(headBytes + nameBytes + rest.length)
  row[0] = mark.outcome === 'failed' ? kinds.failed : mark.result === undefined ? kinds.done : kinds.doneWithResult
  row.writeDoubleLE(fence, 1)
  row.writeDoubleLE(endsAt, 9)
  row.writeUInt16LE(fingerprint === undefined ? 0 : nameBytes + 1, 17)
  if (fingerprint !== undefined) row.write(fingerprint, headBytes)
  row.set(rest, headBytes + nameBytes)
  return row
}

/** @throws `STORE_CORRUPT` */
export function decodeMark(stored: Uint8Array): MarkRow {
  const row = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
  const kind = row[0]
  const isKnown = kind === kinds.done || kind === kinds.doneWithResult || kind === kinds.failed
  if (!isKnown || row.length < headBytes) {
    throw new QueueError('STORE_CORRUPT', `an idempotency mark has kind ${kind} and ${row.length} bytes`)
  }
  const nameLength = row.readUInt16LE(17)
  const restStart = headBytes + Math.max(0, nameLength - 1)
  const fingerprint = nameLength === 0 ? undefined : row.toString('utf8', headBytes, restStart)
  const rest = row.subarray(restStart)
  const mark =
    kind === kinds.failed
      ? ({ outcome: 'failed', error: JSON.parse(rest.toString()) as RememberedError } as const)
      : ({ outcome: 'done', result: kind === kinds.done ? undefined : new Uint8Array(rest) } as const)
  return { fence: row.readDoubleLE(1), endsAt: row.readDoubleLE(9), fingerprint, mark }
}

const nothing = new Uint8Array(0)

function restOf(mark: MarkRow['mark']): Uint8Array {
  if (mark.outcome === 'failed') return Buffer.from(JSON.stringify(mark.error))
  return mark.result ?? nothing
}
