import { absentBit, align, at, checksum, flag, formatVersion, headerBytes, magic, StoredBatch } from './record-batch.ts'

/** What a sealed batch is stamped with. */
export interface BatchStamp {
  readonly partitionId: number
  readonly epoch: number
  readonly baseOffset: number
  readonly timestamp: number
  readonly bytesBefore: number
}

/** A record as the builder takes it; see {@link EncodedRecord}. */
export interface BuilderRecord {
  readonly key: string | undefined
  readonly value: string | Uint8Array
  readonly start: number
  readonly end: number
  readonly headers: string | undefined
}

/**
 * Gathers the records of one partition until they are sealed into a batch.
 *
 * Text stays in pieces and is written in one call at the end; bytes are copied at once, so that the caller may change
 * its buffer right after `send` returns. The staging memory is used again for the next batch.
 */
export class BatchBuilder {
  /** Records gathered since the last seal. */
  count = 0
  /** Estimate of the encoded size, exact for ASCII; decides when to seal. */
  bytes = 0
  /** Whether every record gathered so far was sent as `buffered`. */
  buffered = true
  readonly #contentType: Buffer
  /** Whether the values gathered are text; of a text topic too, bytes that were moved there stay bytes. */
  #text = false
  readonly #texts = new TextRuns()
  #staging: Buffer = Buffer.alloc(0)
  #staged = 0
  /** Where each value ends, in bytes of the staging memory or characters of the text; grows, and is used again. */
  #valueEnds = new Uint32Array(64)
  #keys: (string | undefined)[] = []
  #someKey = false
  #headers: (string | undefined)[] = []
  #someHeaders = false

  constructor(contentType: string) {
    this.#contentType = Buffer.from(contentType, 'latin1')
  }

  /** Whether a value may join those gathered: text and bytes don't share a batch. */
  takes(value: string | Uint8Array): boolean {
    return this.count === 0 || (typeof value === 'string') === this.#text
  }

  /** Only what {@link BatchBuilder.takes}. */
  add(record: BuilderRecord): void {
    const { key, value, start, end, headers } = record
    if (this.count === 0) this.#text = typeof value === 'string'
    if (++this.count > this.#valueEnds.length) this.#growEnds()
    let size = end - start + 5
    if (this.#text) this.#valueEnds[this.count - 1] = this.#texts.add(value as string, start, end)
    else this.#valueEnds[this.count - 1] = this.#stage(value as Uint8Array)
    if (key !== undefined) {
      if (!this.#someKey) this.#openKeys()
      this.#keys.push(key)
      size += key.length + 4
    } else if (this.#someKey) this.#keys.push(undefined)
    if (headers !== undefined) {
      if (!this.#someHeaders) this.#openHeaders()
      this.#headers.push(headers)
      size += headers.length + 4
    } else if (this.#someHeaders) this.#headers.push(undefined)
    this.bytes += size
  }

  /** Turns what was gathered into a batch and starts anew. */
  seal(stamp: BatchStamp): StoredBatch {
    const { count } = this
    const values = this.#text ? joinedSection(this.#texts.take(), this.#valueEnds.subarray(0, count)) : undefined
    const valuesLength = values?.bytes ?? this.#staged
    const keys = this.#someKey ? textSection(this.#keys) : undefined
    const headers = this.#someHeaders ? textSection(this.#headers) : undefined
    const valuesStart = headerBytes + this.#contentType.length
    const keysStart = valuesStart + valuesLength
    const headersStart = keysStart + (keys?.bytes ?? 0)
    const endsStart = align(headersStart + (headers?.bytes ?? 0))
    const columns = 1 + (keys ? 1 : 0) + (headers ? 1 : 0)
    const encoded = Buffer.allocUnsafeSlow(endsStart + columns * count * 4)
    const ends = new Uint32Array(encoded.buffer, endsStart, columns * count)

    this.#contentType.copy(encoded, headerBytes)
    if (values) values.write(encoded, valuesStart, ends, 0, 1)
    else this.#writeStaged(encoded, valuesStart, ends)
    keys?.write(encoded, keysStart, ends, count, 1)
    headers?.write(encoded, headersStart, ends, count * (keys ? 2 : 1), 0)
    encoded.fill(0, headersStart + (headers?.bytes ?? 0), endsStart)

    encoded[at.magic] = magic
    encoded[at.version] = formatVersion
    encoded[at.flags] =
      (this.#text ? flag.textValues | flag.separated : 0) |
      (values?.ascii ? flag.asciiValues : 0) |
      (keys ? flag.keys : 0) |
      (keys?.ascii ? flag.asciiKeys : 0) |
      (headers ? flag.headers : 0)
    encoded[at.contentTypeLength] = this.#contentType.length
    encoded.writeUInt32LE(count, at.count)
    encoded.writeUInt32LE(stamp.epoch, at.epoch)
    encoded.writeDoubleLE(stamp.baseOffset, at.baseOffset)
    encoded.writeDoubleLE(stamp.timestamp, at.timestamp)
    encoded.writeDoubleLE(stamp.bytesBefore, at.bytesBefore)
    encoded.writeUInt32LE(valuesLength, at.valuesLength)
    encoded.writeUInt32LE(keys?.bytes ?? 0, at.keysLength)
    encoded.writeUInt32LE(headers?.bytes ?? 0, at.headersLength)
    encoded.writeUInt32LE(stamp.partitionId, at.partitionId)
    encoded.writeUInt32LE(checksum(encoded), at.crc)

    const batch = new StoredBatch(encoded)
    batch.buffered = this.buffered
    this.#reset()
    return batch
  }

  #stage(value: Uint8Array): number {
    const end = this.#staged + value.length
    if (end > this.#staging.length) this.#grow(end)
    this.#staging.set(value, this.#staged)
    return (this.#staged = end)
  }

  #growEnds(): void {
    const larger = new Uint32Array(this.#valueEnds.length * 2)
    larger.set(this.#valueEnds)
    this.#valueEnds = larger
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#staging.length * 2, 4096))
    this.#staging.copy(larger, 0, 0, this.#staged)
    this.#staging = larger
  }

  #writeStaged(encoded: Buffer, start: number, ends: Uint32Array): void {
    this.#staging.copy(encoded, start, 0, this.#staged)
    const valueEnds = this.#valueEnds
    for (let i = 0; i < this.count; i++) ends[i] = valueEnds[i]! << 1
  }

  /** Keys are rare or everywhere: the list is begun with the first one, and those before get none. */
  #openKeys(): void {
    this.#someKey = true
    this.#keys = new Array<string | undefined>(this.count - 1).fill(undefined)
  }

  #openHeaders(): void {
    this.#someHeaders = true
    this.#headers = new Array<string | undefined>(this.count - 1).fill(undefined)
  }

  #reset(): void {
    this.count = 0
    this.bytes = 0
    this.buffered = true
    this.#staged = 0
    if (this.#staging.length > retainedStagingBytes) this.#staging = Buffer.alloc(0)
    this.#keys = []
    this.#someKey = false
    this.#headers = []
    this.#someHeaders = false
  }
}

/** Staging memory above this size is given back after a seal: one huge message must not pin it for ever. */
const retainedStagingBytes = 262_144

interface TextSection {
  readonly bytes: number
  readonly ascii: boolean
  /** Writes the text at `start` and the end of each piece, shifted left by `shift` bits, into `ends` from `place` on. */
  write(encoded: Buffer, start: number, ends: Uint32Array, place: number, shift: number): void
}

/** Keys or headers as one text: joined, measured and written in a single call each. */
function textSection(pieces: readonly (string | undefined)[]): TextSection {
  const joined = pieces.join('')
  const bytes = Buffer.byteLength(joined, 'utf8')
  const ascii = bytes === joined.length
  return {
    bytes,
    ascii,
    write(encoded, start, ends, place, shift) {
      encoded.write(joined, start, ascii ? 'latin1' : 'utf8')
      let end = 0
      for (let i = 0; i < pieces.length; i++) {
        const piece = pieces[i]
        if (piece !== undefined) end += ascii ? piece.length : Buffer.byteLength(piece, 'utf8')
        ends[place + i] = shift === 0 ? end : (end << shift) | (piece === undefined ? absentBit : 0)
      }
    },
  }
}

/** Values as one text, a comma between two of them; `textEnds` says where each ends, in characters. */
function joinedSection(joined: string, textEnds: Uint32Array): TextSection {
  const bytes = Buffer.byteLength(joined, 'utf8')
  const ascii = bytes === joined.length
  return {
    bytes,
    ascii,
    write(encoded, start, ends, place, shift) {
      encoded.write(joined, start, ascii ? 'latin1' : 'utf8')
      let end = 0
      let textStart = 0
      for (let i = 0; i < textEnds.length; i++) {
        const textEnd = textEnds[i]!
        if (ascii) end = textEnd
        else end += Buffer.byteLength(joined.substring(textStart, textEnd), 'utf8') + (i > 0 ? 1 : 0)
        textStart = textEnd + 1
        ends[place + i] = end << shift
      }
    },
  }
}

/**
 * Texts to be joined with a comma between two of them. Pieces of one text that follow each other with just that comma
 * between them stay one piece, so a batch that came from one call of `JSON.stringify` is not cut up and put together again.
 */
class TextRuns {
  #pieces: string[] = []
  #text = ''
  #start = 0
  #end = -1
  /** Characters so far, commas included. */
  #length = -1

  /** Adds a piece; returns where it ends in the joined text. */
  add(text: string, start: number, end: number): number {
    if (text === this.#text && start === this.#end + 1 && this.#end >= 0) this.#end = end
    else {
      this.#close()
      this.#text = text
      this.#start = start
      this.#end = end
    }
    return (this.#length += end - start + 1)
  }

  take(): string {
    this.#close()
    const joined = this.#pieces.length === 1 ? this.#pieces[0]! : this.#pieces.join(',')
    this.#pieces = []
    this.#text = ''
    this.#end = -1
    this.#length = -1
    return joined
  }

  #close(): void {
    if (this.#end < 0) return
    const isWhole = this.#start === 0 && this.#end === this.#text.length
    this.#pieces.push(isWhole ? this.#text : this.#text.substring(this.#start, this.#end))
  }
}
