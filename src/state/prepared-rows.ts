import type { CheckState, DuePrepared, NewPrepared, PreparedRef, PreparedUsage } from '../contracts/prepared.ts'

/**
 * Rows of prepared messages; docs/storage-format.md has them as tables. All keys begin with the producer: the length of
 * its name (u16) and the name.
 */

/** What follows the producer in a key of a prepared message: what kind of row it is comes last. */
const refBytes = 12
const kind = { state: 0, content: 1 } as const

/** The last byte of a key of a row with content. */
export const contentKind: number = kind.content

/** How much the producer has prepared. */
export function usageKey(producer: string): Buffer {
  const length = Buffer.byteLength(producer)
  const key = Buffer.allocUnsafe(2 + length)
  key.writeUInt16BE(length)
  key.write(producer, 2)
  return key
}

export function preparedKey(ref: PreparedRef, which: keyof typeof kind): Buffer {
  const tail = Buffer.allocUnsafe(refBytes + 1)
  writeRef(tail, 0, ref)
  tail[refBytes] = kind[which]
  return Buffer.concat([usageKey(ref.producer), tail])
}

/** In the other space: when a message is due, with the message. */
export function dueKey({ ref, dueAt }: DuePrepared): Buffer {
  const tail = Buffer.allocUnsafe(6 + refBytes)
  tail.writeUIntBE(dueAt, 0, 6)
  writeRef(tail, 6, ref)
  return Buffer.concat([usageKey(ref.producer), tail])
}

/** All keys of one producer but that of its usage, in either space. */
export function rangeOf(producer: string): { from: Buffer; to: Buffer } {
  const prefix = usageKey(producer)
  return { from: Buffer.concat([prefix, Buffer.of(0)]), to: Buffer.concat([prefix, Buffer.alloc(20, 0xff)]) }
}

/** The message in a {@link preparedKey}. */
export function refIn(producer: string, key: Uint8Array): PreparedRef {
  return readRef(producer, bytesOf(key), key.length - refBytes - 1)
}

/** Whose row it is, with the message unless it is the producer's usage. */
export function preparedIn(key: Uint8Array): { readonly producer: string; readonly ref: PreparedRef | undefined } {
  const bytes = bytesOf(key)
  const end = 2 + bytes.readUInt16BE(0)
  const producer = bytes.toString('utf8', 2, end)
  return { producer, ref: bytes.length === end ? undefined : readRef(producer, bytes, end) }
}

/** The message and the time in a {@link dueKey}; how often it was asked about is its value. */
export function dueIn(producer: string, key: Uint8Array, value: Uint8Array): DuePrepared {
  const bytes = bytesOf(key)
  const at = bytes.length - refBytes
  const dueAt = bytes.readUIntBE(at - 6, 6)
  return { ref: readRef(producer, bytes, at), dueAt, checks: bytesOf(value).readUInt32LE(0) }
}

export function encodeDue({ checks }: CheckState): Buffer {
  const value = Buffer.allocUnsafe(4)
  value.writeUInt32LE(checks)
  return value
}

export function encodeUsage({ count, bytes }: PreparedUsage): Buffer {
  const value = Buffer.allocUnsafe(16)
  value.writeDoubleLE(count, 0)
  value.writeDoubleLE(bytes, 8)
  return value
}

export function decodeUsage(row: Uint8Array | undefined): PreparedUsage {
  if (row === undefined) return { count: 0, bytes: 0 }
  const value = bytesOf(row)
  return { count: value.readDoubleLE(0), bytes: value.readDoubleLE(8) }
}

/** What changes of a prepared message, and what is counted of it. */
export interface StateRow extends CheckState {
  /** Bytes of the row with its content. */
  readonly bytes: number
}

export function encodeState({ dueAt, bytes, checks }: StateRow): Buffer {
  const value = Buffer.allocUnsafe(20)
  value.writeDoubleLE(dueAt, 0)
  value.writeDoubleLE(bytes, 8)
  value.writeUInt32LE(checks, 16)
  return value
}

export function decodeState(row: Uint8Array): StateRow {
  const value = bytesOf(row)
  return { dueAt: value.readDoubleLE(0), bytes: value.readDoubleLE(8), checks: value.readUInt32LE(16) }
}

/** The head of a row with content, as JSON in front of the value. */
interface ContentHead {
  readonly topic: string
  readonly contentType: string
  readonly text: boolean
  readonly preparedAt: number
  readonly partition: number
  readonly key?: string | undefined
  readonly headers?: string | undefined
}

/** How a topic stores its values. */
export type ContentFormat = Pick<ContentHead, 'contentType' | 'text'>

/** What a prepared message holds. */
export interface ContentRow extends ContentHead {
  readonly value: Uint8Array
}

export function encodeContent(message: NewPrepared, { contentType, text }: ContentFormat): Buffer {
  const { topic, record, preparedAt } = message
  const { partition, key, headers, value, start, end } = record
  const head = Buffer.from(JSON.stringify({ topic, contentType, text, preparedAt, partition, key, headers }))
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32LE(head.length)
  const content = typeof value === 'string' ? Buffer.from(value.slice(start, end)) : value.subarray(start, end)
  return Buffer.concat([length, head, content])
}

export function decodeContent(row: Uint8Array): ContentRow {
  const bytes = bytesOf(row)
  const end = 4 + bytes.readUInt32LE(0)
  return { ...(JSON.parse(bytes.toString('utf8', 4, end)) as ContentHead), value: bytes.subarray(end) }
}

function writeRef(key: Buffer, at: number, { epoch, number }: PreparedRef): void {
  key.writeUIntBE(epoch, at, 6)
  key.writeUIntBE(number, at + 6, 6)
}

function readRef(producer: string, key: Buffer, at: number): PreparedRef {
  return { producer, epoch: key.readUIntBE(at, 6), number: key.readUIntBE(at + 6, 6) }
}

function bytesOf(array: Uint8Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}
