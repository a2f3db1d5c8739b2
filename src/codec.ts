import { QueueError } from './errors.ts'
import { show } from './options.ts'

/**
 * Turns values into what is stored and back. A text codec yields strings (stored as UTF-8), a binary codec bytes.
 *
 * `decode` must not keep or change the bytes it is given. A decoded value is handed to handlers of several groups when
 * `shared` is true; it is then deep-frozen first.
 */
export interface Codec<V> {
  /** Names the encoding inside the store, as a media type: 1 to 64 visible ASCII characters. A topic keeps the one it was created with. */
  readonly contentType: string
  readonly format: 'text' | 'binary'
  /** Whether one decoded value may be handed to several groups. It must then consist of plain objects, arrays and primitives. */
  readonly shared: boolean
  /** May throw: the send is then refused with `ENCODING_FAILED`. */
  encode(value: V): string | Uint8Array
  /** May throw: the message then counts as undecodable (`DECODING_FAILED`). A text codec gets a string, a binary codec bytes. */
  decode(stored: never): V
}

/** Freezes a value made of plain objects and arrays, all the way down, so that groups can share it. */
export function deepFreeze(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  Object.freeze(value)
  for (const name in value) {
    const inner = (value as Record<string, unknown>)[name]
    if (typeof inner === 'object') deepFreeze(inner)
  }
  return value
}

/** JSON text. Refuses what JSON would drop without a word: `undefined`, functions and symbols at the top, BigInt and cycles anywhere. */
export const json: Codec<unknown> = Object.freeze({
  contentType: 'application/json',
  format: 'text' as const,
  shared: true,
  encode(value: unknown): string {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) throw new TypeError(`JSON cannot carry ${typeof value}`)
    return text
  },
  decode: (text: string): unknown => JSON.parse(text),
})

/** Bytes as they are: a `Uint8Array` in, a `Buffer` of its own out. */
export const bytes: Codec<Uint8Array> = Object.freeze({
  contentType: 'application/octet-stream',
  format: 'binary' as const,
  shared: false,
  encode(value: Uint8Array): Uint8Array {
    if (!(value instanceof Uint8Array)) throw new TypeError(`expected a Uint8Array, got ${describe(value)}`)
    return value
  },
  decode: (stored: Uint8Array): Buffer => Buffer.from(stored),
})

function describe(value: unknown): string {
  return value === null ? 'null' : typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value
}

/** Names of the codecs that come with the package. */
export type CodecName = 'json' | 'bytes' | 'msgpack'

/** The codec behind a name or a custom codec, checked. Loads msgpackr only when `msgpack` is asked for. */
export async function resolveCodec(given: CodecName | Codec<never>): Promise<Codec<unknown>> {
  if (given === 'json') return json
  if (given === 'bytes') return bytes as Codec<unknown>
  if (given === 'msgpack') return msgpack()
  const codec = given as Partial<Codec<unknown>> | null
  const valid =
    typeof codec === 'object' &&
    codec !== null &&
    typeof codec.contentType === 'string' &&
    /^[\x21-\x7e]{1,64}$/.test(codec.contentType) &&
    (codec.format === 'text' || codec.format === 'binary') &&
    typeof codec.shared === 'boolean' &&
    typeof codec.encode === 'function' &&
    typeof codec.decode === 'function'
  if (valid) return codec as Codec<unknown>
  const allowed = `'json', 'bytes', 'msgpack' or { contentType, format, shared, encode, decode }`
  throw new QueueError('INVALID_OPTION', `codec is ${show(given)}: allowed is ${allowed}`, {
    option: 'codec',
    value: given,
    allowed,
  })
}

async function msgpack(): Promise<Codec<unknown>> {
  const { Packr } = await import('msgpackr')
  // Records are off: a shared structure table would make one message undecodable without another.
  const packr = new Packr({ useRecords: false })
  return {
    contentType: 'application/msgpack',
    format: 'binary',
    shared: false,
    encode(value: unknown): Uint8Array {
      if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
        throw new TypeError(`msgpack cannot carry ${typeof value}`)
      }
      return packr.pack(value)
    },
    decode: (stored: Uint8Array): unknown => packr.unpack(stored as Buffer),
  }
}
