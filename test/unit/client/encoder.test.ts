import { describe, expect, test } from 'vitest'
import { MessageEncoder } from '../../../src/client/encoder.ts'
import { bytes, json, resolveCodec, type Codec } from '../../../src/codec.ts'
import type { QueueError } from '../../../src/errors.ts'
import type { OutgoingMessage } from '../../../src/message.ts'
import { murmur2OfText } from '../../../src/partitioner.ts'
import type { StandardResult, StandardSchema } from '../../../src/schema.ts'

const limits = { maxValueBytes: 100, maxKeyBytes: 30, maxHeadersBytes: 60 }

function encoder(
  options: {
    codec?: Codec<unknown>
    partitions?: number
    schema?: StandardSchema<unknown>
    maxValueBytes?: number
  } = {},
): MessageEncoder<unknown> {
  const { codec = json, partitions = 4, schema, maxValueBytes = 100 } = options
  return new MessageEncoder('orders', partitions, codec, { ...limits, maxValueBytes }, schema)
}

function refusal(message: unknown, options: Parameters<typeof encoder>[0] = {}): QueueError {
  try {
    encoder(options).encode(message as OutgoingMessage<unknown>)
  } catch (error) {
    return error as QueueError
  }
  throw new Error('it was accepted')
}

describe('what is no message', () => {
  test.each([
    ['nothing', undefined, 'message'],
    ['null', null, 'message'],
    ['text', 'hello', 'message'],
    ['an array', [{ value: 1 }], 'message'],
    ['an unknown field', { value: 1, Key: 'k' }, 'Key'],
    ['an unknown field that is undefined', { value: 1, ttlMs: undefined }, 'ttlMs'],
    ['a numeric key', { value: 1, key: 5 }, 'key'],
    ['a null key', { value: 1, key: null }, 'key'],
    ['a key of bytes', { value: 1, key: Buffer.from('k') }, 'key'],
    ['a key with a lone surrogate', { value: 1, key: 'a\ud800' }, 'key'],
    ['headers that are an array', { value: 1, headers: ['a'] }, 'headers'],
    ['headers that are text', { value: 1, headers: 'a' }, 'headers'],
    ['a numeric header', { value: 1, headers: { ok: 'yes', retries: 3 } }, 'headers.retries'],
    ['a reserved header', { value: 1, headers: { ok: 'yes', 'lanemq.redrive': '{}' } }, 'headers.lanemq.redrive'],
    ['an absent header', { value: 1, headers: { trace: undefined } }, 'headers.trace'],
    ['a partition below the first', { value: 1, partition: -1 }, 'partition'],
    ['a partition above the last', { value: 1, partition: 4 }, 'partition'],
    ['half a partition', { value: 1, partition: 0.5 }, 'partition'],
    ['a partition by name', { value: 1, partition: '0' }, 'partition'],
  ])('%s is refused by the name of the field', (_what, message, option) => {
    expect(refusal(message)).toMatchObject({
      code: 'INVALID_MESSAGE',
      topic: 'orders',
      option,
      allowed: expect.any(String),
    })
  })
})

describe('limits of a message', () => {
  test.each([
    ['an ASCII value', { value: 'x'.repeat(98) }, { value: 'x'.repeat(99) }, 'value', 101],
    ['a value of three bytes a letter', { value: '€'.repeat(32) }, { value: '€'.repeat(33) }, 'value', 101],
    ['a key', { key: 'k'.repeat(30), value: 1 }, { key: 'k'.repeat(31), value: 1 }, 'key', 31],
    ['a key of four bytes a letter', { key: '😀'.repeat(7), value: 1 }, { key: '😀'.repeat(8), value: 1 }, 'key', 32],
    [
      'headers',
      { value: 1, headers: { a: 'x'.repeat(52) } },
      { value: 1, headers: { a: 'x'.repeat(53) } },
      'headers',
      61,
    ],
  ])('%s may be as large as its limit, and no larger', (_what, fits, tooLarge, option, size) => {
    expect(encoder().encode(fits)).toBeTruthy()
    const error = refusal(tooLarge)
    expect(error).toMatchObject({ code: 'MESSAGE_TOO_LARGE', option, value: size })
    expect(error.allowed).toMatch(/at most \d+ bytes/)
  })

  test('bytes count as they are', () => {
    const codec = bytes as Codec<unknown>
    expect(encoder({ codec }).encode({ value: Buffer.alloc(100) }).value).toHaveLength(100)
    expect(refusal({ value: Buffer.alloc(101) }, { codec })).toMatchObject({ code: 'MESSAGE_TOO_LARGE', value: 101 })
  })
})

describe('values that can not be carried', () => {
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle

  test.each([
    ['a function', () => 1],
    ['undefined', undefined],
    ['a symbol', Symbol('s')],
    ['a BigInt', 10n],
    ['a BigInt inside', { n: [1n] }],
    ['a cycle', cycle],
    ['what throws when it is read', Object.defineProperty({}, 'x', { enumerable: true, get: () => JSON.parse('{') })],
  ])('JSON refuses %s, with the reason', (_what, value) => {
    expect(refusal({ value })).toMatchObject({ code: 'ENCODING_FAILED', topic: 'orders', cause: expect.any(Error) })
  })

  test('bytes refuse text, msgpack refuses functions', async () => {
    expect(refusal({ value: 'text' }, { codec: bytes as Codec<unknown> }).code).toBe('ENCODING_FAILED')
    expect(refusal({ value: () => 1 }, { codec: await resolveCodec('msgpack') }).code).toBe('ENCODING_FAILED')
  })

  test.each([
    ['text', 'binary', 'text'],
    ['bytes', 'text', Buffer.from('b')],
    ['nothing', 'text', undefined],
    ['a number', 'binary', 5],
    ['a promise', 'text', Promise.resolve('late')],
  ] as const)('a custom codec that returns %s for %s is refused', (_what, format, encoded) => {
    const codec = { contentType: 'x/y', format, shared: false, encode: () => encoded as string, decode: () => 0 }
    expect(refusal({ value: 1 }, { codec }).code).toBe('ENCODING_FAILED')
  })
})

describe('schemas', () => {
  const schema = (validate: (value: unknown) => StandardResult<unknown> | Promise<StandardResult<unknown>>) => {
    return { schema: { '~standard': { version: 1 as const, vendor: 'test', validate } } }
  }

  test('what the schema gives back is what is stored', () => {
    const { value } = encoder(schema(() => ({ value: { clean: true } }))).encode({ value: { dirty: true } })
    expect(value).toBe('{"clean":true}')
  })

  test('what the schema finds is told with its place', () => {
    const issues = [{ message: 'too small', path: ['items', { key: 0 }, 'price'] }, { message: 'no name' }]
    const error = refusal(
      { value: { a: 1 } },
      schema(() => ({ issues })),
    )
    expect(error).toMatchObject({ code: 'VALIDATION_FAILED', value: { a: 1 } })
    expect(error.message).toContain('items.0.price: too small; no name')
  })

  test('a schema that answers later is refused, since it would break the order of sends', async () => {
    expect(
      refusal(
        { value: 1 },
        schema(async () => ({ value: 1 })),
      ).code,
    ).toBe('UNSUPPORTED')
    expect(
      refusal(
        { value: 1 },
        schema(() => Promise.reject(new Error('late'))),
      ).code,
    ).toBe('UNSUPPORTED')
  })
})

describe('the partition of a message', () => {
  test('is the one that is asked for, else that of its key', () => {
    const one = encoder({ partitions: 8 })
    expect(one.encode({ key: 'k', value: 1, partition: 5 }).partition).toBe(5)
    for (const key of ['a', 'order-7', 'ключ', '']) {
      expect(one.encode({ key, value: 1 }).partition).toBe((murmur2OfText(key) & 0x7fffffff) % 8)
    }
  })

  test('without a key sticks to one until a batch’s worth of bytes went there, then moves on', () => {
    const one = encoder({ partitions: 3, maxValueBytes: 1e6 })
    const value = 'x'.repeat(20_000)
    const partitions = Array.from({ length: 24 }, () => one.encode({ value }).partition)
    expect(partitions.join('')).toBe('000000111111222222000000')
  })

  test('keys do not move the messages without one', () => {
    const one = encoder({ partitions: 3, maxValueBytes: 1e6 })
    const seen = new Set<number>()
    for (let i = 0; i < 50; i++) {
      one.encode({ key: `k${i}`, value: 'x'.repeat(50_000) })
      seen.add(one.encode({ value: 1 }).partition)
    }
    expect([...seen]).toEqual([0])
  })
})

test('what is encoded carries key, value and headers', () => {
  expect(encoder().encode({ key: 'k', value: { a: 1 }, headers: { source: 'wéb' } })).toMatchObject({
    key: 'k',
    value: '{"a":1}',
    headers: '{"source":"wéb"}',
    partition: expect.any(Number),
  })
  expect(encoder().encode({ value: null, headers: {} })).toMatchObject({
    key: undefined,
    value: 'null',
    headers: undefined,
  })
})
