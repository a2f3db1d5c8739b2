import { crc32c } from '@node-rs/crc32'
import { bytes, deepFreeze, json, type Codec } from '../codec.ts'
import type { RecordBatch } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import type { Headers } from '../message.ts'
import { readReserved, reservedHeader, startOf } from '../reserved-headers.ts'

/**
 * How a record batch looks on disk (docs/storage-format.md has the table):
 *
 * header (56 bytes) | content type | values | keys | headers | padding to 4 | ends of values, keys, headers (u32 each)
 *
 * Sections instead of one record after another: a reader that wants keys touches only keys, text sections are written
 * and read in one call, and the n-th record is found without walking the ones before.
 */
export const headerBytes = 56
export const magic = 0x4c
export const formatVersion = 1

/** Bits of the header's flags byte. With `separated`, one comma stands between two text values and belongs to neither. */
export const flag = { textValues: 1, asciiValues: 2, asciiKeys: 4, keys: 8, headers: 16, separated: 32 } as const

/** Places of the header's fields. */
export const at = {
  crc: 0,
  magic: 4,
  version: 5,
  flags: 6,
  contentTypeLength: 7,
  count: 8,
  epoch: 12,
  baseOffset: 16,
  timestamp: 24,
  bytesBefore: 32,
  valuesLength: 40,
  keysLength: 44,
  headersLength: 48,
  partitionId: 52,
} as const

/** The lowest bit of a stored end says that the field is absent: no key (or, in the values, a tombstone). */
export const absentBit = 1

export const noHeaders: Headers = Object.freeze({})

/** What the stored headers of a message begin with that is for one group only. */
const addressed = Buffer.from(startOf(reservedHeader.redrive))

/** JSON values that are parsed in one call when a batch is read in order; a call for each costs a quarter more. */
const valuesPerParse = 32
/** Where values are put between brackets; used and free again within one call. */
const scratch = Buffer.allocUnsafeSlow(65_536)
/** Binary values are copied out together up to this size; just small enough to come from Node's buffer pool. */
const copyBytes = 4000

/** The checksum covers everything behind its own field. */
export function checksum(encoded: Uint8Array): number {
  return crc32c(encoded.subarray(at.magic) as Buffer)
}

/** A batch of one partition over its encoded bytes. Immutable: what it hands out are copies or frozen values. */
export class StoredBatch implements RecordBatch {
  readonly count: number
  readonly baseOffset: number
  readonly nextOffset: number
  readonly bytes: number
  readonly timestamp: number
  /** Bytes that were ever appended to the partition before this batch: differences give sizes without a walk. */
  readonly bytesBefore: number
  readonly encoded: Buffer
  readonly contentType: string
  /** Whether every record was sent as `buffered`, so that it may be handed out before it is flushed. Not stored. */
  buffered = false
  readonly idPrefix: string
  readonly #flags: number
  readonly #valuesStart: number
  readonly #keysStart: number
  readonly #headersStart: number
  readonly #valueEnds: Uint32Array
  readonly #keyEnds: Uint32Array | undefined
  readonly #headerEnds: Uint32Array | undefined
  /** All keys as one string once one of them was asked for; only for ASCII keys. */
  #keyText: string | undefined
  /** Decoded values that several groups share, filled one by one. */
  #shared: unknown[] | undefined
  /** Values parsed ahead, of the records from `#aheadStart` on. */
  #ahead: unknown[] = []
  #aheadStart = 0
  /** A copy of the values section between these two places, from which single values are cut, each once. */
  #copy: Buffer | undefined
  #copyStart = 0
  #copyEnd = 0
  /** Below this everything of the copy was handed out. */
  #copyNext = 0

  constructor(encoded: Buffer) {
    this.encoded = encoded
    this.bytes = encoded.length
    this.count = encoded.readUInt32LE(at.count)
    this.baseOffset = encoded.readDoubleLE(at.baseOffset)
    this.nextOffset = this.baseOffset + this.count
    this.timestamp = encoded.readDoubleLE(at.timestamp)
    this.bytesBefore = encoded.readDoubleLE(at.bytesBefore)
    this.idPrefix = `${encoded.readUInt32LE(at.epoch)}.${encoded.readUInt32LE(at.partitionId)}.`
    this.#flags = encoded[at.flags]!
    this.contentType = encoded.toString('latin1', headerBytes, headerBytes + encoded[at.contentTypeLength]!)
    this.#valuesStart = headerBytes + encoded[at.contentTypeLength]!
    this.#keysStart = this.#valuesStart + encoded.readUInt32LE(at.valuesLength)
    this.#headersStart = this.#keysStart + encoded.readUInt32LE(at.keysLength)
    let ends = align(this.#headersStart + encoded.readUInt32LE(at.headersLength))
    const take = (): Uint32Array => {
      const view = wordsAt(encoded, ends, this.count)
      ends += this.count * 4
      return view
    }
    this.#valueEnds = take()
    this.#keyEnds = this.#flags & flag.keys ? take() : undefined
    this.#headerEnds = this.#flags & flag.headers ? take() : undefined
  }

  /**
   * Reads a batch back from disk.
   *
   * @throws `STORE_CORRUPT` when its checksum, its shape or its place is wrong.
   */
  static read(encoded: Buffer, partitionId: number, baseOffset: number): StoredBatch {
    const damage = damageOf(encoded, partitionId, baseOffset)
    if (damage === undefined) return new StoredBatch(encoded)
    throw new QueueError(
      'STORE_CORRUPT',
      `record batch ${partitionId}/${baseOffset} is damaged: ${damage}; run verify()`,
      {
        offset: baseOffset,
      },
    )
  }

  offsetAt(index: number): number {
    return this.baseOffset + index
  }

  timestampAt(_index: number): number {
    return this.timestamp
  }

  keyAt(index: number): string | undefined {
    const ends = this.#keyEnds
    if (ends === undefined) return undefined
    const word = ends[index]!
    if (word & absentBit) return undefined
    const start = index === 0 ? 0 : ends[index - 1]! >>> 1
    const end = word >>> 1
    if (!(this.#flags & flag.asciiKeys))
      return this.encoded.toString('utf8', this.#keysStart + start, this.#keysStart + end)
    this.#keyText ??= this.encoded.toString('latin1', this.#keysStart, this.#headersStart)
    return this.#keyText.substring(start, end)
  }

  headersAt(index: number): Headers {
    const ends = this.#headerEnds
    if (ends === undefined) return noHeaders
    const start = index === 0 ? 0 : ends[index - 1]!
    const end = ends[index]!
    if (start === end) return noHeaders
    const text = this.encoded.toString('utf8', this.#headersStart + start, this.#headersStart + end)
    return Object.freeze(JSON.parse(text) as Record<string, string>)
  }

  get hasHeaders(): boolean {
    return this.#headerEnds !== undefined
  }

  addresseeAt(index: number): string | undefined {
    const ends = this.#headerEnds
    if (ends === undefined) return undefined
    const start = this.#headersStart + (index === 0 ? 0 : ends[index - 1]!)
    const end = Math.min(start + addressed.length, this.#headersStart + ends[index]!)
    if (this.encoded.compare(addressed, 0, addressed.length, start, end) !== 0) return undefined
    const group = readReserved(this.headersAt(index), reservedHeader.redrive)?.['group']
    return typeof group === 'string' ? group : undefined
  }

  valueAt(index: number, codec: Codec<unknown>): unknown {
    const shared = this.#shared
    if (shared === undefined || !codec.shared) return this.#decode(index, codec)
    if (index in shared) return shared[index]
    return (shared[index] = this.#decode(index, codec))
  }

  valueBytesAt(index: number): Buffer {
    const { start, end } = this.#valueRange(index)
    return Buffer.from(this.encoded.subarray(start, end))
  }

  /** From here on every value is decoded once and handed to all who ask. Only for codecs whose values are frozen. */
  shareValues(): void {
    this.#shared ??= []
  }

  /** Forgets the decoded values; the encoded ones stay. */
  dropSharedValues(): void {
    this.#shared = undefined
  }

  #valueRange(index: number): { start: number; end: number } {
    return { start: this.#valueStart(index), end: this.#valuesStart + (this.#valueEnds[index]! >>> 1) }
  }

  #valueStart(index: number): number {
    if (index === 0) return this.#valuesStart
    return this.#valuesStart + (this.#valueEnds[index - 1]! >>> 1) + (this.#flags & flag.separated ? 1 : 0)
  }

  #decode(index: number, codec: Codec<unknown>): unknown {
    const start = this.#valueStart(index)
    const end = this.#valuesStart + (this.#valueEnds[index]! >>> 1)
    try {
      if (codec === json && this.#flags & flag.separated) return deepFreeze(this.#parse(index, start))
      if (codec === (bytes as Codec<unknown>)) return this.#cut(start, end)
      if (codec.format === 'binary') return codec.decode(this.encoded.subarray(start, end) as never)
      const value = codec.decode(this.#text(start, end) as never)
      return codec.shared ? deepFreeze(value) : value
    } catch (cause) {
      throw new QueueError(
        'DECODING_FAILED',
        `the value at offset ${this.baseOffset + index} is not ${codec.contentType}: ${String(cause)}`,
        { offset: this.baseOffset + index, cause },
      )
    }
  }

  #text(start: number, end: number): string {
    return this.encoded.toString(this.#flags & flag.asciiValues ? 'latin1' : 'utf8', start, end)
  }

  /** Parses a run of values at once when they are asked for in order; a single one otherwise. */
  #parse(index: number, start: number): unknown {
    const place = index - this.#aheadStart
    if (place > 0 && place < this.#ahead.length) return this.#ahead[place]
    const isNext = index === 0 || place === this.#ahead.length
    const run = isNext ? this.#parseRun(index, start) : undefined
    this.#ahead = run ?? [JSON.parse(this.#text(start, this.#valuesStart + (this.#valueEnds[index]! >>> 1)))]
    this.#aheadStart = index
    return this.#ahead[0]
  }

  /** Undefined when the values are not one JSON text each: a foreign codec wrote them, and one must not spoil the others. */
  #parseRun(index: number, start: number): unknown[] | undefined {
    const end = Math.min(this.count, index + valuesPerParse)
    try {
      const text = this.#arrayText(start, this.#valuesStart + (this.#valueEnds[end - 1]! >>> 1))
      const values = JSON.parse(text) as unknown[]
      return values.length === end - index ? values : undefined
    } catch {
      return undefined
    }
  }

  /** Values as the text of one array. The brackets are put around bytes: around a string they would cost another copy. */
  #arrayText(start: number, end: number): string {
    const length = end - start
    if (length + 2 > scratch.length) return `[${this.#text(start, end)}]`
    scratch[0] = 0x5b
    this.encoded.copy(scratch, 1, start, end)
    scratch[length + 1] = 0x5d
    return scratch.toString(this.#flags & flag.asciiValues ? 'latin1' : 'utf8', 0, length + 2)
  }

  /** A copy of a binary value of its own. Values next to each other are copied in one go. */
  #cut(start: number, end: number): Buffer {
    // Another group, or another attempt: what was handed out before may have been changed since.
    if (start < this.#copyNext) return Buffer.from(this.encoded.subarray(start, end))
    this.#copyNext = end
    if (this.#copy === undefined || end > this.#copyEnd) {
      this.#copyStart = start
      this.#copyEnd = Math.max(end, Math.min(start + copyBytes, this.#keysStart))
      this.#copy = Buffer.allocUnsafe(this.#copyEnd - start)
      this.encoded.copy(this.#copy, 0, start, this.#copyEnd)
    }
    return this.#copy.subarray(start - this.#copyStart, end - this.#copyStart)
  }
}

/** What is wrong with the bytes of a batch, in words; `undefined` when nothing is. */
export function damageOf(encoded: Buffer, partitionId: number, baseOffset: number): string | undefined {
  if (encoded.length < headerBytes) return `${encoded.length} bytes are too few for a header`
  if (encoded[at.magic] !== magic) return `magic is ${encoded[at.magic]}`
  if (encoded[at.version] !== formatVersion) return `format version is ${encoded[at.version]}`
  if (encoded.readUInt32LE(at.crc) !== checksum(encoded)) return 'checksum does not match'
  if (encoded.readUInt32LE(at.partitionId) !== partitionId) return 'it belongs to another partition'
  if (encoded.readDoubleLE(at.baseOffset) !== baseOffset) return 'it belongs to another offset'
  return undefined
}

/** The next multiple of four, where 32-bit words may start. */
export function align(position: number): number {
  return (position + 3) & ~3
}

/** `count` little-endian words of a buffer, in place where alignment allows it. */
function wordsAt(encoded: Buffer, start: number, count: number): Uint32Array {
  const place = encoded.byteOffset + start
  if (place % 4 === 0) return new Uint32Array(encoded.buffer as ArrayBuffer, place, count)
  const copy = new Uint32Array(count)
  Buffer.from(copy.buffer).set(encoded.subarray(start, start + count * 4))
  return copy
}
