import { json, type Codec } from '../codec.ts'
import type { EncodedRecord } from '../contracts/broker.ts'
import { QueueError } from '../errors.ts'
import { stringifyMany, type JsonTexts } from '../json-batch.ts'
import type { OutgoingMessage } from '../message.ts'
import { isObject, show } from '../options.ts'
import { partitionOf } from '../partitioner.ts'
import { reservedPrefix, withId } from '../reserved-headers.ts'
import type { StandardSchema } from '../schema.ts'

export interface MessageLimits {
  readonly maxValueBytes: number
  readonly maxKeyBytes: number
  readonly maxHeadersBytes: number
}

/** Longest id, in UTF-8 bytes: so its length fits into a byte of the store. */
const maxIdBytes = 256

/** Bytes of messages without a key that go to one partition before the next one has its turn. */
const stickyBytes = 131_072

/**
 * Checks messages, encodes them and chooses their partition.
 *
 * @remarks Semantics: Kafka's default partitioner: the given partition, else murmur2 of the key, else a partition that
 * sticks until a batch's worth of bytes went there (KIP-480).
 */
export class MessageEncoder<V> {
  readonly #topic: string
  readonly #partitions: number
  readonly #codec: Codec<unknown>
  readonly #limits: MessageLimits
  readonly #schema: StandardSchema<V> | undefined
  #sticky = 0
  #stuckBytes = 0

  constructor(
    topic: string,
    partitions: number,
    codec: Codec<unknown>,
    limits: MessageLimits,
    schema: StandardSchema<V> | undefined,
  ) {
    this.#topic = topic
    this.#partitions = partitions
    this.#codec = codec
    this.#limits = limits
    this.#schema = schema
  }

  /** @throws `INVALID_MESSAGE`, `MESSAGE_TOO_LARGE`, `VALIDATION_FAILED`, `ENCODING_FAILED` */
  encode(message: OutgoingMessage<V>): EncodedRecord {
    this.#checkFields(message)
    const { key } = message
    const headers = this.#encodeHeaders(message.headers)
    const value = this.#encodeValue(this.#schema ? this.#validated(message.value) : message.value)
    this.#checkEncoded(value)
    const end = value.length
    const partition = this.#partition(message.partition, key, end)
    if (message.id === undefined) return { partition, key, value, start: 0, end, headers, id: undefined }
    return { partition, key, value, start: 0, end, headers: withId(headers, message.id), id: message.id }
  }

  /** As {@link MessageEncoder.encode}, for many; all are checked before any is returned. */
  encodeAll(messages: readonly OutgoingMessage<V>[]): EncodedRecord[] {
    const records = new Array<EncodedRecord>(messages.length)
    const texts = this.#codec === json && !this.#schema ? stringifyMany(valuesOf(messages)) : undefined
    if (texts) for (let i = 0; i < messages.length; i++) records[i] = this.#slice(messages[i]!, texts, i)
    else for (let i = 0; i < messages.length; i++) records[i] = this.encode(messages[i]!)
    return records
  }

  /** A record whose value has been encoded already, among others. */
  #slice(message: OutgoingMessage<V>, texts: JsonTexts, index: number): EncodedRecord {
    this.#checkFields(message)
    const { key } = message
    const headers = this.#encodeHeaders(message.headers)
    const value = texts.textAt(index)
    const start = texts.startAt(index)
    const end = texts.endAt(index)
    const length = end - start
    if (length * 3 > this.#limits.maxValueBytes) this.#checkSize(Buffer.byteLength(value.substring(start, end)))
    const partition = this.#partition(message.partition, key, length)
    if (message.id === undefined) return { partition, key, value, start, end, headers, id: undefined }
    return { partition, key, value, start, end, headers: withId(headers, message.id), id: message.id }
  }

  #checkFields(message: OutgoingMessage<V>): void {
    if (!isObject(message)) throw this.#refuse('message', message, '{ key, value, headers, partition, id }')
    for (const name in message) {
      if (name === 'key' || name === 'value' || name === 'headers' || name === 'partition' || name === 'id') continue
      const value = (message as Record<string, unknown>)[name]
      throw this.#refuse(name, value, 'key, value, headers, partition or id', 'is unknown')
    }
    if (message.key !== undefined) this.#checkKey(message.key)
    if (message.id !== undefined) this.#checkId(message.id)
  }

  #partition(given: number | undefined, key: string | undefined, bytes: number): number {
    if (given !== undefined) {
      if (Number.isInteger(given) && given >= 0 && given < this.#partitions) return given
      throw this.#refuse('partition', given, `a whole number from 0 to ${this.#partitions - 1}`)
    }
    if (this.#partitions === 1) return 0
    if (key !== undefined) return partitionOf(key, this.#partitions)
    this.#stuckBytes += bytes
    if (this.#stuckBytes > stickyBytes) {
      this.#stuckBytes = bytes
      this.#sticky = (this.#sticky + 1) % this.#partitions
    }
    return this.#sticky
  }

  #checkKey(key: unknown): void {
    if (typeof key !== 'string') throw this.#refuse('key', key, 'a string, or none')
    const { maxKeyBytes } = this.#limits
    // UTF-8 takes at most three bytes a UTF-16 unit; most keys need no exact count.
    if (key.length * 3 > maxKeyBytes && Buffer.byteLength(key) > maxKeyBytes)
      throw this.#tooLarge('key', Buffer.byteLength(key), maxKeyBytes)
    if (!key.isWellFormed()) throw this.#refuse('key', key, 'text without lone surrogates')
  }

  #checkId(id: unknown): void {
    const isText = typeof id === 'string' && id !== '' && id.isWellFormed() && Buffer.byteLength(id) <= maxIdBytes
    if (!isText) throw this.#refuse('id', id, `text of 1 to ${maxIdBytes} bytes`)
  }

  #encodeHeaders(headers: unknown): string | undefined {
    if (headers === undefined) return undefined
    if (!isObject(headers)) throw this.#refuse('headers', headers, 'an object of strings')
    let some = false
    for (const name of Object.keys(headers)) {
      some = true
      if (typeof headers[name] !== 'string') throw this.#refuse(`headers.${name}`, headers[name], 'a string')
      if (name.startsWith(reservedPrefix)) {
        const allowed = `names that do not begin with ${reservedPrefix}`
        throw this.#refuse(`headers.${name}`, headers[name], allowed, 'is reserved')
      }
    }
    if (!some) return undefined
    const text = JSON.stringify(headers)
    const { maxHeadersBytes } = this.#limits
    if (text.length * 3 > maxHeadersBytes && Buffer.byteLength(text) > maxHeadersBytes) {
      throw this.#tooLarge('headers', Buffer.byteLength(text), maxHeadersBytes)
    }
    return text
  }

  #encodeValue(value: unknown): string | Uint8Array {
    try {
      return this.#codec.encode(value)
    } catch (cause) {
      const message = `the value ${show(value)} cannot be sent to ${this.#topic} as ${this.#codec.contentType}: ${String(cause)}`
      throw new QueueError('ENCODING_FAILED', message, { topic: this.#topic, option: 'value', value, cause })
    }
  }

  #checkEncoded(encoded: string | Uint8Array): void {
    const { maxValueBytes } = this.#limits
    if (typeof encoded === 'string') {
      if (this.#codec.format !== 'text') throw this.#wrongFormat('a string')
      if (encoded.length * 3 > maxValueBytes) this.#checkSize(Buffer.byteLength(encoded))
    } else if (this.#codec.format !== 'binary' || !(encoded instanceof Uint8Array)) {
      throw this.#wrongFormat(show(encoded))
    } else this.#checkSize(encoded.length)
  }

  #checkSize(bytes: number): void {
    if (bytes > this.#limits.maxValueBytes) throw this.#tooLarge('value', bytes, this.#limits.maxValueBytes)
  }

  #validated(value: V): V {
    return validate(this.#schema!, value, this.#topic)
  }

  #wrongFormat(what: string): QueueError {
    const { contentType, format } = this.#codec
    return new QueueError('ENCODING_FAILED', `the ${format} codec ${contentType} of ${this.#topic} returned ${what}`, {
      topic: this.#topic,
    })
  }

  #tooLarge(field: string, bytes: number, limit: number): QueueError {
    const allowed = `at most ${limit} bytes`
    return new QueueError(
      'MESSAGE_TOO_LARGE',
      `the ${field} has ${bytes} bytes; allowed is ${allowed} on ${this.#topic}`,
      {
        topic: this.#topic,
        option: field,
        value: bytes,
        allowed,
      },
    )
  }

  #refuse(field: string, value: unknown, allowed: string, what?: string): QueueError {
    const message = `message for ${this.#topic}: ${field} ${what ?? `is ${show(value)}`}; allowed is ${allowed}`
    return new QueueError('INVALID_MESSAGE', message, { topic: this.#topic, option: field, value, allowed })
  }
}

/**
 * The value as the schema gives it back.
 *
 * @throws `VALIDATION_FAILED`; `UNSUPPORTED` when the schema answers with a promise, which would break the order of sends
 */
export function validate<V>(schema: StandardSchema<V>, value: unknown, topic: string): V {
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) {
    result.catch(() => {})
    throw new QueueError(
      'UNSUPPORTED',
      `the schema of ${topic} validates asynchronously: use one that answers at once`,
      { topic },
    )
  }
  if (!result.issues) return result.value
  const issues = result.issues.map(({ message, path }) =>
    path?.length ? `${path.map(pathPart).join('.')}: ${message}` : message,
  )
  throw new QueueError('VALIDATION_FAILED', `the value for ${topic} is refused: ${issues.join('; ')}`, { topic, value })
}

/** The values alone; what is no message at all is refused later, with its place. */
function valuesOf(messages: readonly { readonly value: unknown }[]): unknown[] {
  const values = new Array<unknown>(messages.length)
  for (let i = 0; i < messages.length; i++) values[i] = (messages[i] as { value: unknown } | null | undefined)?.value
  return values
}

function pathPart(part: unknown): string {
  return String(isObject(part) ? part['key'] : part)
}
