import { absentBit, align, at, checksum, flag, formatVersion, headerBytes, magic, StoredBatch } from './record-batch.ts'

/** What a sealed batch is stamped with. */
export interface BatchStamp {
  readonly partitionId: number
  readonly epoch: number
  readonly baseOffset: number
  readonly timestamp: number
  readonly bytesBefore: number
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
  readonly #text: boolean
  #valueTexts: string[] = []
  #staging: Buffer = Buffer.alloc(0)
  #staged = 0
  /** Ends of binary values within the staging memory; grows, and is used again. */
  #valueEnds = new Uint32Array(64)
  #keys: (string | undefined)[] = []
  #someKey = false
  #headers: (string | undefined)[] = []
  #someHeaders = false

  constructor(contentType: string, text: boolean) {
    this.#contentType = Buffer.from(contentType, 'latin1')
    this.#text = text
  }

  add(key: string | undefined, value: string | Uint8Array, headers: string | undefined): void {
    this.count++
    let size = value.length + 4
    if (this.#text) this.#valueTexts.push(value as string)
    else this.#stage(value as Uint8Array)
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
    const values = this.#text ? textSection(this.#valueTexts, ',') : undefined
    const valuesLength = values?.bytes ?? this.#staged
    const keys = this.#someKey ? textSection(this.#keys, '') : undefined
    const headers = this.#someHeaders ? textSection(this.#headers, '') : undefined
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

  #stage(value: Uint8Array): void {
    const end = this.#staged + value.length
    if (end > this.#staging.length) this.#grow(end)
    this.#staging.set(value, this.#staged)
    this.#staged = end
    if (this.count > this.#valueEnds.length) this.#growEnds()
    this.#valueEnds[this.count - 1] = end
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
    this.#valueTexts = []
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

/** Many strings as one: joined, measured and written in a single call each. The ends don't count the separator behind them. */
function textSection(pieces: readonly (string | undefined)[], separator: '' | ','): TextSection {
  const joined = pieces.join(separator)
  const bytes = Buffer.byteLength(joined, 'utf8')
  const ascii = bytes === joined.length
  return {
    bytes,
    ascii,
    write(encoded, start, ends, place, shift) {
      if (ascii) encoded.write(joined, start, 'latin1')
      else encoded.write(joined, start, 'utf8')
      let end = 0
      for (let i = 0; i < pieces.length; i++) {
        const piece = pieces[i]
        if (i > 0) end += separator.length
        if (piece !== undefined) end += ascii ? piece.length : Buffer.byteLength(piece, 'utf8')
        ends[place + i] = shift === 0 ? end : (end << shift) | (piece === undefined ? absentBit : 0)
      }
    },
  }
}
