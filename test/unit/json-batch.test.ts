import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringifyMany } from '../../src/json-batch.ts'
import { runs } from '../runs.ts'

const cut = (values: readonly unknown[]): string[] | undefined => {
  const texts = stringifyMany(values)
  return texts && values.map((_, i) => texts.textAt(i).substring(texts.startAt(i), texts.endAt(i)))
}

const inner = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom('},{', '"},{"', undefined, [{}, {}], [{ a: 1 }, { b: 2 }], {}, { toJSON: () => '},{' }, new Date(0)),
)

describe('many values as one JSON text', () => {
  test('each slice is the JSON of its value, or there are none', () => {
    const values = fc.array(fc.dictionary(fc.string(), inner, { maxKeys: 3 }), { maxLength: 200 })
    let cuts = 0
    fc.assert(
      fc.property(values, (given) => {
        const slices = cut(given)
        if (slices === undefined) return
        cuts++
        expect(slices).toEqual(given.map((value) => JSON.stringify(value)))
      }),
      runs(300),
    )
    expect(cuts).toBeGreaterThan(0)
  })

  test('small objects are cut, whatever their number', () => {
    for (const count of [0, 1, 63, 64, 65, 1000]) {
      const values = Array.from({ length: count }, (_, n) => (n % 3 ? { n, text: 'ü}' } : {}))
      expect(cut(values)).toEqual(values.map((value) => JSON.stringify(value)))
    }
  })

  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle

  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a number', 1],
    ['an array', [{}, {}]],
    ['a function', () => 1],
    ['a date', new Date(0)],
    ['an object that says its own JSON', { toJSON: () => undefined }],
    ['a cycle', cycle],
    ['a BigInt inside', { n: 1n }],
    ['the border inside', { a: [{}, {}] }],
    ['the border in a text', { a: '},{' }],
    ['what throws when it is read', Object.defineProperty({}, 'x', { enumerable: true, get: () => JSON.parse('{') })],
  ])('%s among them has all of them done one by one', (_what, value) => {
    expect(stringifyMany([{ a: 1 }, value, { b: 2 }])).toBeUndefined()
  })
})
