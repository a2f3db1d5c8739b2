import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bytes, json, type Codec } from '../../../src/codec.ts'
import type { QueueError } from '../../../src/errors.ts'
import { BatchBuilder } from '../../../src/log/batch-builder.ts'
import { damageOf, headerBytes, StoredBatch } from '../../../src/log/record-batch.ts'
import { runs } from '../../runs.ts'

const plain: Codec<unknown> = {
  contentType: 'text/plain',
  format: 'text',
  shared: false,
  encode: (value) => value as string,
  decode: (stored: string) => stored,
}

const stamp = { partitionId: 7, epoch: 3, baseOffset: 1000, timestamp: 1_893_456_000_123, bytesBefore: 4321 }

interface Given<V> {
  readonly key: string | undefined
  readonly value: V
  readonly headers: Record<string, string> | undefined
}

function add(builder: BatchBuilder, key: string | undefined, value: string | Uint8Array, headers?: string): void {
  builder.add({ key, value, start: 0, end: value.length, headers })
}

function build(records: readonly Given<string | Uint8Array>[], text: boolean): StoredBatch {
  const builder = new BatchBuilder(text ? 'text/plain' : 'application/octet-stream')
  for (const { key, value, headers } of records) add(builder, key, value, headers && JSON.stringify(headers))
  return builder.seal(stamp)
}

/** As it comes back from disk; at an odd place in memory, as a store may hand it out. */
function reread(batch: StoredBatch, shift: number): StoredBatch {
  const memory = Buffer.alloc(batch.bytes + shift)
  batch.encoded.copy(memory, shift)
  return StoredBatch.read(memory.subarray(shift), stamp.partitionId, stamp.baseOffset)
}

const anyText = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.constant(''), fc.constant('x'.repeat(5000)))
const headers = fc.option(fc.dictionary(fc.string(), fc.string({ unit: 'grapheme' }), { maxKeys: 4 }), {
  nil: undefined,
})
const key = fc.option(anyText, { nil: undefined })
const records = <V>(value: fc.Arbitrary<V>): fc.Arbitrary<Given<V>[]> =>
  fc.array(fc.record({ key, value, headers }), { minLength: 1, maxLength: 20 })

function expectSame(batch: StoredBatch, given: readonly Given<string | Uint8Array>[], codec: Codec<unknown>): void {
  expect(batch.count).toBe(given.length)
  expect(batch.nextOffset).toBe(stamp.baseOffset + given.length)
  expect(batch.contentType).toBe(codec === bytes ? 'application/octet-stream' : 'text/plain')
  expect([batch.timestamp, batch.bytesBefore, batch.idPrefix]).toEqual([stamp.timestamp, 4321, '3.7.'])
  given.forEach((record, index) => {
    expect(batch.offsetAt(index)).toBe(stamp.baseOffset + index)
    expect(batch.keyAt(index)).toBe(record.key)
    expect(batch.headersAt(index)).toEqual(record.headers ?? {})
    const value = batch.valueAt(index, codec)
    if (typeof record.value === 'string') expect(value).toBe(record.value)
    else expect(Buffer.from(record.value).equals(value as Buffer)).toBe(true)
    expect(batch.valueBytesAt(index).equals(Buffer.from(record.value as string))).toBe(true)
  })
}

describe('a record batch', () => {
  test('gives every text value, key and header back', () => {
    fc.assert(
      fc.property(records(anyText), fc.nat(3), (given, shift) => {
        const batch = build(given, true)
        expectSame(batch, given, plain)
        expectSame(reread(batch, shift), given, plain)
      }),
      runs(80),
    )
  })

  test('gives every binary value, key and header back', () => {
    fc.assert(
      fc.property(records(fc.uint8Array({ maxLength: 300 })), fc.nat(3), (given, shift) => {
        const batch = build(given, false)
        expectSame(batch, given, bytes as Codec<unknown>)
        expectSame(reread(batch, shift), given, bytes as Codec<unknown>)
      }),
      runs(80),
    )
  })

  test('copies bytes at once: the sender may change its buffer right after', () => {
    const builder = new BatchBuilder('application/octet-stream')
    const value = Buffer.from('before')
    add(builder, 'k', value, undefined)
    value.fill(0)
    expect(builder.seal(stamp).valueBytesAt(0).toString()).toBe('before')
  })

  test('one builder makes one batch after another, each on its own', () => {
    const builder = new BatchBuilder('application/octet-stream')
    add(builder, 'k', Buffer.alloc(400_000, 1), '{"a":"1"}')
    const first = builder.seal(stamp)
    expect([builder.count, builder.bytes]).toEqual([0, 0])
    add(builder, undefined, Buffer.from('small'), undefined)
    const second = builder.seal({ ...stamp, baseOffset: 1001 })
    expect(first.valueBytesAt(0).equals(Buffer.alloc(400_000, 1))).toBe(true)
    expect([second.keyAt(0), second.valueBytesAt(0).toString(), second.headersAt(0)]).toEqual([undefined, 'small', {}])
  })

  const mixed: Given<string>[] = [
    { key: 'plain', value: '{"n":1}', headers: undefined },
    { key: undefined, value: '', headers: { source: 'wéb' } },
    { key: 'schlüssel', value: '"😀"', headers: {} },
  ]

  test.each<[string, Given<string | Uint8Array>[], boolean]>([
    ['text', mixed, true],
    ['ASCII text', [{ key: 'k', value: '[1,2]', headers: undefined }], true],
    ['binary', [{ key: undefined, value: Buffer.from([0, 1, 2, 255]), headers: undefined }], false],
  ])('LOSS-20: every single flipped bit of a %s batch is detected', (_name, given, text) => {
    const { encoded } = build(given, text)
    const undetected: number[] = []
    for (let bit = 0; bit < encoded.length * 8; bit++) {
      encoded[bit >>> 3]! ^= 1 << (bit & 7)
      if (damageOf(encoded, stamp.partitionId, stamp.baseOffset) === undefined) undetected.push(bit >>> 3)
      encoded[bit >>> 3]! ^= 1 << (bit & 7)
    }
    expect(undetected, 'bytes whose damage goes unseen').toEqual([])
    expect(damageOf(encoded, stamp.partitionId, stamp.baseOffset)).toBeUndefined()
  })

  test('is refused in another place, cut short at any length, or of another format', () => {
    const { encoded } = build(mixed, true)
    const refused = (buffer: Buffer, partition = stamp.partitionId, offset = stamp.baseOffset): unknown => {
      try {
        return StoredBatch.read(buffer, partition, offset)
      } catch (error) {
        return (error as QueueError).code
      }
    }
    expect(refused(encoded, 8)).toBe('STORE_CORRUPT')
    expect(refused(encoded, 7, 1001)).toBe('STORE_CORRUPT')
    for (let length = 0; length < encoded.length; length++) {
      expect(refused(encoded.subarray(0, length)), `${length} bytes`).toBe('STORE_CORRUPT')
    }
    expect(encoded.length).toBeGreaterThan(headerBytes)
  })

  test('a value that the codec can not read is a coded error with its offset', () => {
    const batch = build([{ key: 'k', value: '{"n":', headers: undefined }], true)
    expect(() => batch.valueAt(0, json)).toThrow(
      expect.objectContaining({ code: 'DECODING_FAILED', offset: 1000, cause: expect.any(SyntaxError) }),
    )
  })

  test('a value that is no JSON, or more than one, spoils none of the others', () => {
    const texts = ['{"a":1}', '{"n":', '[1]', '1,2', '"end"', '', '7']
    const batch = build(
      texts.map((value) => ({ key: undefined, value, headers: undefined })),
      true,
    )
    const read = (index: number): unknown => {
      try {
        return batch.valueAt(index, json)
      } catch (error) {
        return (error as QueueError).code
      }
    }
    const bad = 'DECODING_FAILED'
    const expected = [{ a: 1 }, bad, [1], bad, 'end', bad, 7]
    expect(texts.map((_, index) => read(index))).toEqual(expected)
    expect(texts.map((_, index) => read(texts.length - 1 - index)).reverse()).toEqual(expected)
  })

  test('values are the same in whatever order they are read', () => {
    const given = Array.from({ length: 100 }, (_, i) => ({ key: undefined, value: `{"n":${i}}`, headers: undefined }))
    const order = fc.array(fc.nat(99), { maxLength: 300 })
    fc.assert(
      fc.property(order, (indexes) => {
        const text = build(given, true)
        const binary = build(
          given.map((one) => ({ ...one, value: Buffer.from(one.value) })),
          false,
        )
        for (const index of indexes) {
          expect(text.valueAt(index, json)).toEqual({ n: index })
          const value = binary.valueAt(index, bytes as Codec<unknown>) as Buffer
          expect(value.toString()).toBe(`{"n":${index}}`)
          value.fill(0)
        }
      }),
      runs(50),
    )
  })

  test('decoded values are shared once that is asked for, and frozen', () => {
    const batch = build([{ key: 'k', value: '{"n":[1]}', headers: undefined }], true)
    expect(batch.valueAt(0, json)).not.toBe(batch.valueAt(0, json))
    batch.shareValues()
    const value = batch.valueAt(0, json) as { n: number[] }
    expect(batch.valueAt(0, json)).toBe(value)
    expect(() => value.n.push(2)).toThrow(TypeError)
    batch.dropSharedValues()
    expect(batch.valueAt(0, json)).not.toBe(value)
  })

  test('text that is not well-formed does not shift the values beside it', () => {
    // A custom codec may return a lone surrogate; UTF-8 has none, but the neighbours must not suffer.
    const given = ['a\ud83d', '\ude00b', 'after'].map((value) => ({ key: undefined, value, headers: undefined }))
    expect(build(given, true).valueAt(2, plain)).toBe('after')
  })
})
