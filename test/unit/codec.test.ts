import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytes, deepFreeze, json, resolveCodec, type Codec, type CodecName } from '../../src/codec.ts'
import { runs } from '../runs.ts'

const roundTrip = (codec: Codec<unknown>, value: unknown): unknown => codec.decode(codec.encode(value) as never)

describe('codecs', () => {
  test('json gives every JSON value back', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(roundTrip(json, value)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
      runs(200),
    )
  })

  test('json refuses what JSON would drop without a word', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    for (const value of [undefined, () => 1, Symbol('s'), 10n, { deep: [1n] }, cycle]) {
      expect(() => json.encode(value)).toThrow(TypeError)
    }
  })

  test('bytes give a copy of the bytes back and refuse anything else', () => {
    const stored = Buffer.from([1, 2, 3])
    const value = bytes.decode(stored as never)
    stored.fill(0)
    expect([...value]).toEqual([1, 2, 3])
    for (const wrong of ['text', 1, null, undefined, [1, 2], new ArrayBuffer(2), {}]) {
      expect(() => bytes.encode(wrong as never)).toThrow(/expected a Uint8Array/)
    }
  })

  test('msgpack gives values back that JSON can not carry', async () => {
    const codec = await resolveCodec('msgpack')
    const value = {
      text: 'ü€😀',
      n: 1.5,
      big: 12345678901234567890n,
      bytes: Buffer.from([0, 255]),
      list: [null, true],
      at: new Date(5),
    }
    expect(roundTrip(codec, value)).toEqual({ ...value, bytes: expect.anything() })
    expect([...(roundTrip(codec, value) as { bytes: Buffer }).bytes]).toEqual([0, 255])
  })

  test('msgpack refuses what it can not carry and goes on afterwards', async () => {
    const codec = await resolveCodec('msgpack')
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    for (const value of [undefined, () => 1, Symbol('s'), cycle])
      expect(() => codec.encode(value)).toThrow(/carry|stack/)
    expect(roundTrip(codec, { after: 1 })).toEqual({ after: 1 })
  })

  test('a message that msgpack encoded earlier is not changed by the next one', async () => {
    const codec = await resolveCodec('msgpack')
    const first = codec.encode({ a: 1 }) as Uint8Array
    const copy = Buffer.from(first)
    for (let i = 0; i < 2000; i++) codec.encode({ b: 'x'.repeat(i) })
    expect(Buffer.from(first)).toEqual(copy)
  })

  test('freezing goes all the way down', () => {
    const value = deepFreeze({ a: [{ b: 1 }], c: null, d: 'text' }) as { a: { b: number }[] }
    expect(() => value.a.push({ b: 2 })).toThrow(TypeError)
    expect(() => (value.a[0]!.b = 2)).toThrow(TypeError)
    expect(deepFreeze('text')).toBe('text')
    expect(deepFreeze(null)).toBe(null)
  })

  const custom: Codec<string> = {
    contentType: 'text/plain',
    format: 'text',
    shared: false,
    encode: (value) => value,
    decode: (stored: string) => stored,
  }

  test('a complete custom codec is taken as it is', async () => {
    expect(await resolveCodec(custom as Codec<never>)).toBe(custom)
  })

  test.each<[string, unknown]>([
    ['an unknown name', 'xml'],
    ['null', null],
    ['a number', 5],
    ['no content type', { ...custom, contentType: undefined }],
    ['an empty content type', { ...custom, contentType: '' }],
    ['a content type of 65 characters', { ...custom, contentType: 'x'.repeat(65) }],
    ['a content type with a space', { ...custom, contentType: 'text / plain' }],
    ['an unknown format', { ...custom, format: 'hex' }],
    ['no shared', { ...custom, shared: undefined }],
    ['no encode', { ...custom, encode: undefined }],
    ['no decode', { ...custom, decode: 'decode' }],
  ])('%s is refused as a codec', async (_what, codec) => {
    await expect(resolveCodec(codec as CodecName)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      option: 'codec',
      value: codec,
      allowed: expect.stringContaining('msgpack'),
    })
  })
})
