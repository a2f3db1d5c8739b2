import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OffsetSet } from '../../../src/offset-set.ts'
import { runs } from '../../runs.ts'
import { batchOf, fakeIntake } from './fake-intake.ts'

describe('an assigned partition', () => {
  test('PROGRESS-23: reads on from the position and skips exactly what is finished already', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 29 })), fc.integer({ min: 0, max: 29 }), (offsets, position) => {
        const finished = new OffsetSet(position)
        for (const offset of offsets) finished.add(offset, offset + 1)
        const batches = [0, 10, 20].map((base) => batchOf(Array.from({ length: 10 }, (_, i) => base + i)))
        const intake = fakeIntake({ finished })
        const handed: number[] = []
        for (let next = intake.offset; next < 30; next = intake.offset) {
          const batch = batches[Math.floor(next / 10)]!
          expect(intake.take({ kind: 'records', batch, index: next - batch.baseOffset })).toBe(true)
          while (intake.atRecord()) handed.push(intake.source!.batch.offsetAt(intake.index++))
        }
        const expected = Array.from({ length: 30 }, (_, offset) => offset).filter((offset) => !finished.has(offset))
        expect(handed).toEqual(expected)
      }),
      runs(100),
    )
  })

  test('offsets that the log does not have count as finished', () => {
    const intake = fakeIntake()
    intake.take({ kind: 'records', batch: batchOf([3, 4, 9]), index: 0 })
    expect(intake.finished).toEqual([0, 3])
  })

  test('nothing and a gap are no records', () => {
    const intake = fakeIntake({ answers: [{ kind: 'empty' }, { kind: 'gap', start: 12 }] })
    expect(intake.take({ kind: 'empty' })).toBe(false)
    expect(intake.take({ kind: 'gap', start: 12 })).toBe(false)
    intake.skipTo(12)
    expect([intake.offset, intake.atRecord()]).toEqual([12, false])
    void intake.fetch()
    expect(intake.fetched).toEqual([12])
  })

  test('finished offsets in a row are one range', () => {
    const intake = fakeIntake()
    for (const [from, to] of [
      [5, 6],
      [6, 7],
      [7, 9],
      [1, 2],
      [2, 3],
      [12, 13],
    ] as const)
      intake.finish(from, to)
    expect(intake.finished).toEqual([5, 9, 1, 3, 12, 13])
  })

  test('whatever is finished in whatever order, the ranges hold exactly that', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(Array.from({ length: 40 }, (_, i) => i)), (offsets) => {
        const intake = fakeIntake()
        for (const offset of offsets) intake.finish(offset, offset + 1)
        const seen: number[] = []
        for (let i = 0; i < intake.finished.length; i += 2) {
          for (let offset = intake.finished[i]!; offset < intake.finished[i + 1]!; offset++) seen.push(offset)
        }
        expect(seen).toEqual(offsets)
      }),
      runs(100),
    )
  })
})
