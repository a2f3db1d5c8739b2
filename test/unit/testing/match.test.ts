import { describe, expect, test } from 'vitest'
import { matches } from '../../../src/testing/match.ts'

const order = { key: 'o-1', value: { total: 40, lines: [{ sku: 'a' }], at: new Map([['x', 1]]) }, headers: {} }

describe('matches', () => {
  test('without a match everything is meant', () => {
    expect(matches(order, undefined)).toBe(true)
  })

  test.each<[string, object, boolean]>([
    ['no field', {}, true],
    ['some fields', { key: 'o-1' }, true],
    ['fields below', { value: { total: 40 } }, true],
    ['another value', { value: { total: 41 } }, false],
    ['a field that is not there', { value: { sum: 40 } }, false],
    ['a field that has to be undefined', { value: { sum: undefined } }, true],
    ['an array as it is', { value: { lines: [{ sku: 'a' }] } }, true],
    ['a part of an array', { value: { lines: [{}] } }, false],
    ['a Map as it is', { value: { at: new Map([['x', 1]]) } }, true],
    ['another Map', { value: { at: new Map([['x', 2]]) } }, false],
    ['fields below a text', { key: { length: 3 } }, false],
  ])('%s', (_, match, isMeant) => {
    expect(matches<object>(order, match)).toBe(isMeant)
  })

  test('a function decides by itself', () => {
    expect(matches(order, ({ value }) => value.total > 30)).toBe(true)
    expect(matches(order, ({ value }) => value.total > 40)).toBe(false)
  })

  test('null is no object', () => {
    expect(matches<unknown>(null, { key: 'o-1' })).toBe(false)
    expect(matches<unknown>({ key: null }, { key: null })).toBe(true)
  })
})
