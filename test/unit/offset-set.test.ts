import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OffsetSet, pageSize } from '../../src/offset-set.ts'
import { runs } from '../runs.ts'

/** The same thing as a plain set of numbers. */
class Model {
  readonly #start: number
  readonly #finished = new Set<number>()

  constructor(start: number) {
    this.#start = start
  }

  add(from: number, to: number): void {
    for (let offset = from; offset < to; offset++) this.#finished.add(offset)
  }

  has(offset: number): boolean {
    return offset < this.#start || this.#finished.has(offset)
  }

  get position(): number {
    let position = this.#start
    while (this.#finished.has(position)) position++
    return position
  }

  get ceiling(): number {
    return Math.max(this.position, ...[...this.#finished].map((offset) => offset + 1))
  }

  countIn(from: number, to: number): number {
    let count = 0
    for (let offset = from; offset < to; offset++) if (this.has(offset)) count++
    return count
  }
}

/** Rows as a store keeps them: the position, and pages by number. */
class Rows {
  position: number
  readonly pages = new Map<number, Uint8Array>()

  constructor(set: OffsetSet) {
    this.position = set.position
  }

  take(set: OffsetSet): number[] {
    const { position, pages } = set.takeChanges()
    if (position !== undefined) this.position = position
    for (const [number, bits] of pages) {
      if (bits) this.pages.set(number, bits)
      else this.pages.delete(number)
    }
    return pages.map(([number]) => number)
  }

  restored(): OffsetSet {
    const set = new OffsetSet(this.position)
    for (const [number, bits] of this.pages) set.restorePage(number, bits)
    return set
  }
}

// Around two page borders, where mistakes live.
const offsets = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: pageSize - 20, max: pageSize + 20 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2 * pageSize - 40, max: 2 * pageSize + 40 }) },
)
const ranges = fc.tuple(offsets, fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 70 }), fc.constant(pageSize)))
const steps = fc.array(fc.oneof({ weight: 5, arbitrary: ranges }, fc.constant('settle' as const)), { maxLength: 40 })

function expectSame(set: OffsetSet, model: Model, start: number): void {
  const { position } = model
  expect(set.position).toBe(position)
  expect(set.ceiling).toBe(model.ceiling)
  expect(set.above).toBe(model.countIn(position, model.ceiling))
  for (const around of [start, position, model.ceiling, pageSize, 2 * pageSize]) {
    for (let offset = Math.max(0, around - 3); offset < around + 3; offset++) {
      expect(set.has(offset), `has(${offset})`).toBe(model.has(offset))
    }
  }
  for (const [from, to] of [
    [0, 3 * pageSize],
    [start, position + 5],
    [position, position],
    [pageSize - 3, pageSize + 3],
  ] as const) {
    expect(set.countIn(from, to), `countIn(${from}, ${to})`).toBe(model.countIn(from, to))
  }
}

describe('the set of finished offsets', () => {
  test('PROGRESS-20: position, ceiling, membership and counts are those of a plain set, whatever is finished in whatever order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: pageSize + 5 }), steps, (start, script) => {
        const set = new OffsetSet(start)
        const model = new Model(start)
        for (const step of script) {
          if (step === 'settle') set.takeChanges()
          else {
            set.add(step[0], step[0] + step[1])
            model.add(step[0], step[0] + step[1])
          }
        }
        expectSame(set, model, start)
      }),
      runs(60),
    )
  })

  test('PROGRESS-21: what settlements wrote restores the same set after each of them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 50 }), steps, (start, script) => {
        const set = new OffsetSet(start)
        const model = new Model(start)
        const rows = new Rows(set)
        for (const step of script) {
          if (step === 'settle') {
            rows.take(set)
            expectSame(rows.restored(), model, start)
          } else {
            set.add(step[0], step[0] + step[1])
            model.add(step[0], step[0] + step[1])
          }
        }
        rows.take(set)
        expect(set.isChanged).toBe(false)
        expectSame(rows.restored(), model, start)
        // Whatever lies wholly below the position is no longer stored.
        for (const page of rows.pages.keys()) expect((page + 1) * pageSize).toBeGreaterThan(rows.position)
      }),
      runs(60),
    )
  })

  test('a settlement writes the touched pages only', () => {
    const set = new OffsetSet(0)
    const rows = new Rows(set)
    for (let page = 0; page < 5; page++) set.add(page * pageSize + 1, page * pageSize + 10)
    expect(rows.take(set)).toEqual([0, 1, 2, 3, 4])
    expect(rows.take(set)).toEqual([])
    set.add(3 * pageSize + 1, 3 * pageSize + 5)
    expect(rows.take(set), 'nothing new was finished').toEqual([])
    set.add(3 * pageSize + 20, 3 * pageSize + 21)
    expect(rows.take(set)).toEqual([3])
  })

  test('a full page is stored in one byte', () => {
    const set = new OffsetSet(0)
    set.add(pageSize, 2 * pageSize)
    expect(set.takeChanges().pages).toEqual([[1, Uint8Array.of(1)]])
  })

  test('BOUND-20: millions of finished messages above a stuck one cost a settlement nothing but its own page', () => {
    const set = new OffsetSet(0)
    const rows = new Rows(set)
    const million = 1_000_000
    let written = 0
    for (let from = 1; from < 3 * million; from += 1000) {
      set.add(from, from + 1000)
      const pages = rows.take(set)
      written += pages.length
      expect(pages.length).toBeLessThanOrEqual(2)
    }
    expect(set.position).toBe(0)
    expect(set.above).toBe(3 * million)
    expect(written).toBeLessThan(3000 + Math.ceil((3 * million) / pageSize) + 1)
    // Stored: one byte for each full page, and the bits of the first and the last.
    const stored = [...rows.pages.values()].reduce((sum, bits) => sum + bits.length, 0)
    expect(stored).toBeLessThan((3 * million) / pageSize + 3 * (pageSize / 8))
    set.add(0, 1)
    expect(set.position).toBe(3 * million + 1)
    expect(set.above).toBe(0)
    rows.take(set)
    expect(rows.pages.size).toBe(0)
  })
})
